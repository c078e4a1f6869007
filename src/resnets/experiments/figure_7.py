"""He2015 figure 7: standard deviations of layer responses; residual nets respond less, the deeper the less."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from .experiment import Experiment
from .figure_6 import EXPERIMENT as FIGURE_6

_SHOWN = ("plain-20", "plain-56", "ResNet 20", "ResNet 56", "ResNet 110")


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.responses import picture, responses
    from .subjects import runs_of, subjects

    seen, left_out = subjects(runs_of(found))
    values = {subject.label: responses(subject.model, subject.batches) for subject in seen}
    head = ("network", "trained for", "layers", "mean deviation", "largest", "smallest")
    lines = [
        (
            subject.label,
            subject.trained,
            len(values[subject.label].layers),
            f"{values[subject.label].mean:.3f}",
            f"{max(values[subject.label].deviations):.3f}",
            f"{min(values[subject.label].deviations):.3f}",
        )
        for subject in seen
    ]
    told = (
        *left_out,
        "Output of each 3×3 convolution after its BN, before ReLU and addition, on test images in eval mode. Networks "
        "that are not trained to the end can show another order: at the start it is the opposite.",
    )
    return [Part("Layer responses", (head, *lines), picture(values), told)]


EXPERIMENT = Experiment(
    "figure-7",
    "Deviations of layer responses (he2015 figure 7)",
    (),
    data="cifar10",
    recipe="cifar-2015",
    rows=tuple(row for row in FIGURE_6.rows if row.label in _SHOWN),
    study=_study,
    notes=("The paper prints no number; its claim: residual nets have smaller responses, the deeper the smaller.",),
)
