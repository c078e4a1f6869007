"""Detection as a run's task: what it begins with, its tests, the kept models, result.json."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .data.randomness import fold
from .detection import bundle
from .detection.bundle import DetectorBundle
from .detection.datasets import open_detection
from .detection.figures import Figures, figures_of
from .detection.job import Detection
from .detection.masks import hotcoco
from .detection.objects import Detections, DetectionSet, Scenes
from .detection.rcnn import DetectorNetwork
from .detection.recipe import DetectionRecipe
from .detection.result import DetectionResult
from .errors import DataError, UsageError, WeightsError, safe_text
from .evaluation.evaluate import check_bad
from .families import name_of
from .models import create_model
from .models.device import CPU, device_called, device_of
from .models.folder import held
from .record import keep_bad, keep_result, keep_scenes, model_folder
from .start import Machine, ScenePlan, start_from, state_of
from .training.distributed import processes
from .training.train import Best, State


def load(path: str | Path) -> DetectorBundle:
    """The detector of a run or model folder. Raises WeightsError for one that is damaged, or holds a classifier."""
    return bundle.load(model_folder(path))


def fit_detector(recipe: DetectionRecipe, dataset: DetectionSet) -> DetectionRecipe:
    """The recipe with as many classes as the data has.

    Raises, before anything is trained, DataError for data without a training part, or without the masks that are to be
    learnt, and EnvironmentProblem where masks or COCO's figures need a package that is not installed.
    """
    if not len(dataset.train):
        raise DataError(f"{dataset.name} has no training part; give data with one, or resnets detect evaluate")
    if recipe.detector.masks or recipe.metric == "coco":
        hotcoco()
    if recipe.detector.masks and dataset.train.objects(0, masks=True).masks is None:
        raise DataError(f"{dataset.name} has no masks to learn; leave out --masks")
    return replace(recipe, detector=replace(recipe.detector, classes=len(dataset.classes)))


def first_state(
    recipe: DetectionRecipe, folder: Path, images: int, fresh: bool, device: torch.device = CPU
) -> tuple[State, list[str]]:
    """The state before the first update of the run in FOLDER on so many IMAGES, and what to tell the user."""
    training = recipe.training
    torch.manual_seed(fold(recipe.seed, "init"))
    model = DetectorNetwork(recipe.detector, recipe.regions, recipe.normalize, training.fan)
    notes = _weights_into(model, recipe, folder) if recipe.weights and fresh else []
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return state_of(model, "heads.box_predictor", training, images), notes


def _weights_into(model: DetectorNetwork, recipe: DetectionRecipe, folder: Path) -> list[str]:
    """Load a detector whole, or a classifier's network into the layers that detection takes of it."""
    place = step_folder(recipe.weights, folder)
    if place.is_dir() and held(model_folder(place)) == "detector":
        found = load(place)
        own = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if own != {name: tensor.shape for name, tensor in found.tensors.items()}:
            raise WeightsError(
                f"{safe_text(recipe.weights)} holds another detector; give the same --network and --design"
            )
        model.load_state_dict(found.tensors)
        return []
    network = create_model(recipe.detector.network)
    notes = start_from(network, str(place), recipe.origin)
    inside = model.body.network
    inside.load_state_dict({name: network.state_dict()[name] for name in inside.state_dict()})
    return notes


def step_folder(name: str, folder: Path) -> Path:
    """The folder that NAME means for the run in FOLDER: of "step-2" the one beside it."""
    return folder.parent / name if name.startswith("step-") else Path(name)


def begin(recipe: DetectionRecipe, folder: Path, machine: Machine, fresh: bool, check: Callable[[], None]) -> "Setting":
    """What a sitting of the run in FOLDER works with; CHECK is called between the pictures of a test."""
    dataset = open_detection(recipe.data, recipe.max_bad).tested_on(recipe.test_images)
    recipe = fit_detector(recipe, dataset)
    state, notes = first_state(recipe, folder, len(dataset.train), fresh, device_called(machine.device))
    proposer = _proposer(step_folder(recipe.proposals, folder)) if recipe.proposals else None
    if proposer:
        proposer.to(device_of(state.model))
    assert isinstance(state.model, DetectorNetwork)
    job = Detection(state.model, recipe, dataset.train, processes(), proposer)
    return Setting(folder, recipe, dataset, job, state, check, [*dataset.notes, *notes])


def _proposer(place: Path) -> DetectorNetwork:
    """The detector in PLACE, which proposes as many regions as learn (arXiv:1506.01497: 2000), not as many as test.

    They are chosen by NMS among all of its anchors, as py-faster-rcnn does between two steps.
    """
    found = load(place)
    kept = found.regions.kept[0]
    return replace(found, regions=replace(found.regions, before_nms=(10**9,) * 2, kept=(kept,) * 2)).model()


