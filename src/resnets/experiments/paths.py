"""Veit et al. 2016, section 4.2: how many paths of each length there are, and which of them carry the gradient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.parts import Part
from .experiment import Experiment
from .published import fact


def _study(found: Sequence[Any], out: Path) -> list[Part]:
    from ..analysis.paths import log_paths, paths, picture, shares
    from ..errors import UsageError
    from .subjects import finished, subjects

    values, (seen, left_out) = dict[str, Any](), subjects(finished(out), images=32)
    for subject in seen:
        try:
            values[subject.label] = paths(subject.model, subject.batches)
        except UsageError as error:
            left_out = (*left_out, f"{subject.label}: {error}")
    head = ("network", "units", "mean length", "95 % of the gradient", "share of all paths")
    lines = [
        (
            label,
            value.units,
            f"{value.units / 2:g}",
            f"{value.effective_lengths} units",
            f"{100 * value.effective_share:.2f} %",
        )
        for label, value in values.items()
    ]
    notes = dict.fromkeys(f"{label}: {value.note}" for label, value in values.items() if value.note)
    part = shares(log_paths(54))
    effective, wide = fact("veit.effective"), fact("veit.share_19_35")
    counted = (
        f"Counted for 54 units: paths of 5 to 17 units are {100 * sum(part[5:18]):.4f} % of 2^54 (published "
        f"{effective['share_percent']} %), those of 19 to 35 units {100 * sum(part[19:36]):.2f} % "
        f"(exactly {wide['exact_percent']} %)."
    )
    told = "In brackets and as bands the 95 % interval over the sampled paths of each length, on the same images."
    return [Part("Paths", (head, *lines), picture(values), (told, counted, *notes, *left_out))]


EXPERIMENT = Experiment(
    "paths", "Lengths of paths and their gradients (Veit et al. 2016, section 4.2)",
    ("veit.paths", "veit.effective", "veit.share_19_35"), study=_study,
)  # fmt: skip
