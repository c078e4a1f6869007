"""Veit et al. 2016, section 4.1: units of a stage in another order; the error rises smoothly with the disorder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from .experiment import Experiment


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.lesions import lesions, picture
    from .lesions import told_with_interval
    from .subjects import finished, subjects

    seen, left_out = subjects(finished(out))
    values = {subject.label: lesions(subject.model, subject.batches, kinds=("shuffled",)) for subject in seen}
    head = ("network", "images", "whole", "Kendall's tau", "error, mean", "lowest", "highest", "draws")
    lines = [
        (
            label,
            str(value.whole.images),
            told_with_interval(value.whole),
            f"{row.tau:+.2f}",
            f"{row.mean:.1f}",
            f"{row.span[0]:.1f}",
            f"{row.span[1]:.1f}",
            str(len(row.errors)),
        )
        for label, value in values.items()
        for row in value.shuffled
    ]
    told = [
        "Only units of the same stage change places, and none that changes the size; errors in percent on a sample of "
        "test images, in brackets the 95 % interval of the sample."
    ]
    told += [f"{label}: no stage has two such units." for label, value in values.items() if not value.shuffled]
    return [Part("Units in another order", (head, *lines), picture(values), (*told, *left_out))]


EXPERIMENT = Experiment(
    "shuffling", "Units of a trained network in another order (Veit et al. 2016)", ("veit.lesion",), study=_study
)
