"""Units that a trained network can do without, and the shorter network with their weights left out."""

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..data.batches import Batch
from ..errors import UsageError
from ..models import ResidualNetwork, VGGNetwork
from ..models.unit import ResidualUnit
from ..spec import Network
from .lesions import Piece, pieces, removed
from .sample import ErrorRate, error_rate


@dataclass(frozen=True)
class Cut:
    """A unit, and the error once it and all before it are gone."""

    unit: str
    error: ErrorRate


@dataclass(frozen=True)
class Shortening:
    """The error of the network as it is; the cuts that were made, in their order; the next one, which costs too much.

    next is None where no unit is left that can go.
    """

    whole: ErrorRate
    max_loss: float
    cuts: tuple[Cut, ...]
    next: Cut | None

    @property
    def units(self) -> list[str]:
        """What goes."""
        return [cut.unit for cut in self.cuts]

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze shorten --json` documents."""
        cuts = [{"unit": cut.unit, **cut.error.as_dict()} for cut in self.cuts]
        refused = {"unit": self.next.unit, **self.next.error.as_dict()} if self.next else None
        return {"whole": self.whole.as_dict(), "max_loss": self.max_loss, "cuts": cuts, "next": refused}

    def lines(self) -> list[str]:
        """What a person reads."""
        found = [
            f"error on the {self.whole.images} images that choose [95 % interval]",
            f"  {'nothing removed':<22}{self.whole}",
            *(f"  {'then without ' + cut.unit:<22}{cut.error}" for cut in self.cuts),
        ]
        if self.next:
            return [*found, f"  {self.next.unit} stays: without it {str(self.next.error).strip()}"]
        return [*found, "  no other unit can go"]


def shorten(model: ResidualNetwork | VGGNetwork, batches: Sequence[Batch], *, max_loss: float = 0.5) -> Shortening:
    """Take out the unit that costs least, again and again, until the error has risen by more than MAX_LOSS points.

    Units that are first in their stage stay. The costs of one unit at a time give the order; the cost of the next
    unit is measured anew, together with those that are gone, before it goes. Raises UsageError for a VGG network and
    for one whose stages have one unit each.
    """
    if max_loss < 0:
        raise UsageError(f"max_loss is {max_loss:g}; it must be at least 0 points of error")
    loose = {piece.name: piece for piece in pieces(model) if removable(piece)}
    if not loose:
        raise UsageError("this network has no unit that can go: only units after the first of their stage can")
    whole, gone = error_rate(model, batches), list[Piece]()
    costs = [(removed(model, [piece], batches).mistakes, 0, name) for name, piece in loose.items()]
    heapq.heapify(costs)
    cuts: list[Cut] = []
    while costs:
        mistakes, known, name = heapq.heappop(costs)
        if known < len(gone):  # measured when fewer units were gone
            mistakes = removed(model, [*gone, loose[name]], batches).mistakes
            if costs and mistakes > costs[0][0]:
                heapq.heappush(costs, (mistakes, len(gone), name))
                continue
        cut = Cut(name, ErrorRate(mistakes, whole.images))
        if cut.error.percent - whole.percent > max_loss:
            return Shortening(whole, max_loss, tuple(cuts), cut)
        cuts.append(cut)
        gone.append(loose[name])
    return Shortening(whole, max_loss, tuple(cuts), None)


def removable(piece: Piece) -> bool:
    """Whether a network without PIECE is one of fewer units: it is not the first of its stage, nor a layer of a VGG."""
    return bool(re.fullmatch(r"layer\d+\.[1-9]\d*", piece.name)) and piece.keeps_shape


def shorter(model: ResidualNetwork, units: Sequence[str]) -> tuple[Network, dict[str, Tensor]]:
    """The network without UNITS and its tensors: stages of fewer units, the others renumbered.

    It answers exactly as the lesioned one. Stochastic depth is folded into the last BN of each unit, as testing scales
    it. Raises UsageError for units that cannot go.
    """
    possible = [piece.name for piece in pieces(model) if removable(piece)]
    if strangers := sorted(set(units) - set(possible)):
        raise UsageError(f"{strangers[0]} cannot go; what can: {', '.join(possible)}")
    spec, tensors = model.spec, dict(model.state_dict())
    if spec.unit.stochastic_depth:
        tensors |= _unscaled(model)
        spec = replace(spec, unit=replace(spec.unit, stochastic_depth=0.0))
    renamed, counts = dict[str, str](), list[int]()
    for number, stage in enumerate(model.stages, 1):
        kept = [name for i in range(len(stage)) if (name := f"layer{number}.{i}") not in units]
        renamed |= {name: f"layer{number}.{i}" for i, name in enumerate(kept)}
        counts.append(len(kept))
    stages = tuple(replace(stage, units=count) for stage, count in zip(spec.stages, counts, strict=True))
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        unit = ".".join(name.split(".")[:2])
        if unit not in units:
            found[renamed.get(unit, unit) + name[len(unit) :]] = tensor
    return replace(spec, stages=stages), found


def _unscaled(model: ResidualNetwork) -> dict[str, Tensor]:
    """The weights of the last BNs times what testing multiplies each unit's residual with."""
    names, found = {module: name for name, module in model.named_modules()}, dict[str, Tensor]()
    for unit in (module for module in names if isinstance(module, ResidualUnit) and module.drop):
        last = unit.last_bn
        if last is None:
            raise UsageError("a network with stochastic depth whose units end in no BN cannot be shortened")
        scaled = {"weight": last.weight.detach(), "bias": last.bias.detach()}
        found |= {f"{names[last]}.{key}": value * (1 - unit.drop) for key, value in scaled.items()}
    return found
