"""A run: a recipe and a folder become a trained, tested and kept model."""

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import bundle, files
from .bundle import Bundle
from .classification import Classification
from .data.batches import batches_per_epoch
from .data.datasets import Holdout, open_dataset
from .data.randomness import fold
from .errors import DataError, Interrupted, UsageError
from .evaluation.evaluate import check_bad
from .evaluation.metrics import Counts
from .evaluation.records import Answers, write
from .families import name_of
from .models import create_model
from .recipe import Recipe
from .record import (
    Result,
    began,
    build,
    check_is_a_run,
    check_recipe,
    keep_recipe,
    keep_split,
    read_result,
)
from .start import (
    Machine,
    Plan,
    check_fits,
    fit_network,
    helpful_workers,
    picture_sizes,
    preprocessing_of,
    settled,
    start_from,
    threads,
)
from .training import checkpoint
from .training.optimizer import Average, optimizer
from .training.schedule import Schedule
from .training.signals import Signals, Stop
from .training.train import Best, State, Step, train

log = logging.getLogger(__name__)
_SETTLED = 5.0  # seconds after which the end of an epoch is saved
_CHECKPOINTS = "checkpoints"
_LATEST = 60.0  # seconds after which any update is


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


def events(recipe: Recipe, folder: Path, machine: Machine | None = None) -> Iterator[Event]:
    """The same, event by event: a Plan, a Step per update, an Epoch per epoch, and the Result.

    Raises LockHeld where another process works in FOLDER, UsageError where FOLDER holds another recipe, DataError
    where the data has changed since the run began, Interrupted after a signal, once the state is saved.
    """
    machine = machine or Machine()
    if (machine.workers or 0) < 0:
        raise UsageError(f"workers is {machine.workers}; it must be at least 0")
    check_is_a_run(folder)
    files.probe(folder)
    with files.lock(folder), began(folder):
        recipe = settled(recipe, folder)
        done = read_result(folder)
        if done:
            check_recipe(folder, recipe)
            yield done
            return
        signals = Signals()
        with threads(recipe):
            run = _Run(recipe, folder, machine, signals)  # a signal ends this at once: there is nothing to save yet
            with signals.caught():
                yield from run.events()


