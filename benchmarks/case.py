"""A case: arms that take turns in one run, and what is compared between them. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

QUICK = 0.5  # seconds of a round of a quick run, at most


@dataclass(frozen=True)
class Arm:
    """One way to do the work of a case.

    make: "module:function" below `benchmarks.arms`. package: whose version is told. tolerance: how far its output may
    be from what is right, over the largest value there; None where they need not be the same.
    """

    make: str
    options: Mapping[str, Any] = field(default_factory=dict)
    package: str = "torch"
    tolerance: float | None = None

    def having(self, options: Mapping[str, Any]) -> "Arm":
        """The arm with those of OPTIONS that it knows."""
        return replace(self, options={name: options.get(name, value) for name, value in self.options.items()})


@dataclass(frozen=True)
class Comparison:
    """An arm of ours against the fastest of its peers, by a measure; without a bar it is told, not judged."""

    goal: str
    ours: str
    peers: tuple[str, ...]
    measure: str = "speed"
    bar: float | None = None
    stretch: float | None = None


@dataclass(frozen=True)
class Case:
    """Arms by name, of which the first stands in the run twice; what is right is its output, or that of `reference`.

    title: may name options of the first arm in braces. amount: units that a call works on, or the option that tells.
    cores: that an arm may use, 0 for all. seconds: a round repeats the call until so many have passed. quick: options
    of a quick run, which leaves out what has no bar; None where it leaves the case out. needs: free bytes, below which
    the options `smaller` hold.
    """

    title: str
    arms: Mapping[str, Arm]
    comparisons: tuple[Comparison, ...]
    unit: str = "image"
    amount: str | int = 1
    reference: Arm | None = None
    cores: int = 0
    seconds: float = 1.0
    quick: Mapping[str, Any] | None = None
    needs: int = 0
    smaller: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The name of the arm that stands twice."""
        return next(iter(self.arms))

    def only(self, goals: set[str], judged: bool = False) -> "Case":
        """The case without what other GOALS compare, and if JUDGED without what has no bar."""
        kept = tuple(c for c in self.comparisons if c.goal in goals and not (judged and c.bar is None))
        names = {self.first, *(name for each in kept for name in (each.ours, *each.peers))}
        return replace(self, comparisons=kept, arms={n: arm for n, arm in self.arms.items() if n in names})

    def settled(self, quick: bool) -> "Case":
        """The case with its options and its title as they are in a quick run, or with little free memory."""
        options = self.quick or {} if quick else self.smaller if self.needs > free_memory() else {}
        arms = {name: arm.having(options) for name, arm in self.arms.items()}
        told = arms[self.first].options
        amount = told[self.amount] if isinstance(self.amount, str) else self.amount
        seconds = min(self.seconds, QUICK) if quick else self.seconds
        return replace(self, arms=arms, title=self.title.format(**told), amount=amount, seconds=seconds)


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
