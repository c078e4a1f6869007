"""An experiment as a value: rows to be trained and tested, what was published of each, and what is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UsageError, unknown
from .published import origin

CIFAR_BAND = 0.5  # points: three deviations of the five runs of he2015 table 6 (0.16)
IMAGENET_BAND = 0.4  # points: about three deviations of ResNet-50 over seeds (0.12, arXiv:1706.02677)


@dataclass(frozen=True)
class Row:
    """A row of a table: what was published of it, and the run that measures the same.

    published: errors in percent by name: "top1", "top5". others: what other implementations report, by
    source. network "": only published, not run. changes: fields of the recipe; unit: of the network's unit. protocol:
    of the test. members: labels of the rows whose models are averaged, in place of a run of its own. failed: the paper
    calls it a failure ("fail": error above 20 %).
    """

    label: str
    network: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    data: str = ""
    protocol: str = "1-crop"
    changes: Mapping[str, Any] = field(default_factory=dict)
    unit: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    failed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    sources: ids of published tables. data: "cifar10", "cifar100", "imagenet", or "" where nothing is trained. band:
    points within which a figure counts as the published one. draws: "curves" of error against updates, or none. study:
    what is computed beyond rows; it is given the outcomes and answers `Part`s of the report.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    data: str = ""
    recipe: str = ""
    rows: tuple[Row, ...] = ()
    seeds: int = 1
    band: float = CIFAR_BAND
    draws: str = ""
    study: Callable[..., Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def origins(self) -> list[str]:
        """Where the published numbers stand."""
        return [origin(name) for name in self.sources]

    def only(self, labels: list[str]) -> "Experiment":
        """The experiment with the rows called LABELS, and what they average; all rows for none. Raises UsageError."""
        known = [row.label for row in self.rows]
        for label in labels:
            if label not in known:
                raise unknown("row", label, known)
        wanted = {*labels, *(member for row in self.rows if row.label in labels for member in row.members)}
        return replace(self, rows=tuple(row for row in self.rows if not labels or row.label in wanted))


@dataclass(frozen=True)
class Part:
    """A part of a report: a table (first row: its head), a picture as SVG, or sentences."""

    title: str
    table: tuple[tuple[Any, ...], ...] = ()
    svg: str = ""
    text: tuple[str, ...] = ()


def seconds_of(budget: str) -> float | None:
    """The seconds of a budget such as 10min, 2h or 90s; None for "full". Raises UsageError."""
    if budget == "full":
        return None
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    for unit in ("min", "s", "h", "d"):
        number = budget.removesuffix(unit)
        if number != budget and number.replace(".", "", 1).isdigit() and float(number) > 0:
            return float(number) * units[unit]
    raise UsageError(f"'{budget}' is no budget; give one such as 10min, 2h, or full")
