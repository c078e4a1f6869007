"""Scenes of handwritten digits: a detection set with boxes and masks that needs no download.

scikit-learn's 8×8 digits, enlarged and coloured, on 96×96 canvases with a slope of light and noise. A scene is a pure
function of data set, part and number; the digits of one part are in no other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.datasets import open_dataset
from ..data.randomness import uniform
from .objects import DetectionSet, Objects

CANVAS = 96  # pixels
VERSION = 1  # of the drawing: a change makes other scenes and another fingerprint
PARTS = {"train": 600, "val": 100, "test": 200}
CLASSES = tuple("0123456789")
_INKED = 0.3  # opacity from which on a pixel belongs to the digit
_ATTEMPTS = 40
_SHARED = 0.1  # of the smaller of two boxes


@dataclass(frozen=True)
class Style:
    """How many digits are on a scene, at most and at least, and how large the 8×8 of each becomes, in pixels."""

    fewest: int
    most: int
    smallest: int
    largest: int


STYLES = {"digits-scene": Style(1, 5, 16, 40), "digits-single": Style(1, 1, 24, 72)}


@dataclass(frozen=True, eq=False)
class DigitScenes:
    """One part of a set of STYLES (see `objects.Scenes`); `numbers` are those of its scenes."""

    style: str
    part: str
    numbers: tuple[int, ...]
    categories: tuple[int, ...] = tuple(range(1, len(CLASSES) + 1))

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, index: int) -> str:
        """Part and number."""
        return f"{self.part}/{self.numbers[index]}"

    def image_id(self, index: int) -> int:
        """The number, from 1."""
        return self.numbers[index] + 1

    def size(self, index: int) -> tuple[int, int]:
        """Width and height."""
        return CANVAS, CANVAS

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """RGB, (H, W, 3)."""
        return _scene(self.style, self.part, self.numbers[index])[0].copy()

    def objects(self, index: int, masks: bool = False) -> Objects:
        """The digits; label k is the digit k − 1."""
        objects = _scene(self.style, self.part, self.numbers[index])[1]
        return objects if masks else replace(objects, masks=None)

    def fingerprint(self) -> str:
        """A hash of all that makes the scenes."""
        told = (self.style, self.part, self.numbers, VERSION, [_digits(self.part)[0].tobytes()])
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "DigitScenes":
        """The scenes at INDICES, in that order."""
        return replace(self, numbers=tuple(self.numbers[i] for i in indices))


def digit_scenes(style: str) -> DetectionSet:
    """The set of scenes of a style: 600 train, 100 validate, 200 test."""
    train, val, test = (DigitScenes(style, part, tuple(range(count))) for part, count in PARTS.items())
    return DetectionSet(style, CLASSES, train, val, test)


@lru_cache(3)
def _digits(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The digits of a part (N, 8, 8) and what they are."""
    source = open_dataset("digits").parts[part]
    return np.stack([source.pixels(i)[..., 0] for i in range(len(source))]), source.labels


@lru_cache(1024)
def _scene(style: str, part: str, number: int) -> tuple[NDArray[np.uint8], Objects]:
    """Pixels and objects of a scene, with masks."""
    kind, stream = STYLES[style], f"{style}/{part}"
    whole, *lights = uniform(0, f"{stream}/canvas", number, np.arange(12))
    wanted = kind.fewest + int(whole * (kind.most - kind.fewest + 1))
    canvas = _background(lights, uniform(0, f"{stream}/noise", number, np.arange(3 * CANVAS**2)))
    images, labels = _digits(part)
    found, masks, boxes = list[int](), list[NDArray[np.bool_]](), list[tuple[int, int, int, int]]()
    for draw in uniform(0, f"{stream}/digits", number, np.arange(7 * _ATTEMPTS)).reshape(_ATTEMPTS, 7):
        if len(found) == wanted:
            break
        side = kind.smallest + int(draw[0] * (kind.largest - kind.smallest + 1))
        chosen = int(draw[1] * len(images))
        left, top = (int(at * (CANVAS - side + 1)) for at in draw[2:4])
        ink = np.zeros((CANVAS, CANVAS))
        ink[top : top + side, left : left + side] = _enlarged(images[chosen], side)
        mask = ink >= _INKED
        box = _round(mask)
        if any(_crowded(box, other) for other in boxes) or any((mask & other).any() for other in masks):
            continue
        shade = _light(draw[4:7], dark=lights[0] >= 0.5)
        canvas = canvas * (1 - ink[..., None]) + shade * ink[..., None]
        found.append(int(labels[chosen]) + 1)
        masks.append(mask)
        boxes.append(box)
    pixels = np.rint(canvas.clip(0, 1) * 255).astype(np.uint8)
    return pixels, replace(Objects.of(boxes, found), masks=np.array(masks, np.uint8))


def _background(lights: Sequence[float], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """A dark or a light canvas (H, W, 3) with a slope of light and noise."""
    colour = _light(np.array(lights[1:4]), dark=lights[0] < 0.5)
    across, down = np.meshgrid(np.linspace(-0.5, 0.5, CANVAS), np.linspace(-0.5, 0.5, CANVAS))
    slope = 0.3 * (across * (lights[4] - 0.5) + down * (lights[5] - 0.5))
    return colour + slope[..., None] + 0.08 * (noise.reshape(CANVAS, CANVAS, 3) - 0.5)


def _light(draws: NDArray[np.float64], dark: bool) -> NDArray[np.float64]:
    """A colour: each channel in 0.1 … 0.4, or in 0.6 … 0.9."""
    return (0.1 if dark else 0.6) + 0.3 * draws


def _enlarged(digit: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """A digit (8, 8) as smooth opacity in 0 … 1, (side, side)."""
    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)) / 255


def _round(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest box round MASK."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _crowded(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes share more than a little of the smaller one."""
    width, height = (min(box[k + 2], other[k + 2]) - max(box[k], other[k]) for k in (0, 1))
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width > 0 and height > 0 and width * height > _SHARED * smaller
