"""Lesions: what a trained network answers without some of its units, or with their order changed (veit2016 section 4).

A removed unit leaves its shortcut, not zeros: the identity, or option A or the projection where the size changes. What
follows the addition stays, and no BN statistic is computed again.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..data.batches import Batch
from ..data.randomness import fold
from ..models import ResidualNetwork, VGGNetwork
from ..models.bypass import Bypassed, Swap, replaced
from ..models.layers import BatchNorm
from ..models.unit import ResidualUnit
from .pictures import legend, panels, svg
from .sample import ErrorRate, check_draws, error_rate

_MOST = 20  # units removed together
_LEVELS = 11  # orders between the trained and the reversed one
_CANNOT = "a layer that changes the size has no shortcut to leave"


@dataclass(frozen=True, eq=False)
class Piece:
    """What is removed together: a unit, or of VGG a convolution with its BN and ReLU.

    without: what stands there instead; empty where nothing can, as for a layer without shortcut that changes the size.
    movable: whether it can change places with the others of its stage.
    """

    name: str
    stage: int
    keeps_shape: bool
    without: tuple[Swap, ...]
    movable: bool = False


def pieces(model: ResidualNetwork | VGGNetwork) -> list[Piece]:
    """What can be removed, in the order of the forward pass."""
    if isinstance(model, VGGNetwork):
        return _groups(model)
    found = []
    for number, stage in enumerate(model.stages, 1):
        for i, unit in enumerate(stage):
            assert isinstance(unit, ResidualUnit)
            keeps = unit.keeps_shape
            alone = nn.Identity() if keeps else None
            instead = alone if model.spec.unit.merge == "none" else Bypassed(unit)
            without = ((stage, i, instead),) if instead is not None else ()
            complete = not (unit.activated and model.spec.unit.order.before)  # else its first BN is the stem's
            found.append(Piece(f"layer{number}.{i}", number, keeps, without, keeps and complete))
    return found


def _groups(model: VGGNetwork) -> list[Piece]:
    found, layers = [], model.features
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            keeps = layer.in_channels == layer.out_channels
            group = range(i, i + 2 + isinstance(layers[i + 1], BatchNorm))
            without = tuple((layers, j, nn.Identity()) for j in group) if keeps else ()
            found.append(Piece(f"features.{i}", 1, keeps, without))
    return found


def removed(model: nn.Module, chosen: Sequence[Piece], batches: Sequence[Batch]) -> ErrorRate:
    """The error of MODEL without the CHOSEN pieces."""
    with replaced(swap for piece in chosen for swap in piece.without):
        return error_rate(model, batches)


@dataclass(frozen=True)
class Removed:
    """The error without a unit; None where it cannot be removed."""

    unit: str
    keeps_shape: bool
    error: ErrorRate | None


@dataclass(frozen=True)
class Draws:
    """Errors of several draws of the same kind: `units` removed at random, or an order at Kendall's `tau`."""

    errors: tuple[ErrorRate, ...]
    units: int = 0
    tau: float = 1.0

    @property
    def mean(self) -> float:
        """Percent."""
        return math.fsum(error.percent for error in self.errors) / len(self.errors)

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest in percent."""
        found = [error.percent for error in self.errors]
        return min(found), max(found)

    def as_dict(self) -> dict[str, Any]:
        """Mean and range in percent, and how many draws."""
        low, high = self.span
        return {"draws": len(self.errors), "mean": round(self.mean, 6), "min": round(low, 6), "max": round(high, 6)}


@dataclass(frozen=True)
class Lesions:
    """The error of a network as it is, without each unit, without several, and with units in another order."""

    whole: ErrorRate
    single: tuple[Removed, ...]
    several: tuple[Draws, ...]
    shuffled: tuple[Draws, ...]

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze lesions --json` documents."""
        single = [
            {"unit": x.unit, "keeps_shape": x.keeps_shape, "error": x.error and x.error.as_dict()} for x in self.single
        ]
        several = [{"units": row.units, **row.as_dict()} for row in self.several]
        shuffled = [{"tau": round(row.tau, 6), **row.as_dict()} for row in self.shuffled]
        return {"whole": self.whole.as_dict(), "single": single, "several": several, "shuffled": shuffled}

    def lines(self) -> list[str]:
        """What a person reads."""
        found = [f"error on {self.whole.images} images [95 % interval]", f"  {'nothing removed':<18}{self.whole}"]
        for row in self.single:
            note = "" if row.keeps_shape else "   changes the size"
            found.append(f"  {'without ' + row.unit:<18}{row.error or 'cannot be removed: ' + _CANNOT}{note}")
        for text, rows in (("units removed at random", self.several), ("Kendall's tau of the order", self.shuffled)):
            found += [text] if rows else []
            for row in rows:
                key, (low, high) = f"{row.units}" if rows is self.several else f"{row.tau:+.2f}", row.span
                found.append(f"  {key:<18}{row.mean:6.2f} %   from {low:.2f} to {high:.2f} in {len(row.errors)} draws")
        return found


