"""Pictures in files with what annotations tell of them, and an account of all that had to be left out."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.containers import bare_jpeg
from ..data.images import ImageError, decode_any, read_bytes
from ..data.images import pixels as decode_pixels
from ..errors import DataError, safe_text
from .masks import Outline, Packed, Runs, runs_along, runs_in, trace
from .objects import Objects

LEAST = 0.01  # pixels; a box that is thinner has no area
OVERHANG = 1.0  # pixels that a box may reach over the edge; it is clipped
MAX_SIDE = 30_000
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """One object as annotated: `at` is its line or id, `box` half-open from 0; nothing about it is checked yet."""

    at: int | str
    label: str
    box: Box
    difficult: bool = False
    crowd: bool = False
    outline: Outline | None = None
    area: float | None = None


@dataclass(frozen=True)
class Annotated:
    """One picture as annotated: its path and size in bytes, (width, height), COCO's id, and what its marks stand in."""

    name: str
    bytes: int
    size: tuple[int, int]
    image_id: int
    where: str
    marks: tuple[Mark, ...]


@dataclass
class Account:
    """What was read, and what was left out and why, by file and line or id; all of it can be shown as it is."""

    pictures: int = 0
    boxes: int = 0
    clipped: int = 0
    bad_pictures: dict[str, str] = field(default_factory=dict)
    bad_boxes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _times: Counter[str] = field(default_factory=Counter)

    def drop_picture(self, where: str, reason: object) -> None:
        """Leave a picture out."""
        self._drop(self.bad_pictures, where, reason)

    def drop_box(self, where: str, reason: object) -> None:
        """Leave a box out."""
        self._drop(self.bad_boxes, where, reason)

    def _drop(self, bad: dict[str, str], where: str, reason: object) -> None:
        where = safe_text(where)[:300]
        self._times[where] += 1
        number = self._times[where]  # several objects may stand in one line
        bad[where if number == 1 else f"{where} ({number})"] = safe_text(str(reason))[:300]

    def close(self, max_bad: float) -> dict[str, str]:
        """All that was left out; DataError where it is more than the fraction `max_bad` of the pictures or boxes."""
        for what, bad, of in (("pictures", self.bad_pictures, self.pictures), ("boxes", self.bad_boxes, self.boxes)):
            if len(bad) > max_bad * of:
                where, reason = next(iter(bad.items()))
                many = f"{len(bad)} of {of} {what} cannot be used, more than max_bad {max_bad:g} allows"
                raise DataError(f"{many}; the first is {where}: {reason}")
        return self.bad_pictures | self.bad_boxes


@dataclass(frozen=True, eq=False)
class Photograph:
    """One picture: what is on it without masks, and for masks the outline of each object, None for its box."""

    name: str
    bytes: int
    size: tuple[int, int]
    image_id: int
    objects: Objects
    outlines: tuple[Outline | None, ...]


@dataclass(frozen=True, eq=False)
class Photographs:
    """Annotated pictures in files below `root`, decoded when asked for (see `objects.Scenes`).

    Pictures are upright, as everywhere. Where the annotated size is that of the picture before EXIF turned it, the
    boxes were drawn on that, and it is what `pixels` gives. outlined: whether there are masks.
    """

    root: Path
    photographs: tuple[Photograph, ...]
    categories: tuple[int, ...]
    outlined: bool = False

    def __len__(self) -> int:
        return len(self.photographs)

    def name(self, index: int) -> str:
        """Path relative to the root."""
        return self.photographs[index].name

    def image_id(self, index: int) -> int:
        """COCO's id; else the pictures count from 1."""
        return self.photographs[index].image_id

    def size(self, index: int) -> tuple[int, int]:
        """Width and height as annotated; without that, those of the file."""
        return self.photographs[index].size

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """RGB, (H, W, 3). Raises ImageError for a picture that cannot be read or is not of `size`."""
        told = self.photographs[index]
        data = read_bytes(self.root / told.name, follow_links=False)
        if len(data) != told.bytes:
            raise ImageError("changed since start")
        pixels = decode_pixels(data)
        if (found := _size(pixels)) != told.size and found == told.size[::-1] and data[:2] == b"\xff\xd8":
            pixels = decode_pixels(bare_jpeg(data)[0])
        if (found := _size(pixels)) != told.size:
            sizes = f"{found[0]} x {found[1]} pixels, its annotation says {told.size[0]} x {told.size[1]}"
            raise ImageError(f"the picture has {sizes}: annotate it again")
        if pixels.shape[2] not in (1, 3):
            raise ImageError(f"a picture of {pixels.shape[2]} channels")
        return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)

    def objects(self, index: int, masks: bool = False) -> Objects:
        """What is on picture INDEX; MASKS where outlines are annotated, an object without one has its box."""
        told = self.photographs[index]
        if not (masks and self.outlined):
            return told.objects
        pairs = zip(told.outlines, told.objects.boxes, strict=True)
        runs = (_filled(box, told.size) if one is None else runs_along(one, told.size) for one, box in pairs)
        return replace(told.objects, masks=Packed(tuple(runs), (told.size[1], told.size[0])))

    def fingerprint(self) -> str:
        """A hash of paths, sizes and annotations in the order of the paths; where the root lies does not matter."""
        whole = hashlib.sha256(repr(self.categories).encode())
        for told in sorted(self.photographs, key=lambda told: os.fsencode(told.name)):
            whole.update(repr((os.fsencode(told.name), told.bytes, told.size)).encode())
            found = told.objects
            for array in (found.boxes, found.labels, found.difficult, found.crowd):
                whole.update(array.tobytes())
            for outline in told.outlines if self.outlined else ():
                whole.update(b"none" if outline is None else trace(outline))
        return whole.hexdigest()

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "Photographs":
        """The pictures at INDICES, in that order."""
        return replace(self, photographs=tuple(self.photographs[i] for i in indices))


