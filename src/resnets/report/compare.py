"""Several runs and tests on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import UsageError, safe_text
from . import figures, tables
from .page import render, test_row
from .reading import Damaged, Run, Test, read

Found = Run | Test | Damaged


def find(folder: Path) -> list[Found]:
    """The run or test that FOLDER is, else those right below it, by name. Raises UsageError where there is none."""
    for place in ([folder], sorted(folder.iterdir())):
        found = [one for path in place if path.is_dir() and (one := read(path))]
        if found:
            return found
    raise UsageError(f"{safe_text(str(folder))} holds no run and no test; make one with: resnets train digits")


def write(found: Sequence[Found], out: Path, language: str = "en") -> dict[str, Any]:
    """Write a comparison to OUT; answers what stands in it: `runs`, `groups` of them, `tests`, and who is `left_out`.

    Raises UsageError where nothing is left to compare.
    """
    left_out = [one for one in found if isinstance(one, Damaged)]
    if left_out and len(left_out) == len(found):
        raise UsageError(left_out[0].reason)
    runs = [one for one in found if isinstance(one, Run)]
    tests = [{**test_row(one), "folder": str(one.folder)} for one in found if isinstance(one, Test)]
    named = all(run.network != "custom" for run in runs)  # else the fields of the network tell them apart
    recipes = [tables.flat(run.recipe | ({"network": run.network} if named else {})) for run in runs]
    fields = tables.differing(recipes)
    labels = ["recipe" if name == "name" else name.rpartition(".")[2] for name in fields]
    groups = tables.same_but_seed(recipes)
    colours = {place: number for number, group in enumerate(groups, 1) for place in group}
    rows = [
        _row(run, values, fields) | {"colour": (colours[place] - 1) % figures.COLOURS + 1}
        for place, (run, values) in enumerate(zip(runs, recipes, strict=True))
    ]
    summaries = [_group([rows[place] for place in group]) for group in groups]
    curves_of = "val" if any("val_error" in r for run in runs for r in run.epochs) else "test"
    context = {
        "left_out": [one.reason for one in left_out],
        "runs": rows,
        "groups": summaries,
        "balanced": any(row["balanced_accuracy"] is not None for row in rows),
        "tests": tests,
        "models": True,
        "fields": labels,
        "several_data": "data" in fields,
        "curves": _curves(runs, [row["colour"] for row in rows], curves_of),
        "curves_of": curves_of,
        "keys": _keys(labels, summaries),
    }
    render("comparison", out, language, context)
    return {
        "runs": [_told(row, fields) for row in rows],
        "groups": [_told(group, fields) for group in summaries],
        "tests": tests,
        "left_out": [{"folder": str(one.folder), "reason": one.reason} for one in left_out],
    }


def _told(row: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """A row for programs: values by field, no colour."""
    told = {name: value for name, value in row.items() if name != "colour"}
    return told | {"values": dict(zip(fields, row["values"], strict=True))}


def _row(run: Run, values: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    figures = ("test_error", "val_error", "balanced_accuracy", "seconds", "images_per_second")
    return {
        "run": str(run.folder),
        "name": run.folder.name,
        "values": [values.get(name) for name in fields],
        "seed": run.recipe.get("seed"),
        "finished": run.result is not None,
        **{name: getattr(run.result, name, None) for name in figures},
    }


def _group(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Runs that differ only in their seed: test errors where every finished one has one, else validation errors."""
    finished = [row for row in rows if row["finished"]]
    group: dict[str, Any] = {"colour": rows[0]["colour"], "values": rows[0]["values"], "runs": len(rows), "kind": None}
    for kind in ("test", "val"):
        errors = [row[f"{kind}_error"] for row in finished]
        if errors and None not in errors:
            return {**group, "runs": len(errors), "kind": kind, **tables.seeds_summary(errors)}
    return group


def _curves(runs: Sequence[Run], colours: Sequence[int], kind: str) -> Markup | None:
    drawn = []
    for run, colour in zip(runs, colours, strict=True):
        for name, dotted in (("train_error", True), ("val_error" if kind == "val" else "watched_test_error", False)):
            points = [(r["epoch"] + 1, r[name]) for r in run.epochs if r.get(name) is not None]
            if points:
                drawn.append(figures.Line(figures.thinned(points), colour, dotted, marks=False))
    return figures.lines("curves", drawn, zero=True, size=(6.6, 3.2)) if drawn else None


def _keys(labels: Sequence[str], groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each colour means: the values in which its runs differ from the others."""
    told = [", ".join(f"{n} {tables.shown_value(v)}" for n, v in zip(labels, g["values"], strict=True)) for g in groups]
    return [
        {"name": name, "colour": group["colour"], "dotted": False}
        for name, group in zip(told, groups, strict=True)
        if name
    ]
