"""The one training loop: a generator that yields after every update."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..data.batches import Batch
from ..data.randomness import fold
from ..errors import NumericError
from .optimizer import Average, set_rate
from .schedule import Schedule


class Job(Protocol):
    """All that the loop knows of a task."""

    model: nn.Module
    seed: int

    def batches(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Training batches from batch BATCH of epoch EPOCH on."""
        ...

    def name(self, index: int) -> str:
        """Which image a person knows training sample INDEX by."""
        ...

    def prepare(self, epoch: int) -> None:
        """Put the model into its mode for an epoch: what learns and what is frozen."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The loss of a batch, and how many of its images the model got wrong."""
        ...


@dataclass
class Best:
    """The weights that validation liked best so far."""

    error: float
    loss: float
    epoch: int
    tensors: dict[str, Tensor]


@dataclass
class State:
    """Everything that a run changes as it goes: what a checkpoint holds.

    update: updates done. epoch, batch: where the next batch lies. closed: epochs that have been evaluated and logged.
    images, mistakes, loss_sum: sums over the epoch that is not closed yet.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    average: Average | None
    per_epoch: int
    update: int = 0
    epoch: int = 0
    batch: int = 0
    closed: int = 0
    images: int = 0
    mistakes: int = 0
    loss_sum: float = 0.0
    best: Best | None = None
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every update is done."""
        return self.update >= self.schedule.total

    def count(self, batch: Batch, loss: float, mistakes: int) -> bool:
        """Take in an update; answers whether it ends its epoch."""
        self.bad |= dict(batch.bad)
        self.images += len(batch)
        self.mistakes += mistakes
        self.loss_sum += loss * len(batch)
        self.update += 1
        self.batch += 1
        ends = self.batch == self.per_epoch or self.finished
        if ends:
            self.epoch, self.batch = self.epoch + 1, 0
        return ends

    def close_epoch(self, error: float) -> dict[str, Any]:
        """End the sums of an epoch; ERROR (percent) steers the schedule. Answers the training figures."""
        figures = {
            "train_error": 100 * self.mistakes / self.images,
            "train_loss": self.loss_sum / self.images,
        }
        self.schedule.observe_epoch(error)
        self.images, self.mistakes, self.loss_sum = 0, 0, 0.0
        self.closed = self.epoch
        return figures


@dataclass(frozen=True)
class Step:
    """One update: its number (from 1), its epoch (from 0), mean loss in nats, mistakes of so many images, the rate."""

    update: int
    epoch: int
    loss: float
    mistakes: int
    images: int
    rate: float
    ends_epoch: bool


def train(job: Job, state: State) -> Iterator[Step]:
    """Update STATE until its schedule is over, one yield per update.

    The random numbers of an update (dropout, stochastic depth) are a function of (seed, update), so no random state is
    carried from one to the next. Raises NumericError at the first loss that is not finite.
    """
    if state.finished:
        return
    prepared = -1
    for batch in job.batches(state.epoch, state.batch):
        if prepared != state.epoch:
            job.prepare(prepared := state.epoch)
        rate = state.schedule.rate(state.update)
        set_rate(state.optimizer, rate)
        torch.manual_seed(fold(job.seed, "update", state.update))
        loss, mistakes = job.loss(batch)
        value = loss.item()
        if not math.isfinite(value):
            raise NumericError(
                f"the loss is {value} at update {state.update + 1}, rate {rate:g}, "
                f"images {', '.join(map(job.name, batch.indices[:5].tolist()))} …; lower --lr or look at these images"
            )
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        if state.average:
            state.average.update(state.model)
        state.schedule.observe(mistakes, len(batch))
        epoch = state.epoch
        ends = state.count(batch, value, mistakes)
        yield Step(state.update, epoch, value, mistakes, len(batch), rate, ends)
        if state.finished:
            return
