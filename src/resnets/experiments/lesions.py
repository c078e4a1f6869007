"""Veit et al. 2016, section 4.1: a trained residual net hardly needs any one of its units; many cost smoothly more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from .experiment import Experiment


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.lesions import lesions, picture
    from .subjects import finished, subjects

    seen = subjects(finished(out))
    values = {subject.label: lesions(subject.model, subject.batches, kinds=("single", "several")) for subject in seen}
    head = ("network", "whole", "worst same-size unit", "worst size-changing unit", "10 units", "most units")
    lines = [_line(label, value) for label, value in values.items()]
    told = ("Errors in percent on a sample of test images; a removed unit leaves its shortcut, BN statistics stay.",)
    return [Part("Units removed", (head, *lines), picture(values), told)]


def _line(label: str, value: Any) -> tuple[str, ...]:
    worst = [
        max((row.error.percent for row in value.single if row.error and row.keeps_shape is keeps), default=None)
        for keeps in (True, False)
    ]
    ten = next((row for row in value.several if row.units == 10), None)
    most = value.several[-1] if value.several else None
    return (
        label,
        f"{value.whole.percent:.1f}",
        *("cannot be removed" if error is None else f"{error:.1f}" for error in worst),
        f"{ten.mean:.1f}" if ten else "–",
        f"{most.mean:.1f} ({most.units})" if most else "–",
    )


EXPERIMENT = Experiment(
    "lesions", "Units removed from a trained network (Veit et al. 2016, section 4.1)", ("veit.lesion",), study=_study
)
