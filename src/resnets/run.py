"""A run: a recipe and a folder become a trained, tested and kept model."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from . import files
from .detection.localization_recipe import LocalizationRecipe, LocalizationResult
from .detection.recipe import DetectionRecipe
from .detection.result import DetectionResult
from .environment import build
from .errors import DataError, Interrupted, NumericError, UsageError
from .models.device import device_called, kind_of
from .recipe import Recipe, as_json, from_json
from .record import Result, began, check_is_a_run, check_recipe, keep_recipe, read_result
from .start import Machine, Plan, settled, threads
from .training import checkpoint
from .training.distributed import Lost, Processes, processes
from .training.signals import Signals, Stop
from .training.train import State, Step, train

log = logging.getLogger(__name__)
_SETTLED = 5.0  # seconds after which the end of an epoch is saved
_LATEST = 60.0  # seconds after which any update is
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Epoch:
    """The figures of an epoch, errors in percent."""

    figures: dict[str, Any]


Event = Plan | Step | Epoch | Result


def execute(recipe: Recipe, folder: Path, machine: Machine | None = None) -> Result:
    """Run RECIPE in FOLDER to its end; a folder with a result is not run again, one with checkpoints goes on."""
    *_, result = events(recipe, folder, machine)
    assert isinstance(result, Result)
    return result


def events(recipe: Any, folder: Path, machine: Machine | None = None) -> Iterator[Any]:
    """The same for a recipe of any task, event by event: a plan, a Step per update, an Epoch per epoch, and the result.

    Under torchrun every process goes through the same events; only the first writes. Raises LockHeld where another
    process works in FOLDER, UsageError where FOLDER holds another recipe, DataError where the data has changed since
    the run began, Interrupted after a signal, once the state is saved.
    """
    machine, together = machine or Machine(), processes()
    device = device_called(machine.device)
    if (machine.workers or 0) < 0:
        raise UsageError(f"workers is {machine.workers}; it must be at least 0")
    with _held(folder, together):
        recipe = settled(recipe, folder, device) if together.first else recipe
        if together.size > 1:
            recipe = from_json(type(recipe), together.share(as_json(recipe)), "recipe")
        done = read_result(folder, TASKS[type(recipe)].result)
        if done:
            check_recipe(folder, recipe)
            yield done
            return
        signals = Signals()
        with threads(recipe):
            run = _Run(recipe, folder, machine, signals)  # a signal ends this at once: there is nothing to save yet
            with signals.caught():
                yield from run.events()


@contextmanager
def _held(folder: Path, together: Processes) -> Iterator[None]:
    """FOLDER is a run's, new or old, and the first process holds it."""
    if not together.first:
        together.wait()
        yield
        return
    check_is_a_run(folder)
    files.probe(folder)
    with files.lock(folder), began(folder):
        together.wait()
        yield


