"""Using detectors: tests of kept models, and detections on pictures in files."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import files
from .data.images import EXTENSIONS, ImageError, read_any
from .data.preprocessing import colours
from .detecting import models_of
from .detection.datasets import open_detection
from .detection.detect import detect, tensor_of
from .detection.drawing import drawn
from .detection.figures import Figures, figures_of
from .detection.job import Detection
from .detection.objects import Detections, Scenes
from .detection.recipe import DetectionRecipe
from .detection.results import results_rows
from .detection.scenes import STYLES
from .errors import DataError, UsageError, safe_text, unknown
from .models.device import device_called, device_of, moved
from .recipe import Training
from .record import read_recipe, resolve, run_of


@dataclass(frozen=True, eq=False)
class TestedDetector:
    """What a test of a detector came to, on the pictures of `part`."""

    figures: Figures
    detections: list[Detections]
    part: Scenes
    classes: tuple[str, ...]
    facts: dict[str, Any]


def evaluated(
    paths: Sequence[str | Path], data: str = "", part: str = "auto", changes: dict[str, Any] | None = None,
    images: int = 0, max_bad: float | None = None,
) -> TestedDetector:  # fmt: skip
    """Test the detectors in PATHS, several as an ensemble, on a part of DATA (default: the first one's own).

    changes: fields of `Inference`. images: the first so many pictures, 0 for all. max_bad: default that of the
    first one's run, as is the precision that is computed in. Objects of classes that the models do not know cannot be
    used. Raises UsageError where the data has other classes than the models.
    """
    bundles = models_of(paths)
    run = run_of(resolve(paths[0]))
    if not data and run is None:
        raise UsageError(f"{safe_text(str(paths[0]))} is no run, so its data is not known; give --data")
    trained = read_recipe(run, DetectionRecipe) if run else None
    data = data or (trained.data if trained else "")
    allowed = max_bad if max_bad is not None else trained.max_bad if trained else 0.01
    first = bundles[0]
    dataset = open_detection(data, allowed, classes=None if data in STYLES else first.classes)
    if dataset.classes != first.classes:
        names = ", ".join(map(safe_text, dataset.classes[:5]))
        raise UsageError(f"{safe_text(data)} has the classes {names}, the model {', '.join(first.classes[:5])}")
    name = next(name for name in ("test", "val", "train") if name in dataset.parts) if part == "auto" else part
    if name not in dataset.parts:
        raise unknown("part", name, dataset.parts)
    scenes = dataset.parts[name]
    scenes = scenes.subset(range(min(images, len(scenes)))) if images else scenes
    testing = replace(first.testing, **(changes or {}))
    training = Training(precision=trained.training.precision) if trained else Training()
    recipe = DetectionRecipe(
        "test", first.detector, data, normalize=first.normalize, testing=testing, training=training
    )
    models = [bundle.model().to(device_called()) for bundle in bundles]
    job, began = Detection(models[0], recipe, scenes), time.perf_counter()
    found = list(job.found(models, scenes))
    if len(job.bad) > allowed * len(scenes):
        bad, reason = next(iter(job.bad.items()))
        raise DataError(f"{len(job.bad)} of {len(scenes)} pictures cannot be read, such as {safe_text(bad)}: {reason}")
    facts = {
        "model": [str(path) for path in paths], "data": data, "part": name, "testing": changes or {},
        "seconds_per_image": (time.perf_counter() - began) / max(len(scenes), 1), "bad_files": job.bad,
    }  # fmt: skip
    figures = figures_of(found, scenes, first.classes, first.detector.masks, first.facts.get("metric", "area"))
    return TestedDetector(figures, found, scenes, first.classes, facts)


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture that was looked at: what was found, or the reason why it cannot be read; where it was drawn."""

    number: int
    name: str
    classes: tuple[str, ...]
    found: Detections | None
    seconds: float = 0.0
    reason: str = ""
    drawn: str = ""
    categories: tuple[int, ...] = ()

    def rows(self) -> list[tuple[str, float, list[float]]]:
        """Name, score and box of every detection, best first."""
        if self.found is None:
            return []
        parts = zip(self.found.labels.tolist(), self.found.scores.tolist(), self.found.boxes.tolist(), strict=True)
        return [(self.classes[label - 1], score, box) for label, score, box in parts]

    def results(self) -> list[dict[str, Any]]:
        """The detections in COCO's results form: the training data's own ids of its classes, else they count from 1."""
        ids = self.categories or range(1, len(self.classes) + 1)
        return [] if self.found is None else results_rows(self.found, self.number, ids)

    def as_dict(self) -> dict[str, Any]:
        """For a program."""
        rows = [{"class": name, "score": score, "box": box} for name, score, box in self.rows()]
        facts = {"image_id": self.number, "file": self.name, "milliseconds": round(1000 * self.seconds, 1)}
        return {**facts, "reason": self.reason or None, "drawn": self.drawn or None, "detections": rows}


def looked(
    path: Path, images: Sequence[Path], least: float = 0.5, refine: bool = False, draw: Path | None = None
) -> Iterator[Looked]:
    """What the detector in PATH finds on pictures in files and folders, with scores of at least LEAST.

    draw: a folder for pictures with the detections on them. Raises UsageError where there is no picture.
    """
    (bundle,) = models_of([path])
    model, testing = bundle.model().to(device_called()), replace(bundle.testing, refine=refine)
    ids = tuple(bundle.facts.get("categories", ()))
    for number, place in enumerate(_pictures(images), 1):
        try:
            image = colours(_colours(read_any(place)), 3)
        except ImageError as error:
            yield Looked(number, str(place), bundle.classes, None, reason=str(error))
            continue
        pixels, began = np.asarray(image, np.uint8), time.perf_counter()
        found = detect([model], moved(tensor_of(pixels), device_of(model)), testing)
        found, seconds = found.select(found.scores >= least), time.perf_counter() - began
        target = ""
        if draw:
            target = str(draw / f"{place.stem}-{number}.png")
            files.write_file(Path(target), drawn(pixels, found, bundle.classes))
        yield Looked(number, str(place), bundle.classes, found, seconds, drawn=target, categories=ids)


def _colours(picture: Any) -> Image.Image:
    if not isinstance(picture, Image.Image):
        raise ImageError(f"an array of {picture.shape[-1]} channels; detectors look at colours or gray")
    return picture


def _pictures(places: Sequence[Path]) -> list[Path]:
    """The files in PLACES, of folders those with a picture's extension. Raises UsageError where there is none."""
    found = list[Path]()
    for place in places:
        inside = (entry for entry in sorted(place.rglob("*")) if entry.suffix.lower() in EXTENSIONS)
        found += inside if place.is_dir() else [place]
    if not found:
        raise UsageError("no picture is there; give files, or a folder with pictures")
    return found