def lesions(
    model: ResidualNetwork | VGGNetwork,
    batches: Sequence[Batch],
    *,
    draws: int = 3,
    kinds: tuple[str, ...] = ("single", "several", "shuffled"),
) -> Lesions:
    """Remove each unit, several units at random, and shuffle units inside their stages; the error after each.

    draws: random choices of every number of units, up to 20, of every degree of disorder. kinds: which of the three.
    """
    check_draws(draws)
    parts = pieces(model)
    ways = {"single": _single, "several": _several, "shuffled": _shuffled}
    found = {name: tuple(way(model, parts, batches, draws)) if name in kinds else () for name, way in ways.items()}
    return Lesions(error_rate(model, batches), **found)  # type: ignore[arg-type]


def _single(model: nn.Module, parts: list[Piece], batches: Sequence[Batch], draws: int) -> Iterator[Removed]:
    for piece in parts:
        error = removed(model, [piece], batches) if piece.without else None
        yield Removed(piece.name, piece.keeps_shape, error)


def _several(model: nn.Module, parts: list[Piece], batches: Sequence[Batch], draws: int) -> Iterator[Draws]:
    loose = [piece for piece in parts if piece.without]
    for count in range(1, min(_MOST, len(loose)) + 1):
        chosen = [_random("lesion", count, draw).permutation(len(loose))[:count] for draw in range(draws)]
        errors = (removed(model, [loose[i] for i in some], batches) for some in chosen)
        yield Draws(tuple(errors), units=count)


def _shuffled(model: nn.Module, parts: list[Piece], batches: Sequence[Batch], draws: int) -> Iterator[Draws]:
    """Errors at rising disorder; nothing for a network in which no two units can change places."""
    loose = [piece for piece in parts if piece.movable]
    stages = [piece.stage for piece in loose]
    pairs = sum(a == b for i, a in enumerate(stages) for b in stages[:i])
    for inversions in sorted({round(pairs * level / (_LEVELS - 1)) for level in range(_LEVELS)}) if pairs else ():
        orders = [disordered(stages, inversions, _random("shuffle", inversions, draw)) for draw in range(draws)]
        errors = tuple(_reordered(model, loose, order, batches) for order in orders)
        yield Draws(errors, tau=kendall(orders[0], stages))


def _reordered(model: nn.Module, loose: list[Piece], order: Sequence[int], batches: Sequence[Batch]) -> ErrorRate:
    places = [piece.without[0][:2] for piece in loose]
    units = [place[index] for place, index in places]
    with replaced((place, index, units[new]) for (place, index), new in zip(places, order, strict=True)):
        return error_rate(model, batches)


def disordered(stages: Sequence[int], inversions: int, random: np.random.Generator) -> list[int]:
    """An order of units with so many inversions, made by swapping neighbours of a stage that are still in order."""
    order = list(range(len(stages)))
    for _ in range(inversions):
        rising = [i for i in range(len(order) - 1) if stages[i] == stages[i + 1] and order[i] < order[i + 1]]
        i = rising[int(random.integers(len(rising)))]
        order[i], order[i + 1] = order[i + 1], order[i]
    return order


def kendall(order: Sequence[int], stages: Sequence[int]) -> float:
    """Kendall's tau of ORDER against 0, 1 …, over the pairs of the same stage, the only ones that can change."""
    pairs = [(i, j) for j in range(len(order)) for i in range(j) if stages[i] == stages[j]]
    return sum(1 if order[i] < order[j] else -1 for i, j in pairs) / len(pairs)


def _random(*keys: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(fold(*keys)))


def picture(found: Mapping[str, Lesions]) -> str:
    """The errors as SVG, as in veit2016 figures 3 to 5: one unit removed, several removed, order changed."""
    figure, (one, many, order) = panels(1, 3, (4.2, 3.2))
    for number, (name, result) in enumerate(found.items()):
        colour = f"C{number}"
        shown = [(i, row.error.percent, row.keeps_shape) for i, row in enumerate(result.single, 1) if row.error]
        one.plot(
            [i for i, _, _ in shown], [error for _, error, _ in shown], ".-", linewidth=1, color=colour, label=name
        )
        one.plot([i for i, _, keeps in shown if not keeps], [e for _, e, keeps in shown if not keeps], "rv")
        one.axhline(result.whole.percent, linestyle="--", linewidth=1, color=colour)
        for axes, rows, key in ((many, result.several, "units"), (order, result.shuffled, "tau")):
            x = [getattr(row, key) for row in rows]
            axes.plot(x, [row.mean for row in rows], ".-", linewidth=1, color=colour)
            spans = [row.span for row in rows]
            axes.fill_between(x, [low for low, _ in spans], [high for _, high in spans], alpha=0.2, color=colour)
    one.set(xlabel="unit removed (triangle: it changes the size)", ylabel="error (%)", ylim=(0, 100))
    many.set(xlabel="units removed at random", ylim=(0, 100))
    order.set(xlabel="Kendall's tau of the order", ylim=(0, 100), xlim=(1.05, -1.05))
    legend(one, found)
    return svg(figure)
