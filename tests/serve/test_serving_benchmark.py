"""What the benchmark of the server makes of its measurements."""

import pytest

from benchmarks.clients import Asked, Health, percentile, request, told
from benchmarks.measures import compared
from benchmarks.serving import GOAL, pictures_of, same, told_of, void, wrong
from benchmarks.table import line as table_line
from resnets.errors import DataError


def asked(number, probability, status=200, seconds=0.01):
    classes = [{"name": "a", "probability": probability}, {"name": "b", "probability": 1 - probability}]
    return Asked(number, status, seconds, {"classes": classes} if status == 200 else {"error": "busy"})


def test_an_answer_is_compared_class_by_class():
    expected = [[0.7, 0.3], [0.3, 0.7]]
    assert same(asked(0, 0.70009), expected[0], ("a", "b"))
    assert not same(asked(0, 0.7002), expected[0], ("a", "b"))
    assert not same(asked(0, 0.7), [0.7, 0.2, 0.1], ("a", "b", "c"))
    assert wrong([asked(0, 0.7), asked(1, 0.7), asked(1, 0.3), asked(1, 0.3, 503)], expected, ("a", "b")) == 2


def test_figures():
    assert [percentile(range(100), percent) for percent in (0, 50, 99, 100)] == [0, 50, 99, 99]
    found = told([asked(0, 0.7, seconds=n / 1000) for n in range(1, 4)] + [asked(0, 0.7, 503, 9)], 2)
    assert found == {"images_per_second": 1.5, "p50": 2, "p99": 3, "statuses": {"200": 3, "503": 1}}


def test_a_record_is_told_and_stands_in_the_table():
    arms = {name: {"package": "resnets", "engine": "e:fp32", "rounds": [{"seconds": s}] * 10}
            for name, s in (("server", 1 / 93), ("offline loop", 1 / 100))}  # fmt: skip
    row = compared(GOAL, arms)
    case = {
        "case": "server, n on photographs", "arms": arms, "rows": [row], "wrong": 0,
        "server": {"images_per_second": 93.0, "p50": 1.0, "p99": 2.0}, "health": {"max": 12.3},
    }  # fmt: skip
    assert "93.0 images/s, 0.930 of the offline loop (0.930 - 0.930, wanted 0.90: PASS); p50 1 ms" in told_of(case)
    assert "| server (e:fp32, resnets 1) | offline loop (e:fp32, resnets 1) | speed | 0.93×" in table_line(
        case, row, {"resnets": "1"}
    )
    assert compared(GOAL, arms, "3 wrong answers")["verdict"] == "VOID"


def test_speed_counts_only_with_right_answers_and_health():
    assert void(0, Health([0.01, 0.25])) == ""
    assert void(3, Health([0.01, 0.251], [503])) == (
        "3 wrong answers; 1 looks at its health failed; its health came after 251 ms"
    )


def test_pictures_are_spread_over_the_folder(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    assert pictures_of(tmp_path, 5) == [b"\0", b"\2", b"\4", b"\6", b"\x08"]
    assert len(pictures_of(tmp_path, 99)) == 10
    with pytest.raises(DataError, match="no pictures"):
        pictures_of(tmp_path / "none", 1)


def test_a_request_is_whole():
    assert request(b"abc", "?top=1").split(b"\r\n\r\n")[1] == b"abc"
    assert b"POST /predict?top=1 HTTP/1.1\r\n" in request(b"abc", "?top=1")
    assert b"Content-Length: 3\r\n" in request(b"abc")
