"""The figures of reports: plain values to plain rows."""

import json
import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ..errors import UsageError
from ..recipe import Recipe, from_json
from ..recipes import RECIPES, recipe
from .language import speaker


def seeds_summary(errors: Sequence[float]) -> dict[str, float | None]:
    """Best, median, mean and sample standard deviation (n - 1; None for one run) of runs that differ in their seed.

    He2015 table 6 gives best (mean ± deviation) of 5 runs, he2016 the median of 5.
    """
    return {
        "best": min(errors),
        "median": statistics.median(errors),
        "mean": statistics.fmean(errors),
        "deviation": statistics.stdev(errors) if len(errors) > 1 else None,
    }


def class_rows(per_class: Sequence[dict[str, Any]], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """A row per class that has images or answers, the weakest first, with what it was most often taken for."""
    rows = []
    for i, row in enumerate(per_class):
        wrong = [(n, -j) for j, n in enumerate(confusion[i]) if n and i != j] if confusion else []
        times, place = max(wrong, default=(0, 0))
        taken_for = (per_class[-place]["class"], times) if times else None
        if row["images"] or row["precision"] is not None:
            rows.append({**row, "taken_for": taken_for})
    return sorted(rows, key=lambda row: math.inf if row["recall"] is None else row["recall"])


def confusions(names: Sequence[str], confusion: Sequence[Sequence[int]], most: int = 10) -> list[dict[str, Any]]:
    """The most frequent mistakes: right class, answer, how often, and that as percent of the class."""
    cells = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j]
    cells.sort(key=lambda cell: (-cell[0], cell[1:]))
    return [
        {"class": names[i], "answer": names[j], "times": n, "share": 100 * n / sum(confusion[i])}
        for n, i, j in cells[:most]
    ]


def flat(value: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Nested VALUE with dotted names."""
    rows: dict[str, Any] = {}
    for name, inner in value.items():
        rows |= flat(inner, f"{at}{name}.") if isinstance(inner, dict) else {f"{at}{name}": inner}
    return rows


def changes(given: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, value and the named recipe's own value of every field that differs from it; none for an unknown recipe."""
    with suppress(UsageError, TypeError, ValueError):
        value = from_json(Recipe, given, "recipe")
        if value.name in RECIPES:
            usual = flat(json.loads(json.dumps(asdict(recipe(value.name, value.network, value.data)))))
            mine = flat(given)
            return [(n, mine[n], usual[n]) for n in mine if n != "reasons" and n in usual and mine[n] != usual[n]]
    return []


def differing(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the fields in which flat RECIPES differ, but for the seed, and the reasons, which follow the others."""
    names = dict.fromkeys(name for values in recipes for name in values)
    return [
        name
        for name in names
        if name not in ("seed", "reasons") and any(r.get(name) != recipes[0].get(name) for r in recipes)
    ]


def same_but_seed(recipes: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Places of flat RECIPES in groups that differ only in their seed, in the order of the first of each."""
    groups: dict[str, list[int]] = {}
    for place, values in enumerate(recipes):
        key = json.dumps({n: v for n, v in values.items() if n not in ("seed", "reasons")}, sort_keys=True)
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def duration(seconds: float, language: str = "en") -> str:
    """Seconds as 8 s, 3 min 05 s or 2 h 10 min."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, within = divmod(minutes, 60)
    key = "in_hours" if hours else "in_minutes" if minutes else "in_seconds"
    return speaker(language)(key, hours=hours, minutes=within, seconds=rest)


def shown_value(value: Any) -> str:
    """A recipe's value as a person reads it."""
    if value is None or value == "" or value == []:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
