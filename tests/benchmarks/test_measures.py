"""What a benchmark says of given seconds. Nothing is timed here."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import goals, machine, table
from benchmarks.__main__ import chosen, listing
from benchmarks.case import Arm, Case, Comparison
from benchmarks.measures import MEASURES, compared, interval, twin_ratio
from benchmarks.turns import checked, rotated, run
from resnets.errors import UsageError


def arm(*seconds, **more):
    return {"setup": 1.0, "first": 2.0, "rounds": [{"seconds": s, "bytes": 4 << 20} for s in seconds], **more}


def row(ours, peers, comparison=("speed", 2.0, 3.0), void=""):
    arms = {"ours": ours, **peers}
    return compared(Comparison("P0", "ours", tuple(peers), *comparison), arms, void)


def test_ratio_is_taken_per_round():
    """The machine slows down tenfold half-way: medians of seconds would say 2.75, every round says 2."""
    found = row(arm(*[1.0] * 5, *[10.0] * 5), {"peer": arm(*[2.0] * 5, *[20.0] * 5)})
    assert found["values"] == [2.0] * 10
    assert (found["value"], found["interval"], found["verdict"]) == (2.0, (2.0, 2.0), "PASS")


@pytest.mark.parametrize(
    ("measure", "bar", "stretch", "peer", "verdict"),
    [
        ("speed", 2.0, 3.0, 1.99, "FAIL"),
        ("speed", 2.0, 3.0, 2.0, "PASS"),
        ("speed", 2.0, 3.0, 3.0, "PASS, stretch"),
        ("time", 0.5, 0.25, 1.9, "FAIL"),
        ("time", 0.5, 0.25, 2.0, "PASS"),
        ("time", 0.5, 0.25, 4.0, "PASS, stretch"),
        ("time", None, None, 4.0, "–"),
        ("memory", 1.0, None, 1.0, "PASS"),
        ("memory", 0.99, None, 1.0, "FAIL"),
    ],
)
def test_verdict(measure, bar, stretch, peer, verdict):
    assert row(arm(*[1.0] * 10), {"peer": arm(*[peer] * 10)}, (measure, bar, stretch))["verdict"] == verdict


def test_the_fastest_peer_counts():
    found = row(arm(*[1.0] * 10), {"slow": arm(*[9.0] * 10), "fast": arm(*[1.5] * 10)})
    assert (found["peer"], found["value"]) == ("fast", 1.5)


def test_points_lost_are_those_of_the_test_error():
    ours, peer = arm(*[1.0] * 10), arm(*[5.0] * 10)
    for figures, error in ((ours, 8.5), (peer, 8.25)):
        figures["rounds"] = [each | {"test_error": error} for each in figures["rounds"]]
    found = row(ours, {"peer": peer}, ("points lost", 0.3, None))
    assert (found["value"], found["verdict"]) == (0.25, "PASS")
    comparison = Comparison("P0", "ours", ("peer",), "points lost", 0.3)
    differs = compared(comparison, {"ours": ours, "peer": peer}, twin=1.04)
    assert differs["verdict"] == "PASS", "it does not come from seconds"


def test_what_gives_no_verdict():
    ours, peer = arm(*[1.0] * 10), arm(*[5.0] * 10)
    assert row(ours, {"peer": peer}, void="the reference fails")["verdict"] == "VOID"
    wrong = row({**ours, "wrong": "outputs differ by 0.2"}, {"peer": peer})
    assert (wrong["verdict"], wrong["reason"]) == ("VOID", "ours: outputs differ by 0.2")
    few = row(arm(*[1.0] * 9), {"peer": arm(*[5.0] * 9)})
    assert (few["verdict"], few["reason"]) == ("–", "9 rounds")
    lost = row(ours, {"peer": peer, "gone": {"error": "not installed", "rounds": []}})
    assert (lost["verdict"], lost["reason"]) == ("not measured", "gone: not installed")
    assert "value" not in lost


def test_twin():
    assert twin_ratio(arm(1.0, 1.0, 1.0)["rounds"], arm(1.01, 1.02, 9.0)["rounds"]) == 1.02


@pytest.mark.parametrize(("twin", "reason"), [(1.02, ""), (1.04, "differs by +4.0 %"), (0.96, "differs by -4.0 %")])
def test_a_twin_that_moves_the_value_makes_it_void(twin, reason):
    comparison = Comparison("P0", "ours", ("peer",), "speed", 2.0)
    found = compared(comparison, {"ours": arm(*[1.0] * 10), "peer": arm(*[5.0] * 10)}, twin=twin)
    assert found["verdict"] == ("VOID" if reason else "PASS")
    assert found["reason"].endswith(reason)


@pytest.mark.parametrize(("layers", "verdict"), [(1202, "PASS"), (28, "VOID")])
def test_a_twin_moves_an_exponent_by_its_logarithm(layers, verdict):
    """1.04 over 60 times the depth is 0.01 of an exponent, over 1.4 times 0.12."""
    first, last = ({"rounds": [{"seconds": n / 20, "work": n}] * 10} for n in (20, layers))
    comparison = Comparison("P0", "last", ("first",), "exponent of the time", 1.1)
    assert compared(comparison, {"first": first, "last": last}, twin=1.04)["verdict"] == verdict


def test_exponent_of_a_square_is_two():
    figures = [{"seconds": 3.0 * work**2, "work": work} for work in (10, 70)]
    assert MEASURES["exponent of the time"].of(figures[1], figures[0]) == pytest.approx(2.0)


def test_interval_covers_the_median_as_often_as_it_says():
    """Of 400 samples of 15 from a skewed distribution; the percentile bootstrap of a median is a little too wide."""
    generator = np.random.default_rng(1)
    spans = [interval(sample, 400) for sample in generator.lognormal(size=(400, 15))]
    assert 0.91 <= np.mean([low <= 1.0 <= high for low, high in spans]) <= 0.99


def test_order_is_rotated_in_steps_of_another_length():
    assert [rotated("abc", turn) for turn in range(4)] == [list("abc"), list("bac"), list("cab"), list("acb")]
    assert (rotated("a", 5), rotated("", 2), rotated("ab", 3)) == (["a"], [], list("ba"))
    names = "abcdefghi"
    before = {name: set() for name in names}
    for turn in range(10):
        order = rotated(names, turn)
        assert sorted(order) == list(names)
        for one, other in pairwise(order):
            before[other].add(one)
    assert min(map(len, before.values())) >= 5, "what ran before is another arm nearly every time"


def test_outputs_are_checked():
    right = np.array([[1.0, -4.0, 2.0], [3.0, 0.0, 1.0]])
    near = right + np.array([[0, 0, 0], [0, 0.2, 0]])
    assert checked(near, right, 0.051) == {"difference": pytest.approx(0.05), "agreement": 100.0}
    assert "wrong" in checked(near, right, 0.049)
    assert checked(right[:, ::-1], right, None)["agreement"] == 0.0
    assert "wrong" in checked(right * np.nan, right, None)
    assert "wrong" in checked(right[:1], right, None)


def test_processes_take_turns_and_failures_are_told():
    """Real processes: arms of the probes' module take milliseconds, and one cannot be made."""
    arms = {
        "one": Arm("counting:counts", {"start": 0}, "numpy", 0.1),
        "other": Arm("counting:counts", {"start": 1}, "numpy", 0.1),
        "broken": Arm("counting:fails"),
    }
    pairs = (Comparison("P0", "other", ("one",)), Comparison("P0", "other", ("broken",)))
    found = run(Case("a case", arms, pairs, seconds=0), 3)
    counts = {name: [figures["count"] for figures in found["arms"][name]["rounds"]] for name in found["arms"]}
    assert counts == {"one": [2, 3, 4], "other": [3, 4, 5], "broken": [], "one (twin)": [2, 3, 4]}
    assert found["arms"]["broken"]["error"] == "ValueError: no such thing"
    assert found["arms"]["other"]["wrong"] == "outputs differ by 1, at most 0.1"
    assert [each["verdict"] for each in found["rows"]] == ["VOID", "not measured"]
    json.dumps(found, allow_nan=False)


