"""The paths through a residual network: how many of each length, and how much gradient they carry (veit2016).

n units are n choices between the shortcut and the residual branch: 2ⁿ paths, of which C(n, k) pass through k branches.
Numbers are kept as logarithms, so that hundreds of units do not overflow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.batches import Batch
from ..data.randomness import fold
from ..evaluation.scoring import evaluating
from ..models import ResidualNetwork, VGGNetwork
from ..models.bypass import places, replaced, subset
from ..models.device import device_of, moved
from ..models.unit import ResidualUnit
from .pictures import legend, panels, svg
from .sample import check_draws, count

_EFFECTIVE = 0.95  # share of the gradient that effective lengths carry
_RESAMPLES = 200  # of the bootstrap
_BOUNDS = (0.025, 0.975)  # quantiles
_EXACT = "nothing follows the additions: the output of the units is exactly the sum over all paths"
_NOT_EXACT = (
    "a ReLU or BN follows each addition: that the output is a sum over paths is an approximation "
    "(the gradient is the sum over paths in any case)"
)


class Routed(nn.Module):
    """A unit whose output is the whole one, and whose gradient goes back through one of its two ways only."""

    def __init__(self, unit: ResidualUnit, residual: bool) -> None:
        super().__init__()
        self.unit, self.residual = unit, residual

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output."""
        return self.unit.routed(x, "residual" if self.residual else "shortcut")


def log_paths(units: int) -> list[float]:
    """The natural logarithm of the number of paths through 0, 1 … UNITS residual branches."""
    whole = math.lgamma(units + 1)
    return [whole - math.lgamma(k + 1) - math.lgamma(units - k + 1) for k in range(units + 1)]


def shares(logarithms: Sequence[float]) -> list[float]:
    """What each of the numbers with these LOGARITHMS is of their sum; zeros where all are 0 (−∞)."""
    highest = max(logarithms)
    if highest == -math.inf:
        return [0.0] * len(logarithms)
    parts = [math.exp(value - highest) for value in logarithms]
    return [part / math.fsum(parts) for part in parts]


def shortest_range(parts: Sequence[float], least: float = _EFFECTIVE) -> tuple[int, int]:
    """The first and last place of the fewest neighbouring PARTS that together are LEAST of their sum."""
    wanted = least * math.fsum(parts)
    for width in range(1, len(parts)):
        sums = [math.fsum(parts[first : first + width]) for first in range(len(parts) - width + 1)]
        if max(sums) >= wanted:
            first = sums.index(max(sums))
            return first, first + width - 1
    return 0, len(parts) - 1


@dataclass(frozen=True)
class Spread:
    """What sampled paths leave open: 95 % intervals (percentiles of a bootstrap over the paths of each length).

    means: of each length's mean norm. first, last: of the places of the effective range.
    """

    means: tuple[tuple[float, float], ...]
    first: tuple[int, int]
    last: tuple[int, int]


def carried(norms: Sequence[float]) -> list[float]:
    """The share of the gradient that the paths of each length carry, of the mean NORMS along one of them."""
    logs = log_paths(len(norms) - 1)
    return shares([a + (math.log(b) if b else -math.inf) for a, b in zip(logs, norms, strict=True)])


def spread(samples: Sequence[Sequence[float]]) -> Spread:
    """The spread of the norms SAMPLES, those of the paths of each length."""
    random = np.random.Generator(np.random.Philox(fold("paths", "bootstrap")))
    means = np.stack([_resampled(np.asarray(sample), random) for sample in samples], 1)
    ranges = np.array([shortest_range(carried(row)) for row in means.tolist()])
    low, high = np.quantile(means, _BOUNDS, axis=0).tolist()
    first, last = np.quantile(ranges, _BOUNDS, axis=0, method="inverted_cdf").astype(int).T.tolist()
    return Spread(tuple(zip(low, high, strict=True)), tuple(first), tuple(last))


