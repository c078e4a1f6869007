"""The report of a detector's run: curves, average precision of every class, pictures with detections."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.pictures import legend, panels, svg
from ..detection.result import DetectionResult
from ..errors import safe_text
from ..files import Log
from .page import render
from .parts import Part
from .tables import duration


@dataclass(frozen=True)
class _Page:
    title: str
    stated: tuple[str, ...]
    parts: tuple[Part, ...]


def write(folder: Path, result: DetectionResult) -> Path:
    """Write report.html of the run in FOLDER."""
    records = Log(folder / "log.jsonl").records()
    name = safe_text(f"{result.network} {result.design} on {result.data}")
    chosen = "chosen on validation data" if result.model == "best" else "that of the last update"
    stated = (
        f"{result.updates:,} updates in {duration(result.seconds)}, recipe {result.recipe}, seed {result.seed}",
        f"The model is {chosen}; the {result.test_images} test pictures chose nothing.",
    )
    figures = [(key, _number(value)) for key, value in result.figures.items()]
    classes = [(safe_text(key), _number(value)) for key, value in result.classes.items()]
    places = sorted((folder / result.evaluation).glob("found-*.png")) if result.evaluation else []
    rule = "11 points" if result.metric == "voc07" else "area rule"
    parts = [
        Part("Training", svg=curves({name: records})),
        Part("Average precision", (("figure", "value"), *figures), text=(_RULES,)) if figures else None,
        Part("Classes", (("class", f"AP, {rule}"), *classes)) if classes else None,
        Part("Test pictures", pictures=tuple((path.stem, path.read_bytes()) for path in places)) if places else None,
    ]
    page = _Page(name, stated, tuple(part for part in parts if part))
    return render("parts_page", folder / "report.html", "en", {"report": page})


_RULES = (
    "area and voc07: PASCAL VOC at an IoU above 0.5, the area under the curve and the mean of 11 points; difficult "
    "objects count neither way. bbox, segm: COCO's twelve for boxes and masks, AP the mean over IoU 0.50 to 0.95."
)


def curves(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Loss and validation AP of RUNS' logs against updates, as SVG."""
    figure, (left, right) = panels(1, 2, (4.6, 3.0))
    for name, records in runs.items():
        steps = [record for record in records if "mistakes" in record]
        stretch = max(1, len(steps) // 80)
        groups = [steps[start : start + stretch] for start in range(0, len(steps), stretch)]
        left.plot([g[-1]["update"] for g in groups], [sum(r["loss"] for r in g) / len(g) for g in groups], label=name)
        tested = [(record["update"], record["val_ap"]) for record in records if record.get("val_ap") is not None]
        right.plot([update for update, _ in tested], [ap for _, ap in tested], marker="o", markersize=3, label=name)
    for axes, what in ((left, "training loss"), (right, "validation AP")):
        axes.set_xlabel("updates")
        axes.set_ylabel(what)
        legend(axes, runs)
    left.set_yscale("log")
    return svg(figure)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