@dataclass
class Setting:
    """What a detector's run works with from its beginning to its end."""

    folder: Path
    recipe: DetectionRecipe
    dataset: DetectionSet
    job: Detection
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

    def bundle(self, tensors: dict[str, Tensor], **facts: Any) -> DetectorBundle:
        """The model folder that TENSORS make."""
        recipe = self.recipe
        known = {
            "data": self.dataset.name,
            "recipe": recipe.name,
            "seed": recipe.seed,
            "metric": recipe.metric,
            "categories": list(self.dataset.train.categories),
            **facts,
        }
        held = {name: tensor.cpu() for name, tensor in tensors.items()}
        return DetectorBundle(
            recipe.detector, recipe.regions, recipe.testing, recipe.normalize, held, self.dataset.classes, known
        )

    def keep(self, name: str, made: DetectorBundle) -> None:
        """Write MADE as the folder NAME of the run, unless it holds the same already."""
        if self.together.first and self.kept.get(name) != made.facts:
            bundle.save(made, self.folder / name)
            self.kept[name] = made.facts

    def check_bad(self) -> None:
        """Raise DataError where more pictures cannot be read than the recipe allows."""
        self.state.bad |= self.job.bad
        check_bad(list(self.state.bad.items()), sum(map(len, self.dataset.parts.values())), self.recipe.max_bad)

    def test(self, tensors: dict[str, Tensor], part: Scenes) -> tuple[Figures, list[Detections]]:
        """The figures of TENSORS on PART, and what was found on each picture."""
        found = list[Detections]()
        for one in self.job.found([self.bundle(tensors).model().to(self.job.device)], part):
            self.check()
            found.append(one)
        self.check_bad()
        recipe = self.recipe
        return figures_of(found, part, self.dataset.classes, recipe.detector.masks, recipe.metric), found

    def tested(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The figures of TENSORS on validation data, every `val_every` epochs and at the end."""
        state, val = self.state, self.val
        if not val or not self.recipe.complete or (state.epoch % self.recipe.val_every and not state.finished):
            return {}
        ap = self.test(tensors, val)[0].value(self.recipe.metric)
        error = 100 * (1 - (ap or 0.0))
        if not state.best or error < state.best.error:
            kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            state.best = Best(error, 0.0, state.epoch - 1, kept)
        return {"val_error": error, "val_ap": ap}

    def keep_best(self) -> None:
        """Write the model that validation liked best so far."""
        if best := self.state.best:
            self.keep("best", self.bundle(best.tensors, epoch=best.epoch))

    @property
    def place(self) -> str:
        """Where the figures of the test lie, relative to the run."""
        return f"evaluations/{self.dataset.name}-{self.last_part}"

    def finish(self, last: dict[str, Tensor], seconds: float) -> DetectionResult:
        """Test the chosen model on the test part, keep best/ and last/, write result.json.

        Without a test part, as in COCO's train and val, validation data test the last model, and choose none.
        """
        state, recipe, best, test = self.state, self.recipe, self.state.best, self.dataset.parts.get(self.last_part)
        chosen, name = (best.tensors, "best") if best else (last, "last")
        figures = None
        if test and recipe.complete:
            began = time.perf_counter()
            figures, found = self.test(chosen, test)
            cost = {"seconds_per_image": (time.perf_counter() - began) / len(test)}
            if self.together.first:
                figures.write(self.folder / self.place, found, test, self.dataset.classes, cost)
        ap = figures.value(recipe.metric) if figures else None
        val = 1 - best.error / 100 if best else None
        self.keep(name, self.bundle(chosen, epoch=best.epoch if best else state.epoch - 1, val_ap=val, test_ap=ap))
        if best:
            self.keep("last", self.bundle(last, epoch=state.epoch - 1))
        images = state.update * recipe.training.batch_size
        result = DetectionResult(
            run=str(self.folder), network=name_of(recipe.detector.network), design=recipe.detector.design,
            data=self.dataset.name, recipe=recipe.name, seed=recipe.seed, updates=state.update, epochs=state.epoch,
            model=name, metric=recipe.metric, val_ap=val, test_ap=ap, test_images=len(test) if test else 0,
            figures=figures.means if figures else {}, classes=figures.classes if figures else {},
            bad_files=len(state.bad), seconds=round(seconds, 2),
            images_per_second=round(images / max(seconds, 1e-9), 2),
            evaluation=self.place if figures else None,
        )  # fmt: skip
        if self.together.first:
            keep_bad(self.folder, state.bad)
            keep_result(self.folder, result)
        return result


def models_of(paths: Sequence[str | Path]) -> list[DetectorBundle]:
    """The detectors in PATHS, which must have the same classes. Raises UsageError where they differ."""
    found = [load(path) for path in paths]
    for path, one in zip(paths, found, strict=True):
        if one.classes != found[0].classes:
            raise UsageError(f"{safe_text(str(path))} has other classes than {safe_text(str(paths[0]))}")
    return found
