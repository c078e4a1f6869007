"""The figures of reports, by hand."""

import json
import math

import pytest

from resnets.evaluation.metrics import interval
from resnets.families import network
from resnets.recipe import as_json, change
from resnets.recipes import recipe
from resnets.report.tables import (
    changes,
    class_rows,
    confusions,
    differing,
    flat,
    same_but_seed,
    seeds_summary,
    shown_value,
)


def test_seeds():
    assert seeds_summary([7.0, 6.0, 8.0, 6.5]) == {
        "best": 6.0,
        "median": 6.75,
        "mean": 6.875,
        "deviation": pytest.approx(math.sqrt((0.125**2 + 0.875**2 + 1.125**2 + 0.375**2) / 3)),
    }
    assert seeds_summary([6.43]) == {"best": 6.43, "median": 6.43, "mean": 6.43, "deviation": None}


def test_wilson():
    """81 of 263: Newcombe 1998 (Statistics in Medicine 17, table I, method 3), and the ends of the scale."""
    assert interval(81, 263) == pytest.approx((25.53, 36.62), abs=0.005)
    assert interval(15, 148) == pytest.approx((6.24, 16.05), abs=0.005)
    assert interval(0, 20) == pytest.approx((0.0, 16.11), abs=0.005)
    assert interval(29, 29) == pytest.approx((100 - 11.70, 100.0), abs=0.005)


MATRIX = [[3, 1, 0], [2, 0, 2], [0, 0, 0]]


def row(name, images, mistakes, recall, precision):
    return {"class": name, "images": images, "mistakes": mistakes, "recall": recall, "precision": precision}


def test_weakest_class_first():
    per_class = [row("a", 4, 1, 75.0, 60.0), row("b", 4, 4, 0.0, 0.0), row("c", 0, 0, None, 0.0)]
    rows = class_rows(per_class, MATRIX)
    assert [(r["class"], r["taken_for"]) for r in rows] == [("b", ("a", 2)), ("a", ("b", 1)), ("c", None)]
    assert class_rows([row("c", 0, 0, None, None)], []) == []
    assert class_rows(per_class, [])[0]["taken_for"] is None


def test_confusions():
    assert [tuple(r.values()) for r in confusions("abc", MATRIX)] == [
        ("b", "a", 2, 50.0),
        ("b", "c", 2, 50.0),
        ("a", "b", 1, 25.0),
    ]
    assert len(confusions("abc", MATRIX, most=1)) == 1
    assert confusions("ab", [[3, 0], [0, 1]]) == []


def stored(value):
    return json.loads(json.dumps(as_json(value)))


def test_what_differs_from_the_named_recipe():
    base = recipe("quick", network("cifar_resnet8"), "digits")
    assert changes(stored(base)) == []
    given = stored(change(base, lr=0.05, flip="none", seed=3))
    found = [("seed", 3, 0), ("augmentation.flip", "none", "alternating"), ("training.lr", 0.05, 0.4)]
    assert changes(given) == found
    assert changes(stored(change(base, active_units=2))) == [("training.active_units", 2, 0)]
    assert changes(given | {"name": "mine"}) == []
    assert changes({"name": "quick"}) == []
    assert flat({"a": {"b": 1, "c": {"d": []}}, "e": 2}) == {"a.b": 1, "a.c.d": [], "e": 2}


def test_groups_of_runs():
    recipes = [{"seed": s, "lr": lr, "n": 1, "reasons": [s]} for s, lr in ((0, 1), (1, 2), (2, 1), (3, 2))]
    assert differing(recipes) == ["lr"]
    assert same_but_seed(recipes) == [[0, 2], [1, 3]]
    assert differing([*recipes, {"lr": 1, "n": 1, "old": 0}]) == ["lr", "old"]
    assert differing([]) == same_but_seed([]) == []


def test_values():
    assert [shown_value(v) for v in (None, "", [], [1, 2], 0.1, True, "cafe", 0)] == [
        "–", "–", "–", "[1, 2]", "0.1", "true", "cafe", "0",
    ]  # fmt: skip
