"""What a comparison says: a number per round, their median and its interval, and whether that reaches the bar."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .case import Comparison

Figures = dict[str, Any]  # of an arm: what its record says, and over that what a round does
ROUNDS = 10  # at least, for a verdict
TWIN = 0.03  # how far a value may move when its peer takes the twin's time
_LEAST = 1 << 20  # bytes; below it memory is noise


@dataclass(frozen=True)
class Measure:
    """What is computed from our figures and the peer's in a round, which way is better, and its sign in a table."""

    of: Callable[[Figures, Figures], float]
    at_least: bool = False
    sign: str = ""

    def reaches(self, value: float, bar: float | None) -> bool:
        """Whether VALUE is as good as BAR, if there is one."""
        return bar is not None and (value >= bar if self.at_least else value <= bar)


MEASURES = {
    "speed": Measure(lambda ours, peer: peer["seconds"] / ours["seconds"], True, "×"),
    "time": Measure(lambda ours, peer: ours["seconds"] / peer["seconds"], sign="×"),
    "memory": Measure(lambda ours, peer: max(ours["bytes"], _LEAST) / max(peer["bytes"], _LEAST), sign="×"),
    "fewer images": Measure(lambda ours, peer: peer["images"] / ours["images"], True, "×"),
    "points lost": Measure(lambda ours, peer: ours["test_error"] - peer["test_error"]),
    "top-1 agreement": Measure(lambda ours, peer: ours["agreement"], True, " %"),
    "exponent of the time": Measure(
        lambda ours, peer: math.log(ours["seconds"] / peer["seconds"]) / math.log(ours["work"] / peer["work"])
    ),
}


def interval(values: Sequence[float], resamples: int = 10_000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median (percentiles; Efron 1979)."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (resamples, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(low), float(high)


def typical(arm: Figures) -> float:
    """The median of the seconds of a call."""
    return statistics.median(figures["seconds"] for figures in arm["rounds"])


def twin_ratio(one: Sequence[Figures], other: Sequence[Figures]) -> float:
    """The median ratio of the seconds of an arm's twin and its own."""
    return statistics.median(b["seconds"] / a["seconds"] for a, b in zip(one, other, strict=True))


def compared(comparison: Comparison, arms: dict[str, Figures], void: str = "", twin: float = 1.0) -> dict[str, Any]:
    """The row of COMPARISON: the peer, the value with its interval, and the verdict.

    arms: by name, each with `rounds`, or with an `error`; `wrong` where its output is. void: why no verdict counts.
    twin: seconds of the twin over those of the arm that stands twice; the row is void where this factor in the peer's
    seconds moves the value by more than 3 %: a ratio of times by as much as it is, memory and accuracy not at all.
    """
    measure, names = MEASURES[comparison.measure], (comparison.ours, *comparison.peers)
    row = {"goal": comparison.goal, "ours": comparison.ours, "peer": " / ".join(comparison.peers)}
    row |= {"measure": comparison.measure, "bar": comparison.bar, "stretch": comparison.stretch}
    if missing := [f"{name}: {arms[name]['error']}" for name in names if "error" in arms[name]]:
        return row | {"verdict": "not measured", "reason": "; ".join(missing)}
    peer = min(comparison.peers, key=lambda name: typical(arms[name]))
    rounds = [[arms[name] | figures for figures in arms[name]["rounds"]] for name in (comparison.ours, peer)]
    values = [measure.of(ours, theirs) for ours, theirs in zip(*rounds, strict=True)]
    value, wrong = statistics.median(values), [f"{n}: {arms[n]['wrong']}" for n in names if "wrong" in arms[n]]
    moved = statistics.median(
        measure.of(ours, theirs | {"seconds": twin * theirs["seconds"]}) for ours, theirs in zip(*rounds, strict=True)
    )
    far = abs(moved - value) > TWIN * abs(value)
    reason = "; ".join(wrong) or void or (f"the twin differs by {100 * (twin - 1):+.1f} %" if far else "")
    if reason:
        verdict = "VOID"
    elif comparison.bar is None or len(values) < ROUNDS:
        verdict, reason = "–", "" if comparison.bar is None else f"{len(values)} rounds"
    elif measure.reaches(value, comparison.stretch):
        verdict = "PASS, stretch"
    else:
        verdict = "PASS" if measure.reaches(value, comparison.bar) else "FAIL"
    row |= {"peer": peer, "values": values, "value": value, "interval": interval(values)}
    return row | {"verdict": verdict, "reason": reason}
