"""The learning rate of every update: a function of the update, and of errors where the recipe says so."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..recipe import Training

WINDOW = 100  # updates whose training error ends the warm-up
THRESHOLD = 0.8  # he2015 section 4.2: "until the training error is below 80%"


@dataclass
class Schedule:
    """The rate of each of `total` updates, `per_epoch` an epoch; what errors changed is in the other fields."""

    training: Training
    total: int
    per_epoch: int = 0
    warm: bool = False
    drops: int = 0
    lowest: float = math.inf
    waited: int = 0
    window: list[tuple[int, int]] = field(default_factory=list)

    def rate(self, update: int) -> float:
        """The learning rate of update number UPDATE, counted from 0."""
        training = self.training
        if training.warmup == "until-error" and not self.warm:
            return training.warmup_lr
        if training.warmup == "updates" and update < training.warmup_updates:
            return training.warmup_lr
        return training.lr * self._factor(update)

    def _factor(self, update: int) -> float:
        training, done = self.training, update / max(self.total, 1)
        match training.schedule:
            case "steps":
                milestones = [*training.milestones, *(epoch * self.per_epoch for epoch in training.milestone_epochs)]
                return training.drop ** sum(update >= milestone for milestone in milestones)
            case "plateau":
                return training.drop**self.drops
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * done))
            case "one-cycle":
                rise = training.warmup_updates or max(1, round(0.15 * self.total))
                up = (update + 1) / rise
                return min(up, (self.total - update) / max(self.total - rise, 1), 1.0)
            case _:
                return 1.0

    def observe(self, mistakes: int, images: int) -> None:
        """Take in an update's training mistakes; ends the warm-up once 100 updates err on less than 80 %."""
        if self.training.warmup != "until-error" or self.warm:
            return
        self.window.append((mistakes, images))
        if len(self.window) == WINDOW:
            self.warm = sum(m for m, _ in self.window) < THRESHOLD * sum(n for _, n in self.window)
            self.window = []

    def observe_epoch(self, error: float) -> None:
        """Take in an epoch's error; a plateau of `patience` epochs drops the rate."""
        if self.training.schedule != "plateau":
            return
        if error < self.lowest:
            self.lowest, self.waited = error, 0
            return
        self.waited += 1
        if self.waited >= self.training.patience:
            self.drops, self.waited = self.drops + 1, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("training", "total", "per_epoch")}
        return {**kept, "lowest": None if math.isinf(self.lowest) else self.lowest}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.warm, self.drops, self.waited = state["warm"], state["drops"], state["waited"]
        self.lowest = math.inf if state["lowest"] is None else state["lowest"]
        self.window = [(m, n) for m, n in state["window"]]
