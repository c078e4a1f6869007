"""He2015 figure 5: the basic unit of 64 channels and the bottleneck of 256 have similar cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from ..spec import BASIC, BOTTLENECK, Unit
from .experiment import Experiment

_SIDE = 56  # pixels of the maps where they stand in the ImageNet networks
_HEAD = ("unit", "weights of its convolutions", f"multiply-adds at {_SIDE}×{_SIDE}")
# unit, channels in, channels out
_UNITS = {
    "basic, 64 channels, identity": (Unit(BASIC), 64, 64),
    "bottleneck, 256 channels, identity": (Unit(BOTTLENECK), 256, 256),
    "bottleneck with the projection from 64 to 256": (Unit(BOTTLENECK), 64, 256),
}


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from torch import nn

    from ..models.unit import ResidualUnit

    lines = []
    for name, (unit, narrow, wide) in _UNITS.items():
        made = ResidualUnit(unit, (narrow, wide), 1, False, 0.0)
        weights = sum(m.weight.numel() for m in made.modules() if isinstance(m, nn.Conv2d))
        lines.append((name, f"{weights:,}", f"{weights * _SIDE * _SIDE:,}"))
    told = (
        "The units of the figure have 73,728 and 69,632 weights. That both have 73,728 is often repeated; it holds "
        "only for the first bottleneck of conv2_x, whose input has 64 channels and whose projection counts."
    )
    return [Part("Cost of the two units", (_HEAD, *lines), text=(told,))]


EXPERIMENT = Experiment("figure-5", "The cost of the two residual units (he2015 figure 5)", (), study=_study)