class _Run:
    """One sitting of a run."""

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine, signals: Signals) -> None:
        self.folder, self.machine, self.signals = folder, machine, signals
        self.dataset = open_dataset(recipe.data, Holdout(recipe.val, recipe.test, recipe.split_seed))
        self.recipe = fit_network(recipe, self.dataset)
        self.preprocessing = preprocessing_of(self.recipe, self.dataset)
        self.notes = [*self.dataset.notes, *picture_sizes(self.dataset.train)]
        self.files = sum(len(part) for part in self.dataset.parts.values())
        self.fingerprint = self.dataset.train.fingerprint()
        self.state = self._new_state()
        workers = helpful_workers(self.dataset.train) if machine.workers is None else machine.workers
        model, classes = self.state.model, self.dataset.classes
        self.job = Classification(model, self.recipe, self.dataset.train, self.preprocessing, classes, workers)
        self.kept: dict[str, dict[str, Any]] = {}
        size = sum(tensor.numel() * tensor.element_size() for tensor in self.state.model.state_dict().values())
        files.probe(folder, 10 * size)  # two checkpoints, best and last, with optimizer and averages
        keep_recipe(folder, self.recipe)
        keep_split(folder, self.dataset.parts, recipe.data)

    def _new_state(self) -> State:
        training = self.recipe.training
        torch.manual_seed(fold(self.recipe.seed, "init"))
        model = create_model(self.recipe.network, fan=training.fan, zero_last_scale=training.zero_last_scale)
        if self.recipe.weights and not checkpoint.checkpoints(self.folder / _CHECKPOINTS):
            self.notes += start_from(model, self.recipe.weights, self.recipe.origin)
        check_fits(model, self.recipe.network)
        model.to(memory_format=torch.channels_last if training.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
        per_epoch = batches_per_epoch(len(self.dataset.train), training.batch_size)
        total = training.updates or training.epochs * per_epoch
        average = Average(model, training.ema) if training.ema else None
        optim = optimizer(model, model.classifier_name, training)
        return State(model, optim, Schedule(training, total), average, per_epoch)

    def events(self) -> Iterator[Event]:
        """Restore, announce, train, test, keep."""
        state, store = self.state, self.folder / _CHECKPOINTS
        files.clean(self.folder)
        files.clean(store)
        facts = checkpoint.restore(store, state) or {}
        self._compare(facts)
        self.seconds, self.clock = float(facts.get("seconds", 0.0)), time.monotonic()
        self.saved = self.clock
        self.log = files.Log(self.folder / "log.jsonl")
        self.log.truncate_after(state.update)
        total = state.schedule.total
        lengths = (total, state.per_epoch, state.update)
        yield Plan(self.folder, self.recipe, self.dataset, self.preprocessing, *lengths, tuple(self.notes))
        try:
            if state.epoch > state.closed:
                closed = (r["epoch"] for r in self.log.records() if "train_error" in r)
                yield self._close_epoch(logged=state.epoch - 1 in closed)
            yield from self._train()
            self._save()
            result = self._finish()
        except Stop:
            self._save()
            number = signal.Signals(self.signals.number or signal.SIGTERM)
            raise Interrupted(
                f"{number.name}: saved at update {state.update} of {total}; go on with: resnets resume {self.folder}",
                number,
            ) from None
        yield result

    def _compare(self, facts: dict[str, Any]) -> None:
        """Refuse other data, and say where bit-equality with an unbroken run cannot be promised."""
        if facts and facts["data"] != self.fingerprint:
            raise DataError(f"{self.recipe.data} has changed since the run began; choose another --out")
        now = build()
        for name, value in now.items():
            if facts and facts[name] != value:
                log.warning("%s was %s, is %s: the result may differ in the last bits", name, facts[name], value)

    def _train(self) -> Iterator[Event]:
        for step in train(self.job, self.state):
            self._note_bad(())
            self.log.write({key: value for key, value in asdict(step).items() if key != "ends_epoch"})
            yield step
            self.signals.check()
            if step.ends_epoch:
                yield self._close_epoch()
            if self._is_due(step.ends_epoch):
                self._save()

    def _is_due(self, ends_epoch: bool) -> bool:
        if self.machine.save_every:
            return self.state.update % self.machine.save_every == 0
        return time.monotonic() - self.saved > (_SETTLED if ends_epoch else _LATEST)

    def _weights(self) -> dict[str, Tensor]:
        """What is tested and kept: the averaged weights where there are any."""
        return self.state.average.tensors if self.state.average else dict(self.state.model.state_dict())

    def _note_bad(self, bad: Iterable[tuple[str, str]]) -> None:
        """Count and name what could not be read in any part; too much of it stops the run."""
        self.state.bad |= dict(bad)
        check_bad(list(self.state.bad.items()), self.files, self.recipe.max_bad)

    def _close_epoch(self, logged: bool = False) -> Epoch:
        state, dataset = self.state, self.dataset
        figures: dict[str, Any] = {"update": state.update, "epoch": state.epoch - 1}
        error = 100 * state.mistakes / state.images
        kept = self._bundle(self._weights())
        if dataset.val is not None:
            tested = self.job.evaluate(kept.model(), dataset.val, self.signals.check)
            self._note_bad(tested.bad)
            error = tested.counts.top1_error
            figures |= {"val_error": error, "val_loss": tested.loss}
            if not state.best or (error, tested.loss) < (state.best.error, state.best.loss):
                tensors = {name: tensor.clone() for name, tensor in kept.tensors.items()}
                state.best = Best(error, tested.loss, state.epoch - 1, tensors)
        if self.recipe.watch_test and dataset.test is not None:
            watched = self.job.evaluate(kept.model(), dataset.test, self.signals.check)
            figures["watched_test_error"] = watched.counts.top1_error
        figures |= state.close_epoch(error)
        if not logged:
            self.log.write(figures)
        return Epoch(figures)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.clock

    def _save(self) -> None:
        self.log.sync()
        facts = {"seconds": self._elapsed(), "data": self.fingerprint, **build()}
        checkpoint.save(self.folder / _CHECKPOINTS, self.state, facts)
        if self.state.best:
            self._keep("best", self.state.best.tensors, {"epoch": self.state.best.epoch})
        self.saved = time.monotonic()

    def _bundle(self, tensors: dict[str, Tensor], facts: dict[str, Any] | None = None) -> Bundle:
        return Bundle(self.recipe.network, tensors, self.dataset.classes, self.preprocessing, facts or {})

    def _keep(self, name: str, tensors: dict[str, Tensor], figures: dict[str, Any]) -> None:
        if self.kept.get(name) != figures:
            about = {"data": self.dataset.name, "split": self.dataset.split}
            facts = {**about, "recipe": self.recipe.name, "seed": self.recipe.seed, **figures}
            bundle.save(self._bundle(tensors, facts), self.folder / name)
            self.kept[name] = figures

    def _finish(self) -> Result:
        """Test the chosen model, keep best/ and last/, write result.json."""
        state, best = self.state, self.state.best
        last = self._weights()
        epoch = best.epoch if best else state.epoch - 1
        counts, place = self._test(best.tensors if best else last, "best" if best else "last")
        error = counts.top1_error if counts else None
        figures = {"epoch": epoch, "val_error": best.error if best else None, "test_error": error}
        if best:
            self._keep("best", best.tensors, figures)
        self._keep("last", last, {"epoch": state.epoch - 1} if best else figures)
        rows = [row for row in counts.per_class(self.dataset.classes) if row["images"]] if counts else []
        seconds = self._elapsed()
        training = self.recipe.training
        whole, rest = divmod(state.update, state.per_epoch)
        images = whole * len(self.dataset.train) + rest * training.batch_size
        result = Result(
            run=str(self.folder), network=name_of(self.recipe.network), data=self.dataset.name, recipe=self.recipe.name,
            seed=self.recipe.seed, updates=state.update, epochs=state.epoch, model="best" if best else "last",
            val_error=best.error if best else None, test_error=error,
            test_images=counts.images if counts else 0, test_mistakes=counts.mistakes if counts else None,
            worst_class=min(rows, key=lambda row: row["recall"], default=None), bad_files=len(state.bad),
            seconds=round(seconds, 2), images_per_second=round(images / max(seconds, 1e-9), 1), evaluation=place,
        )  # fmt: skip
        if state.bad:
            text = "".join(f"{name}: {reason}\n" for name, reason in sorted(state.bad.items()))
            files.write_file(self.folder / "bad_images.txt", text.encode())
        files.write_json(self.folder / "result.json", {**asdict(result), "run": self.folder.name})
        return result

    def _test(self, tensors: dict[str, Tensor], name: str) -> tuple[Counts | None, str | None]:
        test = self.dataset.test
        if test is None or not len(test):
            return None, None
        answers = Answers(test, self.dataset.classes)

        def watch(batch: Any, scores: Tensor) -> None:
            self.signals.check()
            answers.add(batch, scores)

        tested = self.job.evaluate(self._bundle(tensors).model(), test, watch)
        self._note_bad(tested.bad)
        place = f"evaluations/{self.dataset.name}-1-crop"
        write(self.folder / place, tested, answers, {"model": name, "part": "test", "protocol": "1-crop"})
        return tested.counts, place
