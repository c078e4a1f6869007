"""The report of a detector's run: curves, average precision of every class, pictures with detections."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.pictures import legend, panels, svg
from ..detection.recipe import DetectionRecipe
from ..detection.result import DetectionResult
from ..errors import UsageError, safe_text
from ..files import Log
from ..record import read_recipe, read_result
from .language import speaker
from .page import render
from .parts import Part
from .tables import duration


@dataclass(frozen=True)
class _Page:
    title: str
    stated: tuple[str, ...]
    parts: tuple[Part, ...]


def finished(folder: Path) -> DetectionResult | None:
    """The result of the detector's run in FOLDER, None for another folder. Raises UsageError for an unfinished run."""
    try:
        recipe = read_recipe(folder, object)
    except UsageError:
        return None
    if not isinstance(recipe, DetectionRecipe):
        return None
    if (result := read_result(folder, DetectionResult)) is None:
        where = safe_text(str(folder))
        raise UsageError(f"{where} is not finished; go on with: resnets resume {where}")
    return result


def write(folder: Path, result: DetectionResult, language: str = "en", out: Path | None = None) -> Path:
    """Write the report of the run in FOLDER to OUT (default: FOLDER/report.html)."""
    t, records = speaker(language), Log(folder / "log.jsonl").records()
    name = safe_text(f"{result.network} {result.design} · {result.data}")
    spent, recipe = duration(result.seconds, language), safe_text(result.recipe)
    stated = (
        t("detector_run", updates=result.updates, spent=spent, recipe=recipe, seed=result.seed),
        t("best_detector" if result.model == "best" else "last_model"),
    )
    figures = [(key, _number(value)) for key, value in result.figures.items()]
    classes = [(safe_text(key), _number(value)) for key, value in result.classes.items()]
    places = sorted((folder / result.evaluation).glob("found-*.png")) if result.evaluation else []
    rule = t("points_11" if result.metric == "voc07" else "area_rule")
    pictures = tuple((path.stem, path.read_bytes()) for path in places)
    parts = [
        Part(t("curves"), svg=curves({name: records}, ("", "", "")), text=(t("detector_axes"),)),
        Part(t("precision_ap"), ((t("figure"), t("number")), *figures), text=(t("ap_rules"),)) if figures else None,
        Part(t("classes"), ((t("class"), f"AP, {rule}"), *classes)) if classes else None,
        Part(t("test_pictures"), pictures=pictures) if places else None,
    ]
    page = _Page(name, stated, tuple(part for part in parts if part))
    return render("parts_page", out or folder / "report.html", language, {"report": page})


_AXES = ("training loss", "validation AP", "updates")


def curves(runs: dict[str, list[dict[str, Any]]], names: tuple[str, str, str] = _AXES) -> str:
    """Loss and validation AP of RUNS' logs against updates, as SVG; NAMES are those of the axes."""
    figure, (left, right) = panels(1, 2, (4.6, 3.0))
    for name, records in runs.items():
        steps = [record for record in records if "mistakes" in record]
        stretch = max(1, len(steps) // 80)
        groups = [steps[start : start + stretch] for start in range(0, len(steps), stretch)]
        left.plot([g[-1]["update"] for g in groups], [sum(r["loss"] for r in g) / len(g) for g in groups], label=name)
        tested = [(record["update"], record["val_ap"]) for record in records if record.get("val_ap") is not None]
        right.plot([update for update, _ in tested], [ap for _, ap in tested], marker="o", markersize=3, label=name)
    for axes, what in ((left, names[0]), (right, names[1])):
        axes.set_xlabel(names[2])
        axes.set_ylabel(what)
        legend(axes, runs)
    left.set_yscale("log")
    return svg(figure)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