class Sitting(Protocol):
    """What a run needs of its task: classification's `outcome.Setting`, or a detector's `detecting.Setting`.

    fingerprint: of the training data. cost: None where it is not measured.
    """

    recipe: Any
    state: State
    fingerprint: str
    notes: list[str]

    @property
    def job(self) -> Any:
        """The `Job` that the loop runs."""
        ...

    def write(self) -> None:
        """Write what a run begins with; later sittings must bring the same."""
        ...

    def plan(self, notes: tuple[str, ...]) -> Any:
        """What is understood before the first update."""
        ...

    def check_bad(self) -> None:
        """Raise DataError where too much cannot be read."""
        ...

    def tested(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The figures of TENSORS at the end of an epoch, "val_error" among them where there is validation data."""
        ...

    def keep_best(self) -> None:
        """Write the model that validation liked best so far."""
        ...

    def finish(self, last: dict[str, Tensor], seconds: float) -> Any:
        """Test, keep, write result.json; the result."""
        ...


@dataclass(frozen=True)
class Task:
    """How recipes of one kind become runs: the name of the module that has `begin`, and of the kind of its results."""

    module: str
    result: type[Any]


TASKS: dict[type[Any], Task] = {
    Recipe: Task("outcome", Result),
    DetectionRecipe: Task("detecting", DetectionResult),
    LocalizationRecipe: Task("localizing", LocalizationResult),
}


class _Run:
    """One sitting of a run."""

    def __init__(self, recipe: Any, folder: Path, machine: Machine, signals: Signals) -> None:
        self.folder, self.machine, self.signals, self.together = folder, machine, signals, processes()
        module = import_module(f"resnets.{TASKS[type(recipe)].module}")
        fresh = not checkpoint.checkpoints(folder / _CHECKPOINTS)
        self.sitting: Sitting = module.begin(recipe, folder, machine, fresh, self._check)
        self.state, self.recipe = self.sitting.state, self.sitting.recipe
        if self.together.first:
            size = sum(tensor.numel() * tensor.element_size() for tensor in self.state.model.state_dict().values())
            files.probe(folder, 10 * size)  # two checkpoints, best and last, with optimizer and averages
            keep_recipe(folder, self.recipe)
            self.sitting.write()

    def _check(self) -> None:
        """End a test after a signal; several processes stop together, after an update."""
        if self.together.size == 1:
            self.signals.check()

    def events(self) -> Iterator[Event]:
        """Restore, announce, train, test, keep."""
        state, store = self.state, self.folder / _CHECKPOINTS
        if self.together.first:
            files.clean(self.folder)
            files.clean(store)
        self.together.wait()
        facts = checkpoint.restore(store, state) or {}
        self._compare(facts)
        self.seconds, self.clock = float(facts.get("seconds", 0.0)), time.monotonic()
        self.saved = self.clock
        self.log = files.Log(self.folder / "log.jsonl") if self.together.first else None
        if self.log:
            self.log.truncate_after(state.update)
        sitting, kind = self.sitting, kind_of(self.sitting.job.device)
        yield sitting.plan((*sitting.notes, *([f"computing on a card: {kind}"] if kind != "cpu" else [])))
        try:
            if state.epoch > state.closed:
                records = self.log.records() if self.log else []
                yield self._close_epoch(logged=state.epoch - 1 in (r["epoch"] for r in records if "train_error" in r))
            yield from self._train()
            self._save()
            result = sitting.finish(self._weights(), self._elapsed())
        except Stop:
            self._save()
            number = signal.Signals(self.signals.number or signal.SIGTERM)
            raise Interrupted(
                f"{number.name}: saved at update {state.update} of {state.schedule.total}; go on with: "
                f"resnets resume {self.folder}",
                number,
            ) from None
        except Lost as error:
            raise Lost(f"{error}; update {state.update} was done, go on with the same command") from error
        yield result

    def _compare(self, facts: dict[str, Any]) -> None:
        """Refuse other data, and say where bit-equality with an unbroken run cannot be promised."""
        if facts and facts["data"] != self.sitting.fingerprint:
            raise DataError(f"{self.recipe.data} has changed since the run began; choose another --out")
        for name, value in self._build().items():
            if facts and facts.get(name, value) != value and self.together.first:
                log.warning("%s was %s, is %s: the result may differ in the last bits", name, facts[name], value)
        size = facts.get("processes", self.together.size)
        if size != self.together.size and not self.recipe.training.ghost_batch and self.together.first:
            log.warning("BN now looks at 1/%d of each batch, no longer at 1/%d", self.together.size, size)

    def _build(self) -> dict[str, Any]:
        return {**build(), "device": kind_of(self.sitting.job.device), "processes": self.together.size}

    def _train(self) -> Iterator[Event]:
        for step in train(self.sitting.job, self.state, self.together):
            self.sitting.check_bad()
            if self.log:
                self.log.write({key: value for key, value in asdict(step).items() if key != "ends_epoch"})
            yield step
            due = self._agreed(self._is_due(step.ends_epoch))
            self.signals.check()
            if step.ends_epoch:
                yield self._close_epoch()
            if due:
                self._save()

    def _agreed(self, due: bool) -> bool:
        """Whether the first process wants to save; a signal to any process is one to all."""
        if self.together.size == 1:
            return due
        due, number = self.together.agree(due, self.signals.number or 0)
        self.signals.number = number or None
        return due

    def _is_due(self, ends_epoch: bool) -> bool:
        if self.machine.save_every:
            return self.state.update % self.machine.save_every == 0
        return time.monotonic() - self.saved > (_SETTLED if ends_epoch else _LATEST)

    def _weights(self) -> dict[str, Tensor]:
        """What is tested and kept: the averaged weights where there are any."""
        return self.state.average.tensors if self.state.average else dict(self.state.model.state_dict())

    def _close_epoch(self, logged: bool = False) -> Epoch:
        state = self.state
        figures: dict[str, Any] = {"update": state.update, "epoch": state.epoch - 1}
        error = 100 * state.mistakes / state.images
        figures |= self.sitting.tested(self._weights())
        figures |= state.close_epoch(figures.get("val_error", error))
        if self.log and not logged:
            self.log.write(figures)
        return Epoch(figures)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.clock

    def _save(self) -> None:
        tensors = dict(self.state.model.state_dict())
        if self.state.average:
            tensors |= {f"the average of {name}": tensor for name, tensor in self.state.average.tensors.items()}
        if strange := self.together.first_difference(tensors):
            raise NumericError(f"{strange} differs between processes at update {self.state.update}; resume the run")
        if self.log:
            self.log.sync()
            facts = {"seconds": self._elapsed(), "data": self.sitting.fingerprint, **self._build()}
            checkpoint.save(self.folder / _CHECKPOINTS, self.state, facts)
        self.sitting.keep_best()
        self.saved = time.monotonic()
