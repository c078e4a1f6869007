"""Localization as a run's task: what each of its steps begins with, its tests, the kept models, result.json."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import bundle, files
from .bundle import Bundle
from .data.images import ImageError
from .data.randomness import fold
from .detection.datasets import open_detection
from .detection.localization import (
    Localizer,
    ProposalNetwork,
    RegionNetwork,
    localized,
    objects_of,
    one_class_each,
    preprocessing_of,
)
from .detection.localization_job import Localization
from .detection.localization_recipe import ROWS, LocalizationRecipe, LocalizationResult, Row
from .detection.objects import DetectionSet, Scenes
from .errors import WeightsError, safe_text
from .evaluation.evaluate import check_bad
from .families import name_of
from .models import create_model
from .models.device import device_called
from .models.folder import head, read_folder
from .record import keep_bad, keep_result, keep_scenes, model_folder
from .start import Machine, ScenePlan, start_from, state_of
from .training.checkpoint import check_finite, pack
from .training.distributed import processes
from .training.train import Best, State

_PARTS = {"class": "classifier", "rpn": "rpn", "rcnn": "rcnn"}  # which network of a Localizer a step trains


@dataclass(frozen=True)
class _Section:
    """Our own section of a localizer's config.json, format 1."""

    format: int
    version: str
    localizer: LocalizationRecipe
    facts: dict[str, Any]


def load(path: str | Path) -> nn.Module:
    """The network, in eval mode, of the run or model folder of the step "rpn" or "rcnn". Raises WeightsError."""
    own, _, tensors = read_folder(model_folder(path), _Section, "localizer", lambda found: _network(found.localizer))
    model = _network(own.localizer)
    model.load_state_dict(tensors)
    return model.eval()


def _network(recipe: LocalizationRecipe) -> nn.Module:
    """The network that a step trains, with its first weights."""
    if recipe.step == "class":
        return create_model(recipe.network, fan=recipe.training.fan)
    return (ProposalNetwork if recipe.step == "rpn" else RegionNetwork)(recipe)


def _classifier(recipe: LocalizationRecipe, folder: Path, classes: tuple[str, ...]) -> tuple[nn.Module, list[str]]:
    """The network that says what is on a picture, and what to tell the user. Raises WeightsError for other classes."""
    place = folder.parent / "class" if recipe.weights == "class" else Path(recipe.weights)
    where, model = safe_text(recipe.weights), create_model(recipe.network)
    if place.is_dir() or place.name == "latest":
        made, seen = bundle.load(model_folder(place)), preprocessing_of(recipe)
        if made.classes != classes:
            raise WeightsError(f"{where} has other classes than {safe_text(recipe.data)}; leave out --weights")
        if (made.preprocessing.mean, made.preprocessing.std) != (seen.mean, seen.std) or made.preprocessing.pixel_mean:
            raise WeightsError(f"{where} was not trained with the normalization {recipe.normalize}; give --normalize")
    notes = start_from(model, str(place), recipe.origin)
    if any(note.startswith("new classifier") for note in notes):
        raise WeightsError(f"{where} names other than the {len(classes)} classes of {safe_text(recipe.data)}")
    return model.eval(), notes


def begin(
    recipe: LocalizationRecipe, folder: Path, machine: Machine, fresh: bool, check: Callable[[], None]
) -> "Setting":
    """What a sitting of the step in FOLDER works with; CHECK is called between the pictures of a test."""
    together, device = processes(), device_called(machine.device)
    dataset = one_class_each(open_detection(recipe.data, recipe.max_bad).tested_on(recipe.test_images))
    network = replace(recipe.network, classes=len(dataset.classes), channels=3, size=recipe.size)
    recipe, notes = replace(recipe, network=network), list(dataset.notes)
    torch.manual_seed(fold(recipe.seed, "init"))
    model, localizer = _network(recipe), Localizer(recipe)
    if recipe.step != "class":
        classifier, more = _classifier(recipe, folder, dataset.classes)
        start, inside = classifier.state_dict(), model.get_submodule("network")
        inside.load_state_dict({name: start[name] for name in inside.state_dict()})
        localizer, notes = Localizer(recipe, classifier.to(device)), [*notes, *more]
    if recipe.step == "rcnn":
        localizer = replace(localizer, rpn=load(folder.parent / "rpn").to(device))
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    job = Localization(model, recipe, dataset.train, localizer, together)
    state = state_of(model, "scores", recipe.training, len(dataset.train))
    return Setting(folder, recipe, dataset, job, state, check, notes)