def _resampled(sample: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Means of so many values of SAMPLE as it has, drawn with replacement."""
    return sample[random.integers(len(sample), size=(_RESAMPLES, len(sample)))].mean(1)


@dataclass(frozen=True)
class Length:
    """The paths of one length, in residual branches: log10 of their number, their share, and what they carry.

    norms: of the gradient that reaches the input along each sampled path, means over images. interval: 95 %, of
    `gradient`; None where one path was seen. carried: the share of number × gradient that is theirs.
    """

    length: int
    log10_paths: float
    share: float
    norms: tuple[float, ...]
    interval: tuple[float, float] | None
    carried: float

    @property
    def gradient(self) -> float:
        """The mean over sampled paths."""
        return math.fsum(self.norms) / len(self.norms)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `low` and `high` are the interval."""
        low, high = self.interval or (None, None)
        counted = {"length": self.length, "log10_paths": self.log10_paths, "share": self.share}
        return {**counted, "gradient": self.gradient, "low": low, "high": high, "carried": self.carried}

    def __str__(self) -> str:
        bounds = "[{:.2e}, {:.2e}]".format(*self.interval) if self.interval else ""
        return (
            f"{self.length:>6} {'10^' + format(self.log10_paths, '.1f'):>10} {100 * self.share:7.2f} % "
            f"{self.gradient:10.2e} {bounds:<20} {100 * self.carried:7.2f} %"
        )


@dataclass(frozen=True)
class Paths:
    """The paths of a network by length.

    whole: the norm of the whole gradient. effective: the fewest neighbouring lengths that carry 95 %; effective_share:
    the share of all paths that have them; first, last: the 95 % intervals of its places, None where one path of each
    length was seen. exact: whether the units' output is exactly the sum over paths.
    """

    images: int
    draws: int
    whole: float
    lengths: tuple[Length, ...]
    effective: tuple[int, int]
    first: tuple[int, int] | None
    last: tuple[int, int] | None
    exact: bool

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.lengths) - 1

    @property
    def effective_share(self) -> float:
        """Of all paths."""
        first, last = self.effective
        return math.fsum(row.share for row in self.lengths[first : last + 1])

    @property
    def effective_lengths(self) -> str:
        """The range in words, with the intervals of its places."""
        told = zip(self.effective, (self.first, self.last), strict=True)
        return " to ".join(f"{place} [{bounds[0]}, {bounds[1]}]" if bounds else f"{place}" for place, bounds in told)

    @property
    def note(self) -> str:
        """What the sum over paths is for this network."""
        return _EXACT if self.exact else _NOT_EXACT

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze paths --json` documents."""
        facts = {"images": self.images, "draws": self.draws, "units": self.units, "mean_length": self.units / 2}
        found = {"effective": list(self.effective), "effective_share": self.effective_share}
        bounds = {"effective_first": self.first and list(self.first), "effective_last": self.last and list(self.last)}
        told = {"gradient": self.whole, **found, **bounds, "exact": self.exact, "note": self.note}
        return {**facts, **told, "lengths": [row.as_dict() for row in self.lengths]}

    def lines(self) -> list[str]:
        """What a person reads."""
        return [
            f"{self.units} units, 2^{self.units} paths, mean length {self.units / 2:g}; "
            f"{self.draws} paths of each length sampled on {self.images} images [95 % interval over sampled paths]",
            f"  {'length':>6} {'paths':>10} {'share':>9} {'gradient':>10} {'':<20} {'carried':>9}",
            *(f"  {row}" for row in self.lengths),
            f"95 % of the gradient comes through paths of {self.effective_lengths} units: "
            f"{100 * self.effective_share:.2f} % of all paths",
            self.note,
        ]


def paths(model: ResidualNetwork | VGGNetwork, batches: Sequence[Batch], *, draws: int = 20) -> Paths:
    """Count the paths of MODEL by length and measure what gradient they carry, in eval mode.

    Of every length DRAWS paths are sampled, of the two that have one path this one; all are seen on the same images.
    Raises UsageError for a network without shortcuts, which has one path.
    """
    check_draws(draws)
    units = len(places(model))
    samples = [_norms(model, batches, length, draws if 0 < length < units else 1) for length in range(units + 1)]
    found, logs = spread(samples), log_paths(units)
    parts = carried([math.fsum(sample) / len(sample) for sample in samples])
    bounds = [pair if len(sample) > 1 else None for pair, sample in zip(found.means, samples, strict=True)]
    tens = [value / math.log(10) for value in logs]
    rows = tuple(map(Length, range(units + 1), tens, shares(logs), samples, bounds, parts))
    ends = (found.first, found.last) if any(bounds) else (None, None)
    after = model.spec.unit.order.after  # type: ignore[union-attr]
    return Paths(count(batches), draws, norm(model, batches), rows, shortest_range(parts), *ends, not after)


def _norms(model: nn.Module, batches: Sequence[Batch], length: int, draws: int) -> tuple[float, ...]:
    units = len(places(model))
    routes = (subset(units, length, fold("path", length, draw)) for draw in range(draws))
    return tuple(norm(model, batches, route) for route in routes)


def norm(model: nn.Module, batches: Sequence[Batch], through: Sequence[bool] | None = None) -> float:
    """The mean over images of the L2 norm of `gradient`."""
    found = (gradient(model, batch, through).double().flatten(1).norm(dim=1).sum() for batch in batches)
    return math.fsum(map(float, found)) / count(batches)


def gradient(model: nn.Module, batch: Batch, through: Sequence[bool] | None = None) -> Tensor:
    """The gradient of each image's loss at the input, (N, C, H, W), in eval mode: the whole one, or along one path.

    through: for each unit whether the path goes through its residual branch, else through its shortcut. The forward
    pass is that of the whole network (veit2016 section 4.2).
    """
    device = device_of(model)
    images = moved(batch.images, device).detach().requires_grad_()
    routes = zip(places(model), through, strict=True) if through is not None else ()
    with replaced((stage, i, Routed(unit, way)) for (stage, i, unit), way in routes), evaluating([model]):
        loss = F.cross_entropy(model(images).float(), moved(batch.labels, device), reduction="sum")
        (found,) = torch.autograd.grad(loss, images)
    return found.detach()


def picture(found: Mapping[str, Paths]) -> str:
    """veit2016 figure 6 as SVG: the share of paths by length, the gradient along one, and what all of them carry."""
    figure, (number, each, together) = panels(1, 3, (4.0, 3.0))
    for name, result in found.items():
        x = [row.length for row in result.lengths]
        number.plot(x, [row.share for row in result.lengths], ".-", linewidth=1, label=name)
        (line,) = each.plot(x, [row.gradient or math.nan for row in result.lengths], ".-", linewidth=1)
        bounds = [row.interval or (row.gradient, row.gradient) for row in result.lengths]
        low, high = ([bound or math.nan for bound in side] for side in zip(*bounds, strict=True))
        each.fill_between(x, low, high, alpha=0.2, color=line.get_color())
        together.plot(x, [row.carried for row in result.lengths], ".-", linewidth=1)
    number.set(xlabel="path length (units)", ylabel="share of paths")
    each.set(xlabel="path length (units)", ylabel="gradient at the input", yscale="log")
    together.set(xlabel="path length (units)", ylabel="share of the gradient")
    legend(number, found)
    return svg(figure)
