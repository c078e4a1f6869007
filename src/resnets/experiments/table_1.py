"""He2015 table 1: the ImageNet architectures and their cost in multiply-adds, with VGG-16 and VGG-19."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..families import network
from ..report.parts import Part
from .experiment import Experiment
from .published import table

_HEAD = ("network", "published, 1e9 multiply-adds", "ours, 1e9", "parameters", "activations", "verdict")
_VGG = {"VGG-16": "vgg16", "VGG-19": "vgg19", "plain-34": "plain34"}


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.complexity import complexity

    printed = [(f"resnet{row['model']}_v1", row["flops_1e9"]) for row in table("he2015.T1")["rows"]]
    printed = [(name.replace("18_v1", "18_a").replace("34_v1", "34_a"), cost) for name, cost in printed]
    printed += [(_VGG[row["model"]], row["flops_1e9"]) for row in table("he2015.vgg_flops")["rows"]]
    lines = []
    for name, cost in printed:
        counts = complexity(network(name))
        ours = counts.multiply_adds / 1e9
        figures = (f"{ours:.3f}", f"{counts.parameters:,}", f"{counts.activations:,}")
        lines.append((name, f"{cost:g}", *figures, _verdict(ours, cost)))
    counted = "Convolutions and linear layers, one image of 224×224; a multiply-add counts once, as in the paper."
    return [Part("Cost", (_HEAD, *lines), text=(counted,))]


def _verdict(ours: float, printed: float) -> str:
    """How OURS becomes the number that is PRINTED with one decimal."""
    if round(ours, 1) == printed:
        return "the same, rounded"
    return "the same, cut off" if math.floor(10 * ours) / 10 == printed else f"{ours - printed:+.2f}"


EXPERIMENT = Experiment(
    "table-1",
    "Architectures for ImageNet and their cost (he2015 table 1)",
    ("he2015.T1", "he2015.vgg_flops"),
    study=_study,
    notes=(
        "The paper's numbers hold with the stride of a bottleneck in its first 1x1 (names with _v1), and with the "
        "shortcuts of 18 and 34 layers without parameters (option A).",
    ),
)