def test_goals():
    everything = chosen([], quick=False)
    judged = {c.goal for case in everything for c in case.comparisons if c.bar is not None}
    assert judged == {f"P{n}" for n in (1, 3, 4, 5, 6, 7, 8, 15)}
    assert judged | set(goals.NOT_MEASURED) == {f"P{n}" for n in range(1, 16)}
    assert {c.goal for case in chosen([], quick=True) for c in case.comparisons} == judged
    for case in everything:
        assert "{" not in case.title
        assert isinstance(case.amount, int)
        for comparison in case.comparisons:
            assert {comparison.ours, *comparison.peers} <= set(case.arms)
            assert comparison.measure in MEASURES
    [case] = chosen(["P7"], quick=False)
    assert listing([case]).startswith("P7: CIFAR-10 crops")
    bf16 = chosen(["P4"], quick=True)[0]
    assert list(bf16.arms) == ["torchvision eager", "ours bf16"]  # a quick run leaves out what has no bar


@pytest.mark.parametrize(("goal", "said"), [("P9", "no GPU"), ("P77", "P77")])
def test_unknown_goals_are_refused(goal, said):
    with pytest.raises(UsageError, match=said):
        chosen([goal], quick=False)


def test_less_memory_means_a_smaller_case(monkeypatch):
    for free, batch in ((1 << 50, 128), (1 << 30, 32)):
        monkeypatch.setattr("benchmarks.case.free_memory", lambda free=free: free)
        [case] = chosen(["P8"], quick=False)
        assert {each.options["batch"] for each in case.arms.values()} == {batch}
        assert f"batch {batch}" in case.title


