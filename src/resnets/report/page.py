"""A run or a test on one page: a self-contained HTML file that opens offline. Reports read results, never models."""

import base64
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__, files
from ..data.check import IMBALANCE
from ..errors import UsageError, safe_text
from ..evaluation.metrics import interval
from ..record import Result
from . import figures, tables
from .language import HTML_NAMES, speaker
from .reading import Data, Run, Test, read_run, read_test
from .sentences import said

_HEAT = 30  # classes up to which the whole confusion matrix is shown
_FACTS = ("data", "part", "protocol", "images", "top1_error", "top5_error", "balanced_accuracy", "loss")


def write(folder: Path, result: Result | None, language: str = "en", out: Path | None = None) -> Path:
    """Write the report of the run in FOLDER to OUT (default: FOLDER/report.html); an unfinished one has no result."""
    run = read_run(folder)
    if run is None:
        raise UsageError(f"{safe_text(str(folder))} is no run folder: it has no recipe.json")
    facts = asdict(result) if result else {}
    test = read_test(folder / facts["evaluation"]) if facts.get("evaluation") else None
    changes = tables.changes(run.recipe)
    first = {name for name, *_ in changes}
    recipe_rows = sorted(tables.flat(run.recipe).items(), key=lambda row: row[0] not in first)
    context = {
        "run": run,
        "data_name": facts.get("data") or Path(str(run.recipe.get("data", ""))).name,
        "headline": _headline(facts, test, language),
        "verdict": _verdict(facts),
        **_data(run.data),
        "charts": _charts(run, language),
        "watched": any("watched_test_error" in record for record in run.epochs),
        "test": test,
        **(_test(test) if test else {}),
        "tests": [test_row(one) for one in run.tests()],
        "models": False,
        "changes": changes,
        "recipe_rows": _values(dict(recipe_rows)),
        "environment_rows": _values(run.environment),
        "commands": _commands(folder, bool(facts), language),
    }
    return render("run", out or folder / "report.html", language, context)


def write_evaluation(folder: Path, language: str = "en", out: Path | None = None) -> Path:
    """Write the report of the test in FOLDER to OUT (default: FOLDER/report.html)."""
    test = read_test(folder)
    if test is None:
        raise UsageError(f"{safe_text(str(folder))} holds no test: it has no result.json of resnets evaluate")
    row = test_row(test)
    context = {
        "data_name": row["data"],
        "model_name": row["model"],
        "part_name": part_name(row["part"], language),
        "protocol": row["protocol"],
        "protocol_rows": _values(test.facts.get("protocol_fields", {})),
        "headline": _headline({}, test, language),
        "unread": [f"{bad['file']}: {bad['reason']}" for bad in test.facts.get("bad_files", [])],
        "test": test,
        **_test(test),
    }
    return render("evaluation", out or folder / "report.html", language, context)


def render(template: str, path: Path, language: str, context: dict[str, Any]) -> Path:
    """Write TEMPLATE, filled, to PATH."""
    pages = Environment(
        loader=PackageLoader("resnets", "report/templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_safe,
    )  # fmt: skip
    pages.filters |= {
        "name": lambda text: Markup("<bdi>{}</bdi>").format(_safe(str(text))),
        "percent": lambda value, places=2: "" if value is None else Markup("{:.{}f}&nbsp;%").format(value, places),
        "value": tables.shown_value,
        "duration": lambda seconds: tables.duration(seconds, language),
        "said": lambda text: said(text, language),
        "part": lambda part: part_name(part, language),
    }
    pages.globals |= {"t": speaker(language), "html_language": HTML_NAMES[language], "version": __version__}
    text = pages.get_template(f"{template}.html.j2").render(context)
    files.write_file(path, text.encode("utf-8", "backslashreplace"))
    return path


def _safe(value: Any) -> Any:
    """VALUE as it goes into a page: no text brings characters that nobody sees; Jinja2 escapes it next."""
    return safe_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def test_row(test: Test) -> dict[str, Any]:
    """The figures of a test for a table; what its result.json lacks is empty."""
    row = {name: test.facts.get(name) for name in _FACTS}
    model = test.facts.get("model", "")
    return {
        **row,
        "data": row["data"] or test.folder.name,
        "model": model if isinstance(model, str) else ", ".join(model),
    }


def part_name(part: str | None, language: str) -> str:
    """A part of a data set in LANGUAGE; one without a name of its own as it is."""
    known = part in ("train", "val", "test", "all")
    return speaker(language)(str(part)) if known else str(part or "")


def _values(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, tables.shown_value(value)) for name, value in facts.items() if name != "reasons"]


