"""What a run comes to: the kept models, their temperature, the test, result.json."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from . import bundle, files
from .bundle import Bundle
from .classification import Classification
from .data.datasets import Dataset
from .data.preprocessing import Preprocessing
from .data.sources import Source
from .evaluation.calibration import fit_temperature
from .evaluation.evaluate import Evaluation, check_bad
from .evaluation.protocol import Protocol
from .evaluation.records import Answers, write
from .evaluation.scoring import ONE_CROP
from .families import name_of
from .recipe import Recipe
from .record import Result
from .training.distributed import Processes
from .training.statistics import average_statistics
from .training.train import State


@dataclass
class Setting:
    """What a run works with from its beginning to its end."""

    folder: Path
    recipe: Recipe
    dataset: Dataset
    preprocessing: Preprocessing
    job: Classification
    together: Processes
    protocol: Protocol  # of the test at the end
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def bundle(self, tensors: dict[str, Tensor], temperature: float = 1.0, **facts: Any) -> Bundle:
        """The model folder that TENSORS make; it holds them on the CPU."""
        about = {"data": self.dataset.name, "split": self.dataset.split, "recipe": self.recipe.name}
        known = {**about, "seed": self.recipe.seed, **facts}
        held = {name: tensor.cpu() for name, tensor in tensors.items()}
        return Bundle(self.recipe.network, held, self.dataset.classes, self.preprocessing, known, temperature)

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

    def evaluate(self, made: Bundle, part: Source, state: State, protocol: Protocol = ONE_CROP) -> Evaluation:
        """Test MADE on PART; what cannot be read is noted in STATE, and too much of it stops the run."""
        found = self.job.evaluate(self.model(made), part, protocol)
        state.bad |= dict(found.bad)
        self.check_bad(state)
        return found

    def check_bad(self, state: State) -> None:
        """Raise DataError where more files of any part cannot be read than the recipe allows."""
        count = sum(len(part) for part in self.dataset.parts.values())
        check_bad(list(state.bad.items()), count, self.recipe.max_bad)


def finish(setting: Setting, state: State, last: dict[str, Tensor], seconds: float) -> Result:
    """Test the chosen model on the test part, keep best/ and last/, write result.json."""
    best, dataset, training = state.best, setting.dataset, setting.recipe.training
    chosen = _finished(setting, best.tensors if best else last)
    temperature = _temperature(setting, state, chosen)
    tested = _test(setting, state, setting.bundle(chosen, temperature))
    figures = {
        "epoch": best.epoch if best else state.epoch - 1,
        "val_error": best.error if best else None,
        "test_error": tested.counts.top1_error if tested else None,
    }
    setting.keep("best" if best else "last", setting.bundle(chosen, temperature, **figures))
    if best:
        setting.keep("last", setting.bundle(_finished(setting, last), temperature, epoch=state.epoch - 1))
    whole, rest = divmod(state.update, state.per_epoch)
    images = whole * len(dataset.train) + rest * training.batch_size
    result = Result(
        run=str(setting.folder), network=name_of(setting.recipe.network), data=dataset.name, recipe=setting.recipe.name,
        seed=setting.recipe.seed, updates=state.update, epochs=state.epoch, model="best" if best else "last",
        val_error=best.error if best else None, test_error=figures["test_error"],
        test_images=tested.counts.images if tested else 0, test_mistakes=tested.counts.mistakes if tested else None,
        worst_class=tested.worst_class if tested else None, bad_files=len(state.bad), seconds=round(seconds, 2),
        images_per_second=round(images / max(seconds, 1e-9), 1), evaluation=setting.place if tested else None,
        balanced_accuracy=tested.balanced_accuracy if tested else None, temperature=round(temperature, 4),
    )  # fmt: skip
    if setting.together.first:
        if state.bad:
            text = "".join(f"{name}: {reason}\n" for name, reason in sorted(state.bad.items()))
            files.write_file(setting.folder / "bad_images.txt", text.encode())
        files.write_json(setting.folder / "result.json", {**asdict(result), "run": setting.folder.name})
    return result


def _finished(setting: Setting, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TENSORS with BN statistics averaged over training images, where the recipe says so."""
    images = setting.recipe.training.bn_images
    if not images:
        return tensors
    model = setting.model(setting.bundle(tensors))
    average_statistics(model, (batch.images for batch in setting.job.alone().batches(0, 0)), images)
    return dict(model.state_dict())


def _temperature(setting: Setting, state: State, tensors: dict[str, Tensor]) -> float:
    """The temperature that validation data asks for, 1 where there is none (arXiv:1706.04599)."""
    if setting.dataset.val is None or not len(setting.dataset.val):
        return 1.0
    found = setting.evaluate(setting.bundle(tensors), setting.dataset.val, state)
    return fit_temperature(found.scores, found.labels)


def _test(setting: Setting, state: State, made: Bundle) -> Evaluation | None:
    test = setting.dataset.test
    if test is None or not len(test):
        return None
    tested = replace(setting.evaluate(made, test, state, setting.protocol), temperature=made.temperature)
    if setting.together.first:
        name = "best" if state.best else "last"
        facts = {"model": name, "data": setting.dataset.name, "part": "test", "protocol": setting.protocol.name}
        facts["fingerprint"] = test.fingerprint()
        write(setting.folder / setting.place, tested, Answers(test, tested.classes, setting.preprocessing), facts)
    return tested


def folder_name(protocol: Protocol) -> str:
    """The protocol's name as part of a folder's."""
    return re.sub(r"[^\w+-]+", "-", protocol.name)
