"""Objects on pictures, as annotated and as found, and the sets of pictures that have them.

Boxes are x1, y1, x2, y2 in pixels, continuous, from 0, half-open: a box as wide as the picture ends at its width.
VOC's inclusive [a, b], counted from 1, is [a − 1, b]; COCO's x, y, w, h is [x, y, x + w, y + h].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .masks import Packed

T = TypeVar("T", "Objects", "Detections")


@dataclass(frozen=True, eq=False)
class Objects:
    """What is on one picture: boxes float32 (n, 4), labels int64 (n,) from 1.

    masks: uint8 (n, H, W) of 0 and 1, or packed. difficult: VOC's mark. crowd: a box round many objects, in which
    nothing is searched for. areas: those that the annotations tell, float64 (n,), where they are not those of the masks
    or boxes.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    masks: NDArray[np.uint8] | Packed | None = None
    areas: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, boxes: ArrayLike, labels: ArrayLike, difficult: ArrayLike = (), crowd: ArrayLike = ()) -> "Objects":
        """Objects from plain lists; none is difficult or a crowd unless said so."""
        labels = np.array(labels, np.int64)
        marks = (np.array(mark, bool) if np.size(mark) else np.zeros(len(labels), bool) for mark in (difficult, crowd))
        return cls(np.array(boxes, np.float32).reshape(len(labels), 4), labels, *marks)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def unpacked(self) -> "Objects":
        """The same with masks (n, H, W)."""
        return replace(self, masks=self.masks.pixels) if isinstance(self.masks, Packed) else self

    def select(self, keep: NDArray[Any]) -> "Objects":
        """The objects that KEEP, a mask or indices, says."""
        return _select(self, keep)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found on one picture: boxes float32 (n, 4), scores float32 (n,), labels int64 (n,) from 1.

    masks: uint8 (n, H, W) of 0 and 1, or packed.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8] | Packed | None = None

    @classmethod
    def of(cls, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> "Detections":
        """Detections from plain lists."""
        labels = np.array(labels, np.int64)
        return cls(np.array(boxes, np.float32).reshape(len(labels), 4), np.array(scores, np.float32), labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def light(self) -> "Detections":
        """The same with packed masks."""
        return self if self.masks is None else replace(self, masks=Packed.of(self.masks))

    def select(self, keep: NDArray[Any]) -> "Detections":
        """The detections that KEEP, a mask or indices, says."""
        return _select(self, keep)


def _select(found: T, keep: NDArray[Any]) -> T:
    arrays = {name: value[keep] for name, value in vars(found).items() if value is not None}
    return cast(T, replace(found, **arrays))


class Scenes(Protocol):
    """One part of a detection set; `categories` are the numbers of classes 1, 2 … in COCO's files."""

    @property
    def categories(self) -> tuple[int, ...]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What tells a person which picture this is."""
        ...

    def image_id(self, index: int) -> int:
        """COCO's id; else the pictures count from 1."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Width and height."""
        ...

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """RGB, (H, W, 3), and the caller's own. Raises ImageError where the picture is not of `size`."""
        ...

    def objects(self, index: int, masks: bool = False) -> Objects:
        """What is on it; every box lies in the picture and has an area. MASKS are None where the set has none."""
        ...

    def fingerprint(self) -> str:
        """A hash of pictures and annotations."""
        ...

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "Scenes":
        """The pictures at INDICES, in that order."""
        ...


@dataclass
class DetectionSet:
    """Pictures with objects of K classes: label k is `classes[k − 1]`.

    notes: sentences on what was met while reading. bad: what was left out, by file and line or id, and why.
    """

    name: str
    classes: tuple[str, ...]
    train: Scenes
    val: Scenes | None = None
    test: Scenes | None = None
    notes: tuple[str, ...] = ()
    bad: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Scenes]:
        """The parts that exist and are not empty, by name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in found.items() if part is not None and len(part)}

    def tested_on(self, count: int) -> "DetectionSet":
        """The set with the first COUNT pictures of its validation and test parts; 0 for all."""
        if not count:
            return self
        val, test = (part and part.subset(range(min(count, len(part)))) for part in (self.val, self.test))
        return replace(self, val=val, test=test)
