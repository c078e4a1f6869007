"""Masks in COCO's two forms, polygons and run lengths, through hotcoco, which is memory-safe.

A run-length mask is {"size": [height, width], "counts": …}: lengths of runs of 0 and 1 in turn, column by column, in
a list or packed into text as COCO does (six bits a character, five of the number and one that more follow).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EnvironmentProblem

Runs = dict[str, Any]
Outline = tuple[NDArray[np.float64], ...] | Runs
MAX_POINTS = 100_000  # of one object's polygons


def hotcoco() -> ModuleType:
    """The package of that name. Raises EnvironmentProblem where it is not installed."""
    try:
        import hotcoco as package
    except ImportError as error:
        wanted = 'hotcoco is not installed, which COCO\'s numbers and masks need; run: pip install "resnets[detection]"'
        raise EnvironmentProblem(wanted) from error
    return package


def outline_of(value: object, size: tuple[int, int]) -> Outline | None:
    """A `segmentation` of COCO on a picture of (width, height); None for none. ValueError says what is wrong."""
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return runs_of(value, size)
    if not isinstance(value, list):
        raise ValueError("segmentation is neither a list of polygons nor run lengths")
    polygons = tuple(_polygon(polygon, size) for polygon in value)
    if sum(map(len, polygons)) > 2 * MAX_POINTS:
        raise ValueError(f"polygons of more than {MAX_POINTS} points")
    return polygons


def _polygon(value: object, size: tuple[int, int]) -> NDArray[np.float64]:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        raise ValueError("a polygon is no list of x, y, x, y … of at least three points")
    if not all(type(number) in (int, float) for number in value):
        raise ValueError("a polygon has something that is not a number")
    try:
        points = np.array(value, np.float64).reshape(-1, 2)
    except OverflowError as error:
        raise ValueError("a polygon is far outside the picture") from error
    if not (np.abs(points) <= 2 * np.array(size) + 1).all():  # nor is NaN
        raise ValueError("a polygon is far outside the picture")
    return points.reshape(-1)


def runs_of(value: dict[str, object], size: tuple[int, int]) -> Runs:
    """A run-length mask on a picture of (width, height), checked. ValueError says what is wrong."""
    counts, told = value.get("counts"), value.get("size")
    if told != [size[1], size[0]]:
        raise ValueError(f"run lengths of size {str(told)[:40]} on a picture of [{size[1]}, {size[0]}]")
    pixels = size[0] * size[1]
    if isinstance(counts, str) and len(counts) <= 7 * (pixels + 1):
        lengths = unpacked(counts)
    elif isinstance(counts, list) and len(counts) <= pixels + 2 and all(type(count) is int for count in counts):
        lengths = np.array([min(max(count, -1), pixels + 1) for count in counts], np.int64)
    else:
        raise ValueError("run lengths are neither a list of whole numbers nor COCO's text")
    if (lengths < 0).any() or int(lengths.sum()) != pixels:
        raise ValueError(f"run lengths make {lengths.sum()} of {pixels} pixels, or one is negative")
    return {"size": [size[1], size[0]], "counts": counts}


def unpacked(text: str) -> NDArray[np.int64]:
    """The run lengths in COCO's text; from the fourth on each is told as its difference from the last but one."""
    try:
        signs = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise ValueError("run lengths with a character that is none of theirs") from error
    last = (signs & 32) == 0
    if not len(signs) or not last[-1] or not ((signs >= 0) & (signs < 64)).all():
        raise ValueError("run lengths that end too early or with a character that is none of theirs")
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(len(signs)) - np.repeat(starts, np.diff(np.append(starts, len(signs))))
    if place.max() > 6:
        raise ValueError("a run length that is too long")
    numbers = np.add.reduceat((signs & 31) << (5 * place), starts)
    numbers -= np.where(signs[last] & 16, np.int64(1) << (5 * (place[last] + 1)), 0)  # the sign of the number
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def mask_of(outline: Outline, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels (H, W), 0 or 1, of an outline on a picture of (width, height), exactly as COCO counts them."""
    return hotcoco().mask.decode(runs_along(outline, size))


def runs_along(outline: Outline, size: tuple[int, int]) -> Runs:
    """The same as run lengths: however large the picture is said to be, they take no more than the outline."""
    if isinstance(outline, dict):
        return outline
    mask = hotcoco().mask
    return _text(mask.merge([mask.fr_poly(polygon.tolist(), size[1], size[0]) for polygon in outline]))


def runs_in(box: tuple[int, int, int, int], size: tuple[int, int]) -> Runs:
    """The run lengths of all pixels of a box x1, y1, x2, y2 on a picture of (width, height)."""
    x1, y1, x2, y2 = box
    return _text(hotcoco().mask.fr_bbox([x1, y1, x2 - x1, y2 - y1], size[1], size[0]))


def packed(mask: NDArray[np.uint8]) -> Runs:
    """A mask (H, W) as COCO's run lengths in text."""
    return _text(hotcoco().mask.encode(np.asfortranarray(mask, np.uint8)))


def _text(runs: Runs) -> Runs:
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


@dataclass(frozen=True, eq=False)
class Packed:
    """Masks of one picture of SHAPE (H, W) as run lengths: a sequence, of which a test keeps thousands."""

    runs: tuple[Runs, ...]
    shape: tuple[int, int]

    @classmethod
    def of(cls, masks: "NDArray[np.uint8] | Packed") -> "Packed":
        """MASKS (n, H, W) packed; packed ones as they are."""
        return masks if isinstance(masks, Packed) else cls(tuple(map(packed, masks)), masks.shape[1:])

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All of them, (n, H, W)."""
        return np.stack(list(self)) if self.runs else np.zeros((0, *self.shape), np.uint8)

    @property
    def areas(self) -> NDArray[np.float64]:
        """How many pixels each has."""
        return np.array([hotcoco().mask.area(runs) for runs in self.runs], np.float64)

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (hotcoco().mask.decode(runs) for runs in self.runs)

    def __getitem__(self, which: Any) -> "Packed":
        """Those that a slice, a mask or indices say."""
        return Packed(tuple(self.runs[i] for i in np.arange(len(self.runs))[which]), self.shape)


def trace(outline: Outline) -> bytes:
    """What identifies an outline, for a hash."""
    return repr(outline).encode() if isinstance(outline, dict) else b"".join(p.tobytes() for p in outline)
