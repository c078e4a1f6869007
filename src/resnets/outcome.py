"""Classification as a run's task: what it begins with, its tests, the kept models, result.json."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from . import bundle
from .bundle import Bundle
from .classification import Classification
from .data.datasets import Dataset
from .data.preprocessing import Preprocessing
from .data.sources import Source
from .estimate import decided
from .evaluation.calibration import fit_temperature, reject_threshold
from .evaluation.evaluate import Evaluation, check_bad
from .evaluation.protocol import Protocol, parse
from .evaluation.records import Answers, write
from .evaluation.scoring import ONE_CROP
from .families import name_of
from .models.bypass import expected
from .models.device import device_called
from .recipe import Recipe, change
from .record import Result, keep_bad, keep_data, keep_mean, keep_result, keep_split
from .start import (
    Cost,
    Machine,
    Plan,
    fit_network,
    helpful_workers,
    imbalance,
    new_state,
    opened,
    picture_sizes,
    preprocessing_of,
    use_kernels,
)
from .training.distributed import processes
from .training.statistics import average_statistics
from .training.train import Best, State


def begin(recipe: Recipe, folder: Path, machine: Machine, fresh: bool, check: Callable[[], None]) -> "Setting":
    """What a sitting of the run in FOLDER works with; CHECK is called between the batches of a test.

    A FRESH run has no checkpoint yet: its first weights are read and its kernels decided.
    """
    together, device, dataset = processes(), device_called(machine.device), opened(recipe)
    recipe = fit_network(recipe, dataset)
    state, notes = new_state(recipe, len(dataset.train), fresh, device)
    rare = imbalance(dataset) if recipe.training.balance == "none" else []
    notes = [*dataset.notes, *picture_sizes(dataset.train), *rare, *notes]
    seen = preprocessing_of(recipe, dataset, folder, together)
    workers = helpful_workers(dataset.train) if machine.workers is None else machine.workers
    job = Classification(state.model, recipe, dataset.train, seen, dataset.classes, workers, together, check)
    cost: Cost | None = None
    if fresh:
        kernels, cost = decided(job, state.schedule.total)
        recipe = change(recipe, kernels=together.share(kernels))
        use_kernels(state.model, recipe.training.kernels)
    return Setting(folder, recipe, dataset, seen, job, state, parse(recipe.protocol), notes, cost)


@dataclass
class Setting:
    """What a run works with from its beginning to its end; `protocol` is that of the test at the end."""

    folder: Path
    recipe: Recipe
    dataset: Dataset
    preprocessing: Preprocessing
    job: Classification
    state: State
    protocol: Protocol
    notes: list[str]
    cost: Cost | None
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    watched: tuple[int, Evaluation] | None = None

    def __post_init__(self) -> None:
        self.together, self.fingerprint = self.job.together, self.dataset.train.fingerprint()

    def write(self) -> None:
        """Write what a run begins with; later sittings must bring the same."""
        keep_split(self.folder, self.dataset.parts, self.recipe.data)
        keep_data(self.folder, self.dataset, self.notes)
        keep_mean(self.folder, self.preprocessing)

    def plan(self, notes: tuple[str, ...]) -> Plan:
        """What is understood before the first update."""
        state = self.state
        lengths = (state.schedule.total, state.per_epoch, state.update)
        return Plan(self.folder, self.recipe, self.dataset, self.preprocessing, *lengths, notes, self.cost)

    def tested(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The figures of TENSORS on validation data, and on test data where it is watched."""
        state, dataset, figures = self.state, self.dataset, dict[str, Any]()
        kept = self.bundle(self.expected(tensors))
        if dataset.val is not None:
            tested = self.evaluate(kept, dataset.val)
            error = tested.counts.top1_error
            figures |= {"val_error": error, "val_loss": tested.loss}
            if not state.best or (error, tested.loss) < (state.best.error, state.best.loss):
                best = {name: tensor.clone() for name, tensor in kept.tensors.items()}
                state.best = Best(error, tested.loss, state.epoch - 1, best)
        if self.recipe.watch_test and dataset.test is not None:
            self.watched = state.update, self.evaluate(kept, dataset.test)
            figures["watched_test_error"] = self.watched[1].counts.top1_error
        return figures

    @property
    def known(self) -> Evaluation | None:
        """The test of the model at the end, where it was watched already: the same model in the same way."""
        plain = self.protocol == ONE_CROP and not self.state.best and not self.recipe.training.bn_images
        return self.watched[1] if plain and self.watched and self.watched[0] == self.state.update else None

    def expected(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """TENSORS of the training for a test with all units."""
        active = self.recipe.training.active_units
        return expected(self.state.model, tensors, active) if active else tensors

    def keep_best(self) -> None:
        """Write the model that validation liked best so far."""
        if best := self.state.best:
            self.keep("best", self.bundle(best.tensors, epoch=best.epoch))

    def bundle(self, tensors: dict[str, Tensor], calibrated: tuple[float, float] = (1.0, 0.0), **facts: Any) -> Bundle:
        """The model folder that TENSORS make, with temperature and reject threshold; it holds them on the CPU."""
        about = {"data": self.dataset.name, "split": self.dataset.split, "recipe": self.recipe.name}
        known = {**about, "seed": self.recipe.seed, **facts}
        held = {name: tensor.cpu() for name, tensor in tensors.items()}
        return Bundle(self.recipe.network, held, self.dataset.classes, self.preprocessing, known, *calibrated)

    def keep(self, name: str, made: Bundle) -> None:
        """Write MADE as the folder NAME of the run, unless it holds the same already."""
        if self.together.first and self.kept.get(name) != made.facts:
            bundle.save(made, self.folder / name)
            self.kept[name] = made.facts

    def model(self, made: Bundle) -> nn.Module:
        """The module of MADE where the run computes."""
        return made.model().to(self.job.device)

    @property
    def place(self) -> str:
        """Where the figures of the test lie, relative to the run."""
        return f"evaluations/{self.dataset.name}-{folder_name(self.protocol)}"

    def evaluate(self, made: Bundle, part: Source, protocol: Protocol = ONE_CROP) -> Evaluation:
        """Test MADE on PART; what cannot be read is noted, and too much of it stops the run."""
        found = self.job.evaluate(self.model(made), part, protocol)
        self.state.bad |= dict(found.bad)
        self.check_bad()
        return found

    def check_bad(self) -> None:
        """Raise DataError where more files of any part cannot be read than the recipe allows."""
        count = sum(len(part) for part in self.dataset.parts.values())
        check_bad(list(self.state.bad.items()), count, self.recipe.max_bad)

    def finish(self, last: dict[str, Tensor], seconds: float) -> Result:
        """Test the chosen model on the test part, keep best/ and last/, write result.json."""
        state, dataset, recipe, last = self.state, self.dataset, self.recipe, self.expected(last)
        best = state.best
        chosen = _finished(self, best.tensors if best else last)
        calibrated = _calibrated(self, chosen)
        tested = _test(self, self.bundle(chosen, calibrated))
        figures = {
            "epoch": best.epoch if best else state.epoch - 1,
            "val_error": best.error if best else None,
            "test_error": tested.counts.top1_error if tested else None,
        }
        self.keep("best" if best else "last", self.bundle(chosen, calibrated, **figures))
        if best:
            self.keep("last", self.bundle(_finished(self, last), calibrated, epoch=state.epoch - 1))
        whole, rest = divmod(state.update, state.per_epoch)
        images = whole * len(dataset.train) + rest * recipe.training.batch_size
        result = Result(
            run=str(self.folder), network=name_of(recipe.network), data=dataset.name, recipe=recipe.name,
            seed=recipe.seed, updates=state.update, epochs=state.epoch, model="best" if best else "last",
            val_error=best.error if best else None, test_error=figures["test_error"],
            test_images=tested.counts.images if tested else 0, test_mistakes=tested.counts.mistakes if tested else None,
            worst_class=tested.worst_class if tested else None, bad_files=len(state.bad), seconds=round(seconds, 2),
            images_per_second=round(images / max(seconds, 1e-9), 1), evaluation=self.place if tested else None,
            balanced_accuracy=tested.balanced_accuracy if tested else None, temperature=round(calibrated[0], 4),
        )  # fmt: skip
        if self.together.first:
            keep_bad(self.folder, state.bad)
            keep_result(self.folder, result)
        return result


def _finished(setting: Setting, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TENSORS with BN statistics averaged over training images, where the recipe says so."""
    images = setting.recipe.training.bn_images
    if not images:
        return tensors
    model = setting.model(setting.bundle(tensors))
    average_statistics(model, (batch.images for batch in setting.job.alone().batches(0, 0)), images)
    return dict(model.state_dict())


def _calibrated(setting: Setting, tensors: dict[str, Tensor]) -> tuple[float, float]:
    """Temperature (arXiv:1706.04599) and reject threshold from validation data, 1 and 0 where there is none."""
    if setting.dataset.val is None or not len(setting.dataset.val):
        return 1.0, 0.0
    found = setting.evaluate(setting.bundle(tensors), setting.dataset.val)
    temperature = fit_temperature(found.scores, found.labels)
    return temperature, reject_threshold(found.scores, temperature)


def _test(setting: Setting, made: Bundle) -> Evaluation | None:
    test = setting.dataset.test
    if test is None or not len(test):
        return None
    tested = replace(setting.known or setting.evaluate(made, test, setting.protocol), temperature=made.temperature)
    if setting.together.first:
        name = "best" if setting.state.best else "last"
        facts = {"model": name, "data": setting.dataset.name, "part": "test", "protocol": setting.protocol.name}
        facts["fingerprint"] = test.fingerprint()
        write(setting.folder / setting.place, tested, Answers(test, tested.classes, setting.preprocessing), facts)
    return tested


def folder_name(protocol: Protocol) -> str:
    """The protocol's name as part of a folder's."""
    return re.sub(r"[^\w+-]+", "-", protocol.name)