def _headline(result: dict[str, Any], test: Test | None, language: str) -> dict[str, Any]:
    """What stands in large type; None where nothing is known."""
    t, facts = speaker(language), dict(test.facts) if test else {}
    found: dict[str, Any] = dict.fromkeys(("error", "about", "low", "high", "ece", "ece_about"))
    if test:
        images, mistakes = facts["images"], facts["mistakes"]
        part = part_name(facts.get("part", "test"), language)
        found |= {"error": facts["top1_error"], "about": t("on_part", mistakes=mistakes, images=images, part=part)}
        found["low"], found["high"] = interval(images - mistakes, images)
    elif result.get("val_error") is not None:
        found |= {"error": result["val_error"], "about": t("on_val")}
    if calibration := facts.get("calibration"):
        fitted = calibration["temperature"] != 1
        found["ece"] = calibration["ece_calibrated" if fitted else "ece"]
        about = t("ece_about", temperature=calibration["temperature"])
        found["ece_about"] = about if fitted else t("ece_plain")
    return found | {
        "balanced": facts.get("balanced_accuracy"),
        "worst": facts.get("worst_class") or result.get("worst_class"),
        "seconds": result.get("seconds"),
        "speed": result.get("images_per_second"),
        "epochs": result.get("epochs"),
    }


def _verdict(result: dict[str, Any]) -> str:
    """The key of the sentence on which images say what."""
    if not result:
        return "unfinished"
    if result["test_error"] is not None:
        return "best_model" if result["model"] == "best" else "last_model"
    return "val_only" if result["val_error"] is not None else "not_tested"


def _data(data: Data) -> dict[str, Any]:
    """Counts per class and part."""
    columns = list(data.parts.values())
    rows = list(zip(data.classes, zip(*columns, strict=True), strict=True)) if columns else []
    train = [n for n in data.parts.get("train", ()) if n]
    ratio = max(train) / min(train) if train else 1
    return {
        "data_rows": rows,
        "data_images": sum(map(sum, columns)),
        "data_most": max((sum(counts) for _, counts in rows), default=1) or 1,
        "imbalance": ratio if ratio > IMBALANCE else None,
    }


def _charts(run: Run, language: str) -> list[tuple[str, Markup, list[dict[str, Any]], str]]:
    """Title, chart, what its colours mean, and what stands along it: errors, losses and rate."""
    t, charts = speaker(language), []
    for title, kinds in (
        ("error_chart", {"train_error": "train", "val_error": "val", "watched_test_error": "watched_line"}),
        ("loss_chart", {"train_loss": "train", "val_loss": "val"}),
    ):
        drawn, keys = [], []
        for colour, (name, label) in enumerate(kinds.items(), 1):
            points = [(r["epoch"] + 1, r[name]) for r in run.epochs if r.get(name) is not None]
            if points:
                drawn.append(figures.Line(figures.thinned(points), colour))
                keys.append({"name": t(label), "colour": colour, "dotted": False})
        if drawn:
            charts.append((title, figures.lines(title, drawn, zero=title == "error_chart"), keys, "by_epoch"))
    if rates := [(record["update"], record["rate"]) for record in run.updates]:
        line = figures.Line(figures.thinned(rates), 4, marks=False)
        charts.append(("rate_chart", figures.lines("rate_chart", [line], zero=True), [], "by_update"))
    return charts


def _test(test: Test) -> dict[str, Any]:
    """What the sections on classes, confusions, calibration and mistakes show."""
    confusion = test.confusion
    return {
        "rows": tables.class_rows(test.facts["per_class"], confusion),
        "heat": _heat(confusion) if len(confusion) <= _HEAT else [],
        "turned": max(map(len, test.classes)) > 3,
        "confusions": tables.confusions(test.classes, confusion),
        "reliability": _reliability(test.facts.get("calibration") or {}),
        "pictures": [{**row, "tiny": _side(row["png"]) < 100, "source": _source(row["png"])} for row in test.mistakes],
    }


def _heat(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    return [
        [
            {"count": n, "share": n / max(sum(row), 1), "kind": "hit" if i == j else "miss"}
            for j, n in enumerate(row)
        ]
        for i, row in enumerate(confusion)
    ]  # fmt: skip


def _reliability(found: dict[str, Any]) -> list[tuple[str, Markup, float]]:
    shown = [("before", "bins", "ece")] if "bins" in found else []
    if found.get("temperature", 1) != 1 and "bins_calibrated" in found:
        shown.append(("after", "bins_calibrated", "ece_calibrated"))
    return [(title, figures.reliability(title, found[bins]), found[ece]) for title, bins, ece in shown]


def _source(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _side(png: bytes) -> int:
    """Width in pixels, from the header."""
    return int.from_bytes(png[16:20], "big")


def _commands(folder: Path, finished: bool, language: str) -> list[tuple[str, str]]:
    """What to type next, and the key of what it does."""
    other = "en" if language == "zh" else "zh"
    run, beside = (shlex.quote(str(place)) for place in (folder, folder.parent))
    use = [
        (f"resnets predict {run} PICTURE…", "next_predict"),
        (f"resnets serve {run}", "next_serve"),
        (f"resnets evaluate {run} --data DATA", "next_evaluate"),
        (f"resnets describe {run}", "next_describe"),
        (f"resnets report {run} --language {other}", "next_report"),
        (f"resnets report {beside}", "next_compare"),
    ]
    return use if finished else [(f"resnets resume {run}", "next_resume"), *use[3:]]
