"""The paths through a residual network: how many of each length, and how much gradient they carry (veit2016).

n units are n choices between the shortcut and the residual branch: 2ⁿ paths, of which C(n, k) pass through k branches.
Numbers are kept as logarithms, so that hundreds of units do not overflow.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import Batch
from ..data.randomness import fold
from ..errors import UsageError
from ..evaluation.scoring import evaluating
from ..models import ResidualNetwork, VGGNetwork
from ..models.device import device_of, moved
from ..models.unit import ResidualUnit
from .lesions import Bypassed, replaced
from .pictures import legend, panels, svg
from .sample import check_draws, count

_EFFECTIVE = 0.95  # share of the gradient that effective lengths carry
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
class Length:
    """The paths of one length, in residual branches: log10 of their number, their share, and what they carry.

    gradient: the norm of the gradient that reaches the input along one path, the mean over images and sampled paths.
    carried: the share of number × gradient that is theirs.
    """

    length: int
    log10_paths: float
    share: float
    gradient: float
    carried: float


@dataclass(frozen=True)
class Paths:
    """The paths of a network by length.

    whole: the norm of the whole gradient. effective: the fewest neighbouring lengths that carry 95 %; effective_share:
    the share of all paths that have them. exact: whether the units' output is exactly the sum over paths.
    """

    images: int
    draws: int
    whole: float
    lengths: tuple[Length, ...]
    effective: tuple[int, int]
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
    def note(self) -> str:
        """What the sum over paths is for this network."""
        return _EXACT if self.exact else _NOT_EXACT

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze paths --json` documents."""
        facts = {"images": self.images, "draws": self.draws, "units": self.units, "mean_length": self.units / 2}
        found = {"effective": list(self.effective), "effective_share": self.effective_share}
        rows = [vars(row) for row in self.lengths]
        return {**facts, "gradient": self.whole, **found, "exact": self.exact, "note": self.note, "lengths": rows}

    def lines(self) -> list[str]:
        """What a person reads."""
        first, last = self.effective
        heads = f"  {'length':>6} {'paths':>10} {'share':>9} {'gradient':>10} {'carried':>9}"
        rows = [
            f"  {row.length:>6} {'10^' + format(row.log10_paths, '.1f'):>10} {100 * row.share:7.2f} % "
            f"{row.gradient:10.2e} {100 * row.carried:7.2f} %"
            for row in self.lengths
        ]
        return [
            f"{self.units} units, 2^{self.units} paths, mean length {self.units / 2:g}; "
            f"{self.draws} paths of each length sampled on {self.images} images",
            *(heads, *rows),
            f"95 % of the gradient comes through paths of {first} to {last} units: {100 * self.effective_share:.2f} % "
            "of all paths",
            self.note,
        ]


def paths(model: ResidualNetwork | VGGNetwork, batches: Sequence[Batch], *, draws: int = 20) -> Paths:
    """Count the paths of MODEL by length and measure what gradient they carry, in eval mode.

    Of every length DRAWS paths are sampled; all are seen on the same images. Raises UsageError for a network without
    shortcuts, which has one path.
    """
    check_draws(draws)
    units = len(_units(model))
    norms = [_norm_of(model, batches, length, draws) for length in range(units + 1)]
    logs = log_paths(units)
    carried = shares([a + (math.log(b) if b else -math.inf) for a, b in zip(logs, norms, strict=True)])
    tens = [value / math.log(10) for value in logs]
    rows = map(Length, range(units + 1), tens, shares(logs), norms, carried)
    after = model.spec.unit.order.after  # type: ignore[union-attr]
    return Paths(count(batches), draws, norm(model, batches), tuple(rows), shortest_range(carried), not after)


def _norm_of(model: ResidualNetwork | VGGNetwork, batches: Sequence[Batch], length: int, draws: int) -> float:
    routes = (_subset(len(_units(model)), length, "path", length, draw) for draw in range(draws))
    return math.fsum(norm(model, batches, route) for route in routes) / draws


def norm(model: ResidualNetwork | VGGNetwork, batches: Sequence[Batch], through: Sequence[bool] | None = None) -> float:
    """The mean over images of the L2 norm of `gradient`."""
    found = (gradient(model, batch, through).double().flatten(1).norm(dim=1).sum() for batch in batches)
    return math.fsum(map(float, found)) / count(batches)


def gradient(model: ResidualNetwork | VGGNetwork, batch: Batch, through: Sequence[bool] | None = None) -> Tensor:
    """The gradient of each image's loss at the input, (N, C, H, W), in eval mode: the whole one, or along one path.

    through: for each unit whether the path goes through its residual branch, else through its shortcut. The forward
    pass is that of the whole network (veit2016 section 4.2).
    """
    device = device_of(model)
    images = moved(batch.images, device).detach().requires_grad_()
    routes = zip(_units(model), through, strict=True) if through is not None else ()
    with replaced((stage, i, Routed(unit, way)) for (stage, i, unit), way in routes), evaluating([model]):
        loss = F.cross_entropy(model(images).float(), moved(batch.labels, device), reduction="sum")
        (found,) = torch.autograd.grad(loss, images)
    return found.detach()


@contextmanager
def only(model: ResidualNetwork | VGGNetwork, active: int, key: Sequence[int | str]) -> Iterator[None]:
    """MODEL with just ACTIVE units, drawn by KEY, while the block runs; the others are their shortcuts.

    Around the loss of every mini-batch, with a key such as (seed, update), this is training on paths of up to so many
    units: veit2016 section 4.3 takes 23 of 54.
    """
    units = _units(model)
    if not 0 <= active <= len(units):
        raise UsageError(f"active is {active}; the network has {len(units)} units")
    kept = _subset(len(units), active, *key)
    gone = [unit for unit, stays in zip(units, kept, strict=True) if not stays]
    with replaced((stage, i, Bypassed(unit)) for stage, i, unit in gone):
        yield


def _units(model: ResidualNetwork | VGGNetwork) -> list[tuple[nn.Sequential, int, ResidualUnit]]:
    if isinstance(model, VGGNetwork) or model.spec.unit.merge == "none":
        raise UsageError("a network without shortcuts has one path only; take a residual one")
    stages = [(stage, i, unit) for stage in model.stages for i, unit in enumerate(stage)]
    return [(stage, i, unit) for stage, i, unit in stages if isinstance(unit, ResidualUnit)]


def _subset(units: int, chosen: int, *keys: int | str) -> list[bool]:
    """Which of the UNITS are among so many CHOSEN ones, drawn by KEYS."""
    random = np.random.Generator(np.random.Philox(fold(*keys)))
    inside = set(random.permutation(units)[:chosen].tolist())
    return [i in inside for i in range(units)]


def picture(found: Mapping[str, Paths]) -> str:
    """veit2016 figure 6 as SVG: the share of paths by length, the gradient along one, and what all of them carry."""
    figure, (number, each, together) = panels(1, 3, (4.0, 3.0))
    for name, result in found.items():
        x = [row.length for row in result.lengths]
        number.plot(x, [row.share for row in result.lengths], ".-", linewidth=1, label=name)
        each.plot(x, [row.gradient or math.nan for row in result.lengths], ".-", linewidth=1)
        together.plot(x, [row.carried for row in result.lengths], ".-", linewidth=1)
    number.set(xlabel="path length (units)", ylabel="share of paths")
    each.set(xlabel="path length (units)", ylabel="gradient at the input", yscale="log")
    together.set(xlabel="path length (units)", ylabel="share of the gradient")
    legend(number, found)
    return svg(figure)
