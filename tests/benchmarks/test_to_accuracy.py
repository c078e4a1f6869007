"""The row of P2 comes from the records of finished runs."""

import json

import pytest

from benchmarks.table import to_accuracy


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([(8.50, 7820, 1100), (8.60, 7820, 1500)], "| 8.2× |  | ≥ 5× in 30 min | ≥ 8× in 20 min | PASS, stretch |"),
        ([(8.50, 7820, 1300)], "PASS |"),
        ([(8.70, 7820, 1300), (8.82, 7820, 1300)], "FAIL |"),
        ([(8.50, 15640, 1300)], "| 4.1× |"),
        ([(8.50, 7820, 1900)], "FAIL |"),
    ],
)
def test_verdicts(runs, told, tmp_path):
    assert to_accuracy(tmp_path) == ""
    for number, (error, updates, seconds) in enumerate(runs):
        folder = tmp_path / f"cifar-quick20-{number}"
        folder.mkdir()
        result = {"test_error": error, "updates": updates, "seconds": seconds}
        (folder / "result.json").write_text(json.dumps(result))
    assert told in to_accuracy(tmp_path)