def photographed(
    root: Path, annotated: Iterable[Annotated], labels: Mapping[str, int], account: Account
) -> tuple[Photograph, ...]:
    """The pictures with the objects that can be used; what cannot goes into ACCOUNT. LABELS: of the class names."""
    return tuple(_photograph(picture, labels, account) for picture in annotated)


def _photograph(picture: Annotated, labels: Mapping[str, int], account: Account) -> Photograph:
    kept, boxes = list[Mark](), list[Box]()
    for mark in picture.marks:
        try:
            if mark.label not in labels:
                raise ValueError(f"class '{mark.label}' is none of the {len(labels)} classes")
            box = inside_of(mark.box, picture.size)
        except ValueError as error:
            account.drop_box(f"{picture.where}{mark.at}", error)
            continue
        account.clipped += box != mark.box
        kept.append(mark)
        boxes.append(box)
    marks = ([mark.difficult for mark in kept], [mark.crowd for mark in kept])
    objects = Objects.of(boxes, [labels[mark.label] for mark in kept], *marks)
    if any(mark.area is not None for mark in kept):
        sides = np.diff(objects.boxes.astype(np.float64).reshape(-1, 2, 2), axis=1).prod(-1)[:, 0]
        told = [side if mark.area is None else mark.area for mark, side in zip(kept, sides, strict=True)]
        objects = replace(objects, areas=np.array(told, np.float64))
    outlines = tuple(mark.outline for mark in kept)
    return Photograph(picture.name, picture.bytes, picture.size, picture.image_id, objects, outlines)


def inside_of(box: Box, size: tuple[int, int]) -> Box:
    """BOX clipped to a picture of (width, height). ValueError says why there is nothing sound to clip."""
    if not all(map(math.isfinite, box)):
        raise ValueError("a corner is not a finite number")
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise ValueError(f"reversed corners: {_written(box)} (left, top, right, bottom)")
    width, height = size
    if max(-x1, -y1, x2 - width, y2 - height) > OVERHANG:
        raise ValueError(f"outside the picture: {_written(box)} on {width} x {height}")
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if not (x2 - x1 >= LEAST and y2 - y1 >= LEAST):
        raise ValueError(f"zero area: {_written(box)}")
    return x1, y1, x2, y2


def _written(box: Box) -> str:
    return ", ".join(f"{side:g}" for side in box)


def _size(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _filled(box: NDArray[np.float32], size: tuple[int, int]) -> Runs:
    """The pixels of a box of which at least a half lies in it, and never none."""
    x1, y1, x2, y2 = np.floor(box + 0.5).astype(int).tolist()
    x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    return runs_in((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)), size)


def true_size(path: Path) -> tuple[int, int]:
    """(width, height) of the picture in a file, upright. Raises ImageError."""
    found = decode_any(read_bytes(path))
    return _size(found) if isinstance(found, np.ndarray) else found.size


def size_told(width: int, height: int) -> tuple[int, int] | None:
    """A size as annotated, None where it says none: not positive, or beyond any picture that is read."""
    return (width, height) if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE else None
