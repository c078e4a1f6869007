"""Windows: parts of pictures as a network sees them, and what boxes become there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_LONGEST = 4  # times the shorter side; a longer picture is squashed


@dataclass(frozen=True)
class Window:
    """A part of a picture, x1, y1, x2, y2 in its pixels, and the (width, height) that it is warped to."""

    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is seen of a picture (H, W, 3): (height, width, 3), bilinear with antialiasing."""
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BILINEAR, self.box))

    def into(self, boxes: Tensor) -> Tensor:
        """BOXES (n, 4) of the picture in pixels of what is seen."""
        return (boxes - boxes.new_tensor(self.box[:2] * 2)) * boxes.new_tensor(self._factors)

    def back(self, boxes: Tensor) -> Tensor:
        """BOXES (…, 4) of what is seen in pixels of the picture."""
        return boxes / boxes.new_tensor(self._factors) + boxes.new_tensor(self.box[:2] * 2)

    @property
    def _factors(self) -> tuple[float, ...]:
        left, top, right, bottom = self.box
        return (self.size[0] / (right - left), self.size[1] / (bottom - top)) * 2


def square(picture: Sequence[int], side: int, scale: int, across: float = 0.5, down: float = 0.5) -> Window:
    """A crop of SIDE from a picture (width, height) whose shorter side is SCALE then; ACROSS and DOWN from 0 to 1."""
    part = min(side * min(picture) / scale, min(picture))
    left, top = (at * (length - part) for at, length in zip((across, down), picture, strict=True))
    return Window((left, top, min(left + part, picture[0]), min(top + part, picture[1])), (side, side))


def whole(picture: Sequence[int], scale: int) -> Window:
    """All of a picture (width, height), its shorter side brought to SCALE."""
    width, height = (min(round(length * scale / min(picture)), _LONGEST * scale) for length in picture)
    return Window((0.0, 0.0, float(picture[0]), float(picture[1])), (width, height))
