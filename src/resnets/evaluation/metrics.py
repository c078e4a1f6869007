"""Exact integer counts of right and wrong answers; rates are computed once, at the end."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_AT_ONCE = 4096  # images


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the right one, (N,): 0 is a top-1 hit, below 5 a top-5 hit of a score that is one.

    Among equal scores the lower class number stands first. A score that is NaN stands last; where the right class's
    own score is NaN, every other class stands before it.
    """
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    before = ((scores > own) | ((scores == own) & lower)).sum(1)
    return torch.where(own[:, 0].isnan(), scores.shape[1] - 1, before)


def guesses(scores: Tensor) -> Tensor:
    """The class that stands first, (N,), ties and NaN as in `ranks`."""
    best = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(1, keepdim=True)
    first = (scores == best) & ~scores.isnan()
    return first.to(torch.uint8).argmax(1)


def answered(scores: Tensor, labels: Tensor) -> Tensor:
    """The class that every image counts as, (N,): as `guesses`; where no score is a number, not the right one."""
    first = guesses(scores)
    lost = scores.isnan().all(1) & (first == labels)
    return torch.where(lost, (labels + 1) % scores.shape[1], first)


@dataclass
class Counts:
    """A confusion matrix, rows are the right classes, and how often the right class was among the first five."""

    confusion: NDArray[np.int64]
    top5_hits: int = 0

    @classmethod
    def empty(cls, classes: int) -> "Counts":
        """No images yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count a batch of scores (N, classes) with labels (N,)."""
        place = ranks(scores, labels)
        np.add.at(self.confusion, (labels.numpy(), answered(scores, labels).numpy()), 1)
        own = scores.gather(1, labels[:, None])[:, 0]
        self.top5_hits += int(((place < 5) & ~own.isnan()).sum())

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> "Counts":
        """The counts of all images of a test."""
        counts = cls.empty(scores.shape[1])
        for some, theirs in zip(scores.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True):
            counts.add(some, theirs)
        return counts

    @property
    def images(self) -> int:
        """How many images were counted."""
        return int(self.confusion.sum())

    @property
    def mistakes(self) -> int:
        """How many top-1 answers were wrong."""
        return self.images - int(np.trace(self.confusion))

    @property
    def top1_error(self) -> float:
        """Percent."""
        return _percent(self.mistakes, self.images)

    @property
    def top5_error(self) -> float:
        """Percent; 0 for up to five classes unless a score is NaN."""
        return _percent(self.images - self.top5_hits, self.images)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images, in percent; 0 without images."""
        images = self.confusion.sum(1)
        recalls = np.diag(self.confusion)[images > 0] / images[images > 0]
        return round(100 * float(recalls.mean()), 6) if len(recalls) else 0.0

    def worst_class(self, classes: tuple[str, ...]) -> dict[str, Any] | None:
        """The row of the class with the lowest recall, the first of several; None without images."""
        rows = [row for row in self.per_class(classes) if row["images"]]
        return min(rows, key=lambda row: row["recall"], default=None)

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """A row a class: images, mistakes, and recall and precision in percent (None where nothing was counted)."""
        rows = []
        for i, name in enumerate(classes):
            images, guessed, hits = (
                int(self.confusion[i].sum()),
                int(self.confusion[:, i].sum()),
                self.confusion[i, i],
            )
            rows.append(
                {
                    "class": name,
                    "images": images,
                    "mistakes": images - int(hits),
                    "recall": _percent(int(hits), images) if images else None,
                    "precision": _percent(int(hits), guessed) if guessed else None,
                }
            )
        return rows


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 6) if whole else 0.0


def interval(right: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927), in percent."""
    z, p = 1.959964, right / images
    middle = p + z * z / (2 * images)
    reach = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images * images))
    low, high = ((middle + sign * reach) / (1 + z * z / images) for sign in (-1, 1))
    return 100 * max(low, 0.0), 100 * min(high, 1.0)
