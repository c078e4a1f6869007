"""Veit et al. 2016, section 4.1: a trained residual net hardly needs any one of its units; many cost smoothly more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from .experiment import Experiment


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.lesions import lesions, picture
    from .subjects import finished, subjects

    seen, left_out = subjects(finished(out))
    values = {subject.label: lesions(subject.model, subject.batches, kinds=("single", "several")) for subject in seen}
    head = ("network", "images", "whole", "worst same-size unit", "worst size-changing unit", "10 units", "most units")
    lines = [_line(label, value) for label, value in values.items()]
    told = (
        "Errors in percent on a sample of test images, in brackets the 95 % interval of the sample, of several units "
        "the lowest and highest of the draws; a removed unit leaves its shortcut, BN statistics stay.",
        "Looked at are the runs below --out, and published weights where they are at hand. For plain and residual nets "
        "of the same depth side by side run figure-6 with the same --out first.",
        *left_out,
    )
    return [Part("Units removed", (head, *lines), picture(values), told)]


def _line(label: str, value: Any) -> tuple[str, ...]:
    worst = [
        max((row.error for row in value.single if row.error and row.keeps_shape is keeps), key=_percent, default=None)
        for keeps in (True, False)
    ]
    ten = next((row for row in value.several if row.units == 10), None)
    most = value.several[-1] if value.several else None
    return (
        label,
        str(value.whole.images),
        told_with_interval(value.whole),
        *("cannot be removed" if error is None else told_with_interval(error) for error in worst),
        _draws(ten) if ten else "–",
        f"{_draws(most)}, {most.units} units" if most else "–",
    )


def _percent(error: Any) -> float:
    return error.percent


def told_with_interval(error: Any) -> str:
    """An error rate in percent and its interval."""
    low, high = error.interval
    return f"{error.percent:.1f} [{low:.1f}, {high:.1f}]"


def _draws(row: Any) -> str:
    low, high = row.span
    return f"{row.mean:.1f} (from {low:.1f} to {high:.1f})"


EXPERIMENT = Experiment(
    "lesions", "Units removed from a trained network (Veit et al. 2016, section 4.1)", ("veit.lesion",), study=_study
)
