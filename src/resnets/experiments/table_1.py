"""He2015 table 1: the ImageNet architectures and their cost in multiply-adds, with VGG-16 and VGG-19."""

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
    printed = [(name.replace("18_v1", "18").replace("34_v1", "34"), cost) for name, cost in printed]
    printed += [(_VGG[row["model"]], row["flops_1e9"]) for row in table("he2015.vgg_flops")["rows"]]
    lines = []
    for name, cost in printed:
        counts = complexity(network(name))
        ours = counts.multiply_adds / 1e9
        same = "the same, rounded" if abs(ours - cost) < 0.1 else f"{ours - cost:+.2f}"
        figures = (f"{ours:.3f}", f"{counts.parameters:,}", f"{counts.activations:,}")
        lines.append((name, f"{cost:g}", *figures, same))
    counted = "Convolutions and linear layers, one image of 224×224; a multiply-add counts once, as in the paper."
    return [Part("Cost", (_HEAD, *lines), text=(counted,))]


EXPERIMENT = Experiment(
    "table-1",
    "Architectures for ImageNet and their cost (he2015 table 1)",
    ("he2015.T1", "he2015.vgg_flops"),
    study=_study,
    notes=("The paper's numbers hold with the stride of a bottleneck in its first 1x1 (names with _v1).",),
)
