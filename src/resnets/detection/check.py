"""What a detection set is like and what is wrong with it: every picture is read once, and nothing is changed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.images import ImageError
from ..errors import safe_text
from .objects import DetectionSet, Objects, Scenes

SMALL, MEDIUM = 32**2, 96**2  # pixels: COCO's limits of small and medium objects
TINY = 16  # pixels of a box's shorter side, a cell of the C4 design's features


@dataclass(frozen=True)
class PartReport:
    """One part. sides: of the pictures' shorter and longer sides, the least, the median and the greatest.

    areas: how many objects COCO calls small, medium and large. unreadable: pictures by name, and why.
    """

    pictures: int
    negatives: int
    objects: int
    difficult: int
    crowds: int
    classes: dict[str, int]
    sides: dict[str, tuple[int, int, int]]
    areas: dict[str, int]
    tiny: int
    unreadable: dict[str, str]


def check_detection(found: DetectionSet) -> dict[str, PartReport]:
    """What every part of FOUND is like, by its name."""
    return {name: _report(part, found.classes) for name, part in found.parts.items()}


def sentences(found: DetectionSet, reports: dict[str, PartReport]) -> Iterator[str]:
    """The same for people, line by line, what was left out last."""
    yield f"{safe_text(found.name)}: {len(found.classes)} classes"
    for name, part in reports.items():
        shorter, longer = part.sides["shorter"], part.sides["longer"]
        yield (
            f"{name}: {part.pictures} pictures ({part.negatives} without objects), {part.objects} objects, "
            f"{part.difficult} difficult, {part.crowds} crowds; shorter side {_range(shorter)}, longer {_range(longer)}"
        )
        yield f"{name}: {', '.join(f'{safe_text(label)} {count}' for label, count in part.classes.items())}"
        sizes = ", ".join(f"{count} {size}" for size, count in part.areas.items())
        yield f"{name}: {sizes}; {part.tiny} have a side under {TINY} pixels"
        for picture, reason in part.unreadable.items():
            yield f"{name}: {safe_text(picture)} cannot be read: {reason}"
    yield from found.notes
    for where, reason in found.bad.items():
        yield f"left out: {where}: {reason}"


def _range(values: tuple[int, int, int]) -> str:
    least, median, greatest = values
    return str(least) if least == greatest else f"{least} to {greatest} (median {median})"


def _report(part: Scenes, classes: tuple[str, ...]) -> PartReport:
    everything = [part.objects(index) for index in range(len(part))]
    labels = Counter(label for objects in everything for label in objects.labels.tolist())
    areas = np.concatenate([_areas(objects) for objects in everything])
    size = np.digitize(areas, (SMALL, MEDIUM))
    thin = np.concatenate([(objects.boxes[:, 2:] - objects.boxes[:, :2]).min(1) for objects in everything])
    sizes = np.sort([part.size(index) for index in range(len(part))], axis=1)
    unreadable: dict[str, str] = {}
    for index in range(len(part)):
        try:
            part.pixels(index)
        except ImageError as error:
            unreadable[part.name(index)] = str(error)
    return PartReport(
        pictures=len(part),
        negatives=sum(not len(objects) for objects in everything),
        objects=len(areas),
        difficult=sum(int(objects.difficult.sum()) for objects in everything),
        crowds=sum(int(objects.crowd.sum()) for objects in everything),
        classes={name: labels[label] for label, name in enumerate(classes, 1)},
        sides={name: _spread(sizes[:, at]) for at, name in enumerate(("shorter", "longer"))},
        areas={name: int((size == at).sum()) for at, name in enumerate(("small", "medium", "large"))},
        tiny=int((thin < TINY).sum()),
        unreadable=unreadable,
    )


def _areas(objects: Objects) -> np.ndarray:
    if objects.areas is not None:
        return objects.areas
    return (objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(1).astype(np.float64)


def _spread(values: np.ndarray) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())
