"""The learning-rate range test: the loss while the rate rises, and the rate that follows (Smith, arXiv:1506.01186)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .pictures import panels, svg

_SMOOTHING = 0.9  # weight of the past in the running mean of the losses
_MARGIN = 10  # the suggested rate is the one of the lowest loss divided by this


@dataclass(frozen=True)
class Suggestion:
    """Rates: where the smoothed loss falls fastest per decade, where it is lowest, and the one to begin with.

    Suggested is a tenth of the rate of the lowest loss: the loss still falls there, and a whole training at the edge,
    which the test only touches, would not be stable.
    """

    steepest: float
    minimum: float
    suggested: float


def rates(low: float, high: float, updates: int) -> list[float]:
    """So many rates from LOW to HIGH, each the same factor above the one before."""
    return [low * (high / low) ** (i / max(updates - 1, 1)) for i in range(updates)]


def smoothed(losses: Sequence[float]) -> list[float]:
    """The running mean of LOSSES, its beginning corrected for the missing past."""
    mean, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**i))
    return found


def suggest(tried: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """What the LOSSES at the rates TRIED, of which there are at least two, say."""
    curve = smoothed(losses)
    lowest = min(range(len(curve)), key=lambda i: curve[i])
    logs = [math.log10(rate) for rate in tried]
    slopes = [(curve[i + 1] - curve[i]) / (logs[i + 1] - logs[i]) for i in range(max(lowest, 1))]
    steepest = min(range(len(slopes)), key=lambda i: slopes[i])
    return Suggestion(tried[steepest], tried[lowest], tried[lowest] / _MARGIN)


def picture(tried: Sequence[float], losses: Sequence[float], suggestion: Suggestion) -> str:
    """The losses over the rates as SVG."""
    figure, (axes,) = panels(1, 1, (6, 3.5))
    axes.plot(tried, losses, alpha=0.35)
    axes.plot(tried, smoothed(losses))
    axes.axvline(suggestion.suggested, linestyle="--", color="gray")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=f"suggested: {suggestion.suggested:.2g}")
    return svg(figure)
