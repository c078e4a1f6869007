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
from .distributed import Processes
from .optimizer import Average, set_rate
from .schedule import Schedule

ALONE = Processes()
_FIGURES = 4  # of an update, summed over processes: loss, mistakes, images, unreadable files


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

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and how many of its images the model got wrong, both without dimensions."""
        ...

    @property
    def micro_batch(self) -> int:
        """How many images pass the network together; 0 for all of a batch."""
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
    images, mistakes, loss_sum: sums over the epoch that is not closed yet. rate: of the last update.
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
    rate: float = 0.0
    best: Best | None = None
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every update is done."""
        return self.update >= self.schedule.total

    def count(self, images: int, loss: float, mistakes: int) -> bool:
        """Take in an update; answers whether it ends its epoch."""
        self.images += images
        self.mistakes += mistakes
        self.loss_sum += loss * images
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


def train(job: Job, state: State, together: Processes = ALONE) -> Iterator[Step]:
    """Update STATE until its schedule is over, one yield per update; TOGETHER with other processes, all of them do.

    The random numbers of an update (dropout, stochastic depth) are a function of (seed, update), so no random state is
    carried from one to the next. Raises NumericError at the first loss that is not finite; what one process raises
    ends the update for all of them.
    """
    prepared, batches = -1, job.batches(state.epoch, state.batch)
    while not state.finished:
        if prepared != state.epoch:
            job.prepare(prepared := state.epoch)
        rate = state.schedule.rate(state.update)
        set_rate(state.optimizer, rate, state.rate if state.schedule.training.momentum_form == "caffe" else None)
        state.rate = rate
        try:
            batch = next(batches)
            torch.manual_seed(fold(job.seed, "update", state.update))
            figures = (*_gradients(job, batch), len(batch), len(batch.bad))
        except Exception as error:
            together.fail(error, _FIGURES)
            raise
        loss_sum, wrong, images, bad = together.add_up(job.model, len(batch), figures)
        loss, mistakes = loss_sum / images, int(wrong)
        if not math.isfinite(loss):
            raise NumericError(
                f"the loss is {loss} at update {state.update + 1}, rate {rate:g}, "
                f"images {', '.join(map(job.name, batch.indices[:5].tolist()))} …; lower --lr or look at these images"
            )
        state.bad |= dict(together.gather_json(list(batch.bad)) if bad else ())
        state.optimizer.step()
        state.optimizer.zero_grad()
        if state.average:
            state.average.update(state.model)
        state.schedule.observe(mistakes, int(images))
        epoch = state.epoch
        ends = state.count(int(images), loss, mistakes)
        yield Step(state.update, epoch, loss, mistakes, int(images), rate, ends)


def _gradients(job: Job, batch: Batch) -> tuple[float, int]:
    """Add up the gradients of the mean loss of BATCH, part by part; the sum of its losses, and its mistakes.

    What a device has found is read once, at the end: the host waits for it there only.
    """
    parts, found = batch.parts(job.micro_batch), list[Tensor]()
    for part in parts:
        loss, mistakes = job.loss(part)
        share = len(part) / len(batch)
        (loss if share == 1 else loss * share).backward()
        found.append(torch.stack((loss.detach().double(), mistakes.double())))
    loss_sum, wrong = 0.0, 0
    for part, (loss, mistakes) in zip(parts, torch.stack(found).tolist() if found else [], strict=True):
        loss_sum, wrong = loss_sum + loss * len(part), wrong + int(mistakes)
    return loss_sum, wrong
