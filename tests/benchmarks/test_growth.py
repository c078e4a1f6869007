"""The page on how cost grows: medians of a record, the picture, and sums that can be checked."""

import json

import pytest

from benchmarks import growth
from resnets.errors import UsageError


def case(title, *arms):
    """A case whose arms are (name, work, seconds of three rounds)."""
    found = {
        name: {"rounds": [{"work": work, "seconds": s, "bytes": 3 << 20} for s in seconds]}
        for name, work, seconds in arms
    }
    first = next(iter(found))
    return {
        "case": title,
        "arms": {**found, f"{first} (twin)": found[first]},
        "rows": [{"goal": "P15", "verdict": "PASS"}],
    }


IMAGES = case("prediction against images", ("100 images", 100, [1, 9, 2]), ("1000 images", 1000, [20, 20, 20]))
PIXELS = case("prediction against pixels a side", ("112 side", 1, [1] * 3), ("224 side", 4, [8] * 3))


def test_points_are_medians_without_the_twin():
    assert growth.points(IMAGES) == [("100 images", 100, 2, 3.0), ("1000 images", 1000, 20, 3.0)]


def test_the_arithmetic_is_that_of_the_last_point():
    lines = growth.arithmetic({each["case"]: growth.points(each) for each in (IMAGES, PIXELS)})
    assert "20.0 ms each" in lines[0]
    assert f"{0.02 * 1e9 / 86400:,.0f} days" in lines[0]
    assert "0.0200 s × 50,000 = 17 min" in lines[1]
    assert "3.000 s an image; × 1,281,167 × 90 epochs = 4,004 days" in lines[2]


def test_the_page_is_made_from_the_newest_record(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    with pytest.raises(UsageError, match="no record has P15"):
        growth.write(tmp_path)
    for date, seconds in (("2026-01-02", 5), ("2026-01-01", 7)):
        made = case("training step against batch", ("a", 1, [1]), ("b", 2, [seconds]))
        machine = {"cores": 2, "cpu": "A"}
        text = json.dumps({"date": date, "quick": False, "machine": machine, "cases": [made]})
        (tmp_path / f"results/{date}.json").write_text(text)
    growth.write(tmp_path)
    page = (tmp_path / "growth.md").read_text()
    assert "| b | 5 | 5.00 | 2.00 | 3 |" in page
    assert "`2026-01-02`: 2 cores, A." in page
    assert (tmp_path / "growth.svg").read_text().count("<svg") == 1
