"""Images to look at, drawn at random from a part of a data set, and an error rate with what the draw leaves open."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.batches import Batch, testing_batches
from ..data.preprocessing import Preprocessing
from ..data.randomness import order
from ..data.sources import Source
from ..errors import DataError, UsageError
from ..evaluation.evaluate import check_bad
from ..evaluation.metrics import Counts, interval
from ..evaluation.scoring import evaluating
from ..models.device import device_of, moved

_PIXELS = 614_400  # of a batch
_MAX_BAD = 0.01  # fraction of pictures that may be unreadable


def drawn(source: Source, preprocessing: Preprocessing, images: int) -> list[Batch]:
    """So many images of SOURCE as testing sees them, always the same ones; all of them where there are no more.

    A batch has 100 images, 16 of large ones. Raises UsageError for less than one, DataError where more than 1 % of the
    pictures cannot be read.
    """
    if images < 1:
        raise UsageError(f"images is {images}; it must be at least 1")
    chosen = np.sort(order(0, 0, len(source))[:images])
    together = max(16, min(100, _PIXELS // preprocessing.size**2))
    batches = list(testing_batches(source.subset(chosen), preprocessing, together))
    check_bad([bad for batch in batches for bad in batch.bad], len(chosen), _MAX_BAD)
    found = [batch for batch in batches if len(batch)]
    if not found:
        raise DataError("there is no picture to look at")
    return found


def check_draws(draws: int) -> None:
    """Raise UsageError for less than one draw."""
    if draws < 1:
        raise UsageError(f"draws is {draws}; it must be at least 1")


def count(batches: Iterable[Batch]) -> int:
    """The images of BATCHES."""
    return sum(map(len, batches))


@dataclass(frozen=True)
class ErrorRate:
    """Wrong top-1 answers among images; in percent with the 95 % interval of a random sample (Wilson 1927)."""

    mistakes: int
    images: int

    @property
    def percent(self) -> float:
        """The share of mistakes."""
        return 100 * self.mistakes / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Percent: the bounds."""
        return interval(self.mistakes, self.images)

    def as_dict(self) -> dict[str, Any]:
        """Mistakes, images, error and its bounds in percent."""
        low, high = self.interval
        rounded = {"error": round(self.percent, 6), "low": round(low, 6), "high": round(high, 6)}
        return {"mistakes": self.mistakes, "images": self.images, **rounded}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:6.2f} % [{low:.2f}, {high:.2f}]"


@torch.inference_mode()
def error_rate(model: nn.Module, batches: Iterable[Batch]) -> ErrorRate:
    """The top-1 error of MODEL in eval mode, its mode left as it was; ties and NaN as in `metrics.ranks`."""
    mistakes, images, device = 0, 0, device_of(model)
    with evaluating([model]):
        for batch in batches:
            scores = model(moved(batch.images, device)).float().cpu()
            counts = Counts.of(scores, batch.labels)
            mistakes, images = mistakes + counts.mistakes, images + counts.images
    return ErrorRate(mistakes, images)
