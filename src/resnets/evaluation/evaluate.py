"""Testing a model on one part of a data set."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import Batch
from ..errors import DataError
from .metrics import Counts
from .protocol import scores


@dataclass
class Evaluation:
    """Counts of one test, the mean cross-entropy, and the files that could not be read."""

    classes: tuple[str, ...]
    counts: Counts
    bad: list[tuple[str, str]] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; of averaged probabilities for several models."""
        return self.counts.loss_sum / max(self.counts.images, 1)

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets evaluate --json` documents."""
        return {
            "images": self.counts.images,
            "mistakes": self.counts.mistakes,
            "top1_error": self.counts.top1_error,
            "top5_error": self.counts.top5_error,
            "loss": round(self.loss, 6) if math.isfinite(self.loss) else None,
            "per_class": self.counts.per_class(self.classes),
            "bad_files": [{"file": name, "reason": reason} for name, reason in self.bad],
        }


def evaluate(
    models: Sequence[nn.Module],
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    max_bad: float = 1.0,
    watch: Callable[[Batch, Tensor], None] = lambda batch, scores: None,
) -> Evaluation:
    """Test MODELS (averaged) on every image of BATCHES, in eval mode, and leave their mode as it was.

    watch is called with every batch and its scores; what it raises ends the test. Raises DataError where more than
    the fraction `max_bad` of the files cannot be read, or none can.
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    result = Evaluation(classes, Counts.empty(len(classes)))
    try:
        for model in models:
            model.eval()
        for batch in batches:
            result.bad += batch.bad
            if len(batch):
                answer = scores(models, batch.images)
                result.counts.add(answer, batch.labels)
                result.counts.loss_sum += F.cross_entropy(answer, batch.labels, reduction="sum").item()
                watch(batch, answer)
    finally:
        for module, mode in modes:
            module.training = mode
    check_bad(result.bad, result.counts.images + len(result.bad), max_bad)
    if not result.counts.images:
        raise DataError(f"no picture to test on; {len(result.bad)} cannot be read")
    return result


def check_bad(bad: Sequence[tuple[str, str]], files: int, max_bad: float) -> None:
    """Raise DataError where more than the fraction `max_bad` of FILES could not be read, naming the first."""
    if bad and len(bad) > max_bad * files:
        name, reason = bad[0]
        raise DataError(
            f"{len(bad)} of {files} pictures cannot be read, more than --max-bad {max_bad:g} allows; "
            f"the first is {name}: {reason}"
        )