def record(date, value, quick=False, case="a | case"):
    arms = {"ours": arm(*[1.0] * 10, package="resnets"), "peer": arm(*[value] * 10, package="openvino", engine="")}
    comparison = Comparison("P4", "ours", ("peer",), "speed", 2.5, 2.8)
    rows = [compared(comparison, arms)]
    facts = {"cpu": "a processor", "cores": 2, "memory_gib": 8.0}
    probes = [{"fp32_gflops": 180.0}, {"fp32_gflops": 90.0}]
    versions = {"openvino": "2026.4", "resnets": "0.1"}
    cases = [{"case": case, "arms": arms, "rows": rows}]
    return {"date": date, "quick": quick, "machine": facts, "versions": versions, "probes": probes, "cases": cases}


def test_table_has_the_newest_record_of_every_case(tmp_path):
    for name, made in (
        ("b", record("2026-01-02-0000", 2.6)),
        ("a", record("2026-01-01-0000", 9.0)),
        ("c", record("2026-01-03-0000", 8.0, quick=True)),
        ("d", record("2026-01-01-0000", 3.0, case="another")),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    made = table.table(table.records(tmp_path))
    rows = [line for line in made.splitlines() if line.startswith("| P4 ")]
    assert sorted(rows) == [
        "| P4 | a / case | ours (resnets 0.1) | peer (openvino 2026.4) | speed | 2.6× | 2.6 – 2.6 | ≥ 2.5 | ≥ 2.8 "
        "| PASS | 3.0 s; 3.0 s |",
        "| P4 | another | ours (resnets 0.1) | peer (openvino 2026.4) | speed | 3× | 3 – 3 | ≥ 2.5 | ≥ 2.8 "
        "| PASS, stretch | 3.0 s; 3.0 s |",
    ]
    assert len([line for line in made.splitlines() if "not measured: no GPU" in line]) == 5
    assert "fp32_gflops 180 → 90" in made
    assert len({line.count("|") for line in made.splitlines() if line.startswith("|")}) == 1
    goals_in_order = [int(n) for n in re.findall(r"^\| P(\d+)", made, re.MULTILINE)]
    assert goals_in_order == sorted(goals_in_order)


def test_table_keeps_what_was_measured_and_tells_intervals_that_cross_the_bar(tmp_path):
    made, failed = record("2026-01-01-0000", 2.6), record("2026-01-02-0000", 2.6)
    made["cases"][0]["rows"][0]["interval"] = [2.4, 2.7]
    for row in failed["cases"][0]["rows"]:
        row |= {"verdict": "not measured", "reason": "ours: out of memory"}
        del row["value"]
    for name, each in (("a", made), ("b", failed)):
        (tmp_path / f"{name}.json").write_text(json.dumps(each))
    (row,) = [line for line in table.table(table.records(tmp_path)).splitlines() if line.startswith("| P4 ")]
    assert "| 2.6× | 2.4 – 2.7 |" in row
    assert "| PASS: the interval crosses the bar |" in row


def test_text_around_the_table_stays():
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.placed(page, "new", "page.md")
    assert once == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    assert table.placed(once, "new", "page.md") == once
    with pytest.raises(UsageError, match=r"page\.md has no lines"):
        table.placed("before\nafter\n", "new", "page.md")


def test_machine_is_told():
    facts = machine.machine()
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert machine.versions()["numpy"] == np.__version__