@dataclass
class Setting:
    """What a step works with from its beginning to its end.

    Validation data chooses the best model where there is a test part; else it is what the end is tested on.
    """

    folder: Path
    recipe: LocalizationRecipe
    dataset: DetectionSet
    job: Localization
    state: State
    check: Callable[[], None]
    notes: list[str]
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.together, self.fingerprint = self.job.together, self.dataset.train.fingerprint()
        parts = self.dataset.parts
        self.last_part = next((name for name in ("test", "val") if name in parts), "")
        self.val = parts.get("val") if self.last_part == "test" else None

    def write(self) -> None:
        """Write what a run begins with."""
        keep_scenes(self.folder, self.dataset, self.notes)

    def plan(self, notes: tuple[str, ...]) -> ScenePlan:
        """What is understood before the first update."""
        state = self.state
        lengths = (state.schedule.total, state.per_epoch, state.update)
        return ScenePlan(self.folder, self.recipe, self.dataset, *lengths, notes)

    def check_bad(self) -> None:
        """Raise DataError where more pictures cannot be read than the recipe allows."""
        check_bad(list(self.state.bad.items()), sum(map(len, self.dataset.parts.values())), self.recipe.max_bad)

    def test(self, tensors: dict[str, Tensor], part: Scenes, rows: tuple[Row, ...]) -> dict[str, dict[str, Any]]:
        """The errors of TENSORS on PART in every one of ROWS, by name."""
        step, device = self.recipe.step, self.job.device
        model = _network(self.recipe)
        model.load_state_dict(tensors)
        model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        localizer, seen, wrong = replace(self.job.localizer, **{_PARTS[step]: model}), 0, [0] * len(rows)
        for index in range(len(part)):
            self.check()
            try:
                pixels = part.pixels(index)
            except ImageError as error:
                self.state.bad[part.name(index)] = str(error)
                continue
            objects, seen = objects_of(part, index), seen + 1
            for number, row in enumerate(rows):
                wrong[number] += not localized(*localizer.answer(pixels, row, int(objects.labels[0])), objects)
        self.check_bad()
        counts = {row.name: count for row, count in zip(rows, wrong, strict=True)}
        return {name: {"images": seen, "wrong": n, "error": 100 * n / max(seen, 1)} for name, n in counts.items()}

    def tested(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The error of the step's first row on validation data, every `val_every` epochs and at the end."""
        state, recipe = self.state, self.recipe
        if not self.val or (state.epoch % recipe.val_every and not state.finished):
            return {}
        (row,) = self.test(tensors, self.val, ROWS[recipe.step][:1]).values()
        if not state.best or row["error"] < state.best.error:
            kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            state.best = Best(row["error"], 0.0, state.epoch - 1, kept)
        return {"val_error": row["error"]}

    def keep(self, name: str, tensors: dict[str, Tensor], **facts: Any) -> None:
        """Write the folder NAME of the run, unless it holds the same already: a classifier, or a step of our own."""
        recipe, classes = self.recipe, self.dataset.classes
        if not self.together.first or self.kept.get(name) == facts:
            return
        self.kept[name] = facts
        held = {key: tensor.cpu() for key, tensor in tensors.items()}
        facts = {"data": self.dataset.name, "recipe": recipe.name, "seed": recipe.seed, **facts}
        if recipe.step == "class":
            return bundle.save(
                Bundle(recipe.network, held, classes, preprocessing_of(recipe), facts), self.folder / name
            )
        check_finite(held, name)
        config = {
            "architecture": f"{name_of(recipe.network)}-{recipe.step}",
            "num_classes": len(classes),
            "label_names": list(classes),
            "resnets": {**head(), "localizer": asdict(recipe), "facts": facts},
        }
        text = (json.dumps(config, indent=2, allow_nan=False) + "\n").encode()
        contents = {"model.safetensors": pack(held, {"format": "pt"}), "config.json": text}
        files.write_folder(self.folder / name, contents, {})

    def keep_best(self) -> None:
        """Write the model that validation liked best so far."""
        if best := self.state.best:
            self.keep("best", best.tensors, epoch=best.epoch)

    def finish(self, last: dict[str, Tensor], seconds: float) -> LocalizationResult:
        """Test the chosen model, keep best/ and last/, write result.json."""
        state, recipe, best = self.state, self.recipe, self.state.best
        chosen, name = (best.tensors, "best") if best else (last, "last")
        part = self.dataset.parts.get(self.last_part)
        figures = self.test(chosen, part, ROWS[recipe.step]) if part else {}
        self.keep(name, chosen, epoch=best.epoch if best else state.epoch - 1)
        if best:
            self.keep("last", last, epoch=state.epoch - 1)
        result = LocalizationResult(
            run=str(self.folder), network=name_of(recipe.network), data=self.dataset.name, recipe=recipe.name,
            step=recipe.step, seed=recipe.seed, updates=state.update, epochs=state.epoch, model=name,
            val_error=best.error if best else None, part=self.last_part, figures=figures, bad_files=len(state.bad),
            seconds=round(seconds, 2),
        )  # fmt: skip
        if self.together.first:
            keep_bad(self.folder, state.bad)
            keep_result(self.folder, result)
        return result
