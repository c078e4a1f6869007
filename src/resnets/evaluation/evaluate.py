"""Testing a model on one part of a data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..errors import DataError
from .calibration import Calibration, calibration
from .metrics import Counts
from .protocol import Protocol
from .scoring import ONE_CROP, Scores


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the scores of a test say; figures are computed once, from all images in the order of their index.

    temperature: what the scores are divided by where calibrated figures are given.
    """

    classes: tuple[str, ...]
    found: Scores
    protocol: Protocol = ONE_CROP
    temperature: float = 1.0

    @property
    def indices(self) -> Tensor:
        """The images' indices in the source, int64 (N,), rising."""
        return self.found.indices

    @property
    def labels(self) -> Tensor:
        """The right classes, int64 (N,)."""
        return self.found.labels

    @property
    def scores(self) -> Tensor:
        """Scores (N, classes) whose softmax is the answer."""
        return self.found.scores

    @property
    def bad(self) -> tuple[tuple[str, str], ...]:
        """What could not be read: (name, why)."""
        return self.found.bad

    @cached_property
    def counts(self) -> Counts:
        """The counts of right and wrong answers."""
        return Counts.of(self.scores, self.labels)

    @cached_property
    def calibration(self) -> Calibration:
        """How far the probabilities can be trusted as they are."""
        return calibration(self.scores, self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; of averaged probabilities for several views or models."""
        return self.calibration.loss

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall in percent."""
        return self.counts.balanced_accuracy

    @property
    def worst_class(self) -> dict[str, Any] | None:
        """The row of the class with the lowest recall."""
        return self.counts.worst_class(self.classes)

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets evaluate --json` documents."""
        plain, fitted = self.calibration, calibration(self.scores, self.labels, self.temperature)
        return {
            "images": self.counts.images,
            "mistakes": self.counts.mistakes,
            "top1_error": self.counts.top1_error,
            "top5_error": self.counts.top5_error,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": _number(self.loss),
            "worst_class": self.worst_class,
            "per_class": self.counts.per_class(self.classes),
            "calibration": {
                "temperature": self.temperature,
                "ece": plain.ece,
                "ece_calibrated": fitted.ece,
                "loss_calibrated": _number(fitted.loss),
                "bins": plain.bins,
                "bins_calibrated": fitted.bins,
            },
            "protocol_fields": self.protocol.as_dict(),
            "bad_files": [{"file": name, "reason": reason} for name, reason in self.bad],
        }


def usable(found: Scores, max_bad: float) -> Scores:
    """FOUND, unless more than the fraction `max_bad` of the files cannot be read, or none can: DataError."""
    check_bad(found.bad, len(found) + len(found.bad), max_bad)
    if not len(found):
        raise DataError(f"no picture to test on; {len(found.bad)} cannot be read")
    return found


def check_bad(bad: Sequence[tuple[str, str]], files: int, max_bad: float) -> None:
    """Raise DataError where more than the fraction `max_bad` of FILES could not be read, naming the first."""
    if bad and len(bad) > max_bad * files:
        name, reason = bad[0]
        raise DataError(
            f"{len(bad)} of {files} pictures cannot be read, more than max_bad {max_bad:g} allows; "
            f"the first is {name}: {reason}"
        )


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
