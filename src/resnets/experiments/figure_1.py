"""He2015 figure 1: on CIFAR-10 a plain net of 56 layers has higher training error than one of 20, and so test error."""

from .experiment import Experiment, Row
from .published import table

_BAND = 1.5  # points: what is read off a figure
_READ = {row["model"]: row["error_approx"] for row in table("he2015.F6_plain")["rows"] if "error_approx" in row}
_ABOVE = {row["model"]: row.get("error_lower_bound", 0.0) for row in table("he2015.F6_plain")["rows"]}
_OTHERS = {row["model"]: row for row in table("plain.reimplementations")["rows"]}


def plain(layers: int) -> Row:
    """A plain net of so many layers; no number is printed in the paper, those here are read off its figure."""
    name = f"plain-{layers}"
    others = {source: _OTHERS[name][source] for source in ("amartyn", "fish145")} if name in _OTHERS else {}
    published = {"top1": _READ[name]} if name in _READ else {}
    note = "read off the figure" if published else "above 60 %, not displayed"
    failed = _ABOVE.get(name, 0.0)
    return Row(name, f"cifar_plain{layers}", published, others, note=note, failed=failed, band=_BAND)


EXPERIMENT = Experiment(
    "figure-1",
    "Degradation: plain nets of 20 and 56 layers on CIFAR-10 (he2015 figure 1)",
    ("he2015.F6_plain", "plain.reimplementations"),
    data="cifar10",
    recipe="cifar-2015",
    rows=(plain(20), plain(56)),
    band=_BAND,
    draws="curves",
    notes=("The claim is on training error: 56 layers above 20.",),
)
