"""An experiment as a value: rows to be trained and tested, what was published of each, and what is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..errors import UsageError, unknown
from .published import origin

CIFAR_BAND = 0.5  # points: three deviations of the five runs of he2015 table 6 (0.16)
DETECTION_BAND = 1.0  # points of AP: what reimplementations of one recipe differ by
IMAGENET_BAND = 0.4  # points: about three deviations of ResNet-50 over seeds (0.12, arXiv:1706.02677)

MEDIAN = "The paper gives the median of 5 runs, ours is the mean."


@dataclass(frozen=True)
class Row:
    """A row of a table: what was published of it, and the run that measures the same.

    published: errors in percent by name: "top1", "top5". others: what other implementations report, by
    source. network "": only published, not run. changes: fields of the recipe; unit: of the network's unit. protocol:
    of the test. members: labels of the rows whose models are averaged, in place of a run of its own. failed: the error
    in percent above which the paper calls it a failure, 0 where it names none. means: published means where `published`
    is another figure of several runs; ours is set against them. seeds, band: in place of the experiment's. apart: why
    the published figure is of another kind.
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
    failed: float = 0.0
    note: str = ""
    means: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 0
    band: float = 0.0
    apart: str = ""


@dataclass(frozen=True)
class DetectorRow(Row):
    """A row of a detection table; published figures are percent by the names that `Figures.means` has.

    changes: fields of the recipe's detector. testing: fields of its `Inference`. of: the label of the row whose run is
    tested once more, in another way. over: of the row that its gain is told against; default: the first one. server:
    whether the annotations of its test are with a server alone; such a row runs in small only, on other data.
    """

    testing: Mapping[str, Any] = field(default_factory=dict)
    of: str = ""
    over: str = ""
    server: bool = False


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
    task: Literal["classification", "detection", "localization"] = "classification"
    draws: str = ""
    study: Callable[..., Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def higher(self) -> bool:
        """Whether a higher figure is better."""
        return self.task == "detection"

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
        asked = [row for row in self.rows if row.label in labels]
        wanted = {*labels, *(member for row in asked for member in row.members)}
        wanted |= {row.of for row in asked if isinstance(row, DetectorRow)}
        return replace(self, rows=tuple(row for row in self.rows if not labels or row.label in wanted))


@dataclass(frozen=True)
class LocalizationRow(Row):
    """A row of a localization table, whose published figures are errors in percent.

    figures: for each published name the name of the row that `localization_recipe.ROWS` has for it.
    """

    figures: Mapping[str, str] = field(default_factory=dict)


def seconds_of(budget: str) -> float | None:
    """The seconds of a budget such as 10min, 2h or 90s; None for "full". Raises UsageError."""
    if budget == "full":
        return None
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    for unit in ("min", "s", "h", "d"):
        number = budget.removesuffix(unit)
        if number != budget and number.replace(".", "", 1).isdecimal() and float(number) > 0:
            return float(number) * units[unit]
    raise UsageError(f"'{budget}' is no budget; give one such as 10min, 2h, or full")
