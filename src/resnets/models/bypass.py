"""Networks whose units stand aside for a while: their shortcuts, or other modules, in their places."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from ..errors import UsageError
from .network import ResidualNetwork
from .unit import ResidualUnit

Swap = tuple[nn.Sequential, int, nn.Module]


class Bypassed(nn.Module):
    """A unit without its residual branch."""

    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """What comes through the shortcut."""
        return self.unit.bypassed(x)


@contextmanager
def replaced(swaps: Iterable[Swap]) -> Iterator[None]:
    """Other modules in some places of sequences while the block runs; then what was there before."""
    before: list[Swap] = []
    try:
        for place, index, module in swaps:
            before.append((place, index, place[index]))
            place[index] = module
        yield
    finally:
        for place, index, module in reversed(before):
            place[index] = module


def places(model: nn.Module) -> list[tuple[nn.Sequential, int, ResidualUnit]]:
    """Where the units of MODEL stand, in the order of the forward pass. Raises UsageError for one without shortcuts."""
    if not isinstance(model, ResidualNetwork) or model.spec.unit.merge == "none":
        raise UsageError(
            "a network without shortcuts has one path only, through all of its layers; take a residual one"
        )
    every = [(stage, i, unit) for stage in model.stages for i, unit in enumerate(stage)]
    return [(stage, i, unit) for stage, i, unit in every if isinstance(unit, ResidualUnit)]


def subset(units: int, count: int, seed: int) -> list[bool]:
    """Which of the UNITS are among COUNT random ones."""
    inside = set(np.random.Generator(np.random.Philox(seed)).permutation(units)[:count].tolist())
    return [i in inside for i in range(units)]


def check_active(model: nn.Module, active: int) -> None:
    """Raise UsageError where MODEL has fewer units than are to be ACTIVE, or no shortcuts for the others."""
    units = len(places(model))
    if not 0 <= active <= units:
        raise UsageError(f"active_units is {active}; the network has {units} units")


@contextmanager
def only(model: nn.Module, active: int, seed: int) -> Iterator[None]:
    """MODEL with ACTIVE random units while the block runs; the others are their shortcuts. Raises UsageError."""
    check_active(model, active)
    units = places(model)
    kept = subset(len(units), active, seed)
    with replaced((stage, i, Bypassed(unit)) for (stage, i, unit), stays in zip(units, kept, strict=True) if not stays):
        yield


def expected(model: nn.Module, tensors: Mapping[str, Tensor], active: int) -> dict[str, Tensor]:
    """TENSORS of MODEL, which learnt with ACTIVE units at a time, for all at once: every F times its part of the time.

    Else the sum over all units is larger than any that was learnt with. The last layer of F is scaled.
    """
    share = active / len(places(model))
    units = ((name, unit) for name, unit in model.named_modules() if isinstance(unit, ResidualUnit))
    ends = {f"{name}.{unit.last_layer}.{kind}" for name, unit in units for kind in ("weight", "bias")}
    return {name: share * tensor if name in ends else tensor for name, tensor in tensors.items()}
