"""Which samples training sees, batch by batch: a function of seed and epoch, for any number of processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .randomness import fold, order

Key = tuple[int, int]  # (epoch, draw): draw % count is the sample, draw // count how often it was drawn before


@dataclass(frozen=True)
class Course:
    """The way through the data: from batch start[1] of epoch start[0] to the end of the last epoch.

    balanced: every class equally often, the rare ones again and again with another augmentation. process: (rank, size)
    of the processes that share every batch: each gets its span of batch_size / size images, so that of a last, partial
    batch some get fewer or none.
    """

    seed: int
    batch_size: int
    start: tuple[int, int] = (0, 0)
    epochs: int = 2**31
    balanced: bool = False
    process: tuple[int, int] = (0, 1)

    def keys(self, labels: NDArray[np.int64]) -> Iterator[list[Key]]:
        """The (epoch, draw) keys of each batch of samples with LABELS."""
        first_epoch, first_batch = self.start
        rank, size = self.process
        for epoch in range(first_epoch, self.epochs):
            draws = balanced(self.seed, epoch, labels) if self.balanced else order(self.seed, epoch, len(labels))
            for batch in range(first_batch, batches_per_epoch(len(labels), self.batch_size)):
                chosen = draws[batch * self.batch_size : (batch + 1) * self.batch_size]
                parts = spans(len(chosen), -(-self.batch_size // size))
                first, last = parts[rank] if rank < len(parts) else (0, 0)
                yield [(epoch, draw) for draw in chosen[first:last].tolist()]
            first_batch = 0


def spans(count: int, size: int) -> list[tuple[int, int]]:
    """First and last + 1 of contiguous parts of SIZE out of COUNT; a last part of one, on which BN cannot train, joins
    the one before.
    """
    if not count:
        return []
    starts = list(range(0, count, size or count))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Updates in an epoch: the last, partial batch counts unless it is a single image, which BN cannot train on."""
    full, rest = divmod(count, batch_size)
    return full + (rest > 1) or 1


def balanced(seed: int, epoch: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many draws as there are LABELS, every class equally often, in random order."""
    generator = np.random.Generator(np.random.Philox(fold(seed, "balance", epoch)))
    classes, count = np.unique(labels), len(labels)
    quotas = np.diff(np.linspace(0, count, len(classes) + 1).astype(np.int64))
    draws: list[NDArray[np.int64]] = []
    for label, quota in zip(generator.permutation(classes), quotas, strict=True):
        members = generator.permutation(np.flatnonzero(labels == label))
        number = np.arange(quota)
        draws.append(members[number % len(members)] + count * (number // len(members)))
    return generator.permutation(np.concatenate(draws))
