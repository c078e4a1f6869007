"""Exact integer counts of right and wrong answers; rates are computed once, at the end."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the right one, (N,): 0 is a top-1 hit, below 5 a top-5 hit.

    Among equal scores the lower class number stands first. A score that is NaN stands last; where the right class's
    own score is NaN, every other class stands before it.
    """
    scores = torch.where(scores.isnan(), torch.full_like(scores, -torch.inf), scores)
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    before = ((scores > own) | ((scores == own) & lower)).sum(1)
    return torch.where(own[:, 0] == -torch.inf, torch.full_like(before, scores.shape[1] - 1), before)


@dataclass
class Counts:
    """A confusion matrix, rows are the right classes, and how often the right class was among the first five."""

    confusion: NDArray[np.int64]
    top5_hits: int = 0
    loss_sum: float = 0.0

    @classmethod
    def empty(cls, classes: int) -> "Counts":
        """No images yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Count a batch of scores (N, classes) with labels (N,)."""
        place = ranks(scores, labels)
        ordered = torch.where(scores.isnan(), torch.full_like(scores, -torch.inf), scores)
        # The first of the largest scores, so that ties fall as in `ranks`.
        guesses = (ordered == ordered.max(1, keepdim=True).values).to(torch.uint8).argmax(1)
        guesses = torch.where(place == 0, labels, guesses)
        lost = (place > 0) & (guesses == labels)  # the right class's score is NaN: any other class is the guess
        guesses = torch.where(lost, (labels + 1) % scores.shape[1], guesses)
        np.add.at(self.confusion, (labels.numpy(), guesses.numpy()), 1)
        self.top5_hits += int((place < 5).sum())

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
