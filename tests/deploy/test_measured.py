"""What is measured, what is remembered of it, and who wins; nothing is timed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_bundles import bundle_of, prepared

from resnets.deploy import engines, measured
from resnets.deploy.measured import Measured
from resnets.errors import EnvironmentProblem, NumericError

BASE = Measured("torch", "fp32", 0.5, 0.02, 0.03, 50.0, 0.0, 1.0)
FAST = Measured("torch-folded", "bf16", 3.0, 0.01, 0.02, 200.0, 0.01, 0.99, 92.0, 0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_remembered_comes_back_for_the_nearest_batch_size():
    bundle = bundle_of()
    assert measured.recall(bundle, 16) == []
    measured.remember(bundle, 16, [BASE, FAST])
    measured.remember(bundle, 1, [BASE])
    assert measured.recall(bundle, 32) == [BASE, FAST]
    assert measured.recall(bundle, 2) == [BASE, FAST], "what tells losses comes before the nearest"
    measured.remember(bundle, 1, [BASE, replace(FAST, accuracy=None, lost=None, latency=0.005)])
    assert measured.recall(bundle, 2) == [BASE, replace(FAST, latency=0.005)], "a loss once measured stays known"
    other = replace(bundle, tensors={name: tensor + 1 for name, tensor in bundle.tensors.items()})
    assert measured.recall(other, 16) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: b"",
        lambda facts: b"[1, 2]",
        lambda facts: json.dumps(facts).encode()[:-9],
        lambda facts: json.dumps({**facts, "format": 2}).encode(),
        lambda facts: json.dumps({**facts, "weights": "another's"}).encode(),
        lambda facts: json.dumps({**facts, "machine": {**facts["machine"], "torch": "1.0"}}).encode(),
        lambda facts: json.dumps({**facts, "rows": [{**facts["rows"][0], "latency": "fast"}]}).encode(),
        lambda facts: json.dumps({**facts, "rows": [{**facts["rows"][0], "engine": "abacus"}]}).encode(),
        lambda facts: b"\xff" * 100,
        lambda facts: b"[" * 100_000,
    ],
)
def test_a_damaged_or_foreign_memory_is_none(damage):
    bundle = bundle_of()
    measured.remember(bundle, 16, [BASE])
    path = measured.folder_of(bundle) / "batch-16.json"
    path.write_bytes(damage(json.loads(path.read_bytes())))
    assert measured.recall(bundle, 16) == []
    measured.remember(bundle, 16, [FAST])
    assert measured.recall(bundle, 16) == [FAST]


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    measured.remember(bundle_of(), 16, [BASE])
    assert measured.recall(bundle_of(), 16) == []


def test_the_cache_stands_in_the_users_folder(monkeypatch, tmp_path):
    assert measured.folder_of(bundle_of()).parent == tmp_path / "resnets" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert measured.folder_of(bundle_of()).parent == Path(tmp_path, "home/.cache/resnets/engines")


def test_the_winner_depends_on_how_much_there_is_to_do():
    """0.5 s + n / 50 against 3 s + n / 200: equal at n = 500 / 3."""
    rows = [BASE, FAST]
    assert measured.best(rows, measured.seconds_for(166)) == BASE
    assert measured.best(rows, measured.seconds_for(167)) == FAST
    assert measured.best(rows, lambda row: row.latency) == FAST
    assert measured.best([], lambda row: row.latency) is None


@pytest.mark.parametrize(
    ("precision", "lost", "allowed"),
    [("fp32", None, True), ("bf16", None, False), ("int8", None, False), ("int8", 0.3, True), ("int8", 0.31, False),
     ("bf16", 0.1, True), ("bf16", 0.31, False), ("int8", -0.2, True)],
)  # fmt: skip
def test_who_loses_too_much_cannot_win(precision, lost, allowed):
    row = replace(FAST, precision=precision, lost=lost)
    assert row.allowed is allowed
    assert measured.best([BASE, row], lambda row: row.latency) == (row if allowed else BASE)


def test_the_remembered_winner_is_taken_and_nothing_measured(monkeypatch):
    monkeypatch.setattr(measured, "measure", None)
    measured.remember(prepared().bundle, 16, [BASE, FAST])
    assert str(measured.choose(prepared(), 10_000, 16)) == "torch-folded:bf16"
    assert str(measured.choose(prepared(), 1, 16)) == "torch:fp32"


def test_what_is_measured_is_remembered(monkeypatch):
    monkeypatch.setattr(measured, "ENGINES", engines.ENGINES[:3])
    chosen = measured.choose(prepared(), 100, 4, seconds=0.001)
    rows = measured.recall(prepared().bundle, 4)
    assert [f"{row.engine}:{row.precision}" for row in rows] == ["torch:fp32", "torch-folded:fp32"]
    assert chosen in engines.ENGINES[:3]
    assert all(row.latency <= row.latency_p90 and row.accuracy is None for row in rows)


def test_int8_whose_files_are_gone_is_not_chosen():
    measured.remember(prepared().bundle, 16, [BASE, replace(FAST, engine="openvino", precision="int8")])
    assert str(measured.choose(prepared(), 10_000, 16)) == "torch:fp32"


def test_engines_take_turns_in_rotated_order():
    calls = []
    runs = [lambda x, name=name: calls.append(name) for name in "abc"]
    times = measured.race(runs, np.zeros(1), 0)
    assert "".join(calls) == "aabbccbbccaaccaabb" * 3 + "aabbcc", "a call that is not timed, then one that is"
    assert [len(each) for each in times] == [10, 10, 10]
    assert measured.race([], np.zeros(1), 0) == []


def test_an_engine_that_cannot_is_left_out_with_its_reason():
    def stop(error):
        def start(prepared, precision, batch):
            raise error

        return replace(engines.ENGINES[0], name="broken", start=start)

    def alone(prepared, precision, batch):
        if batch == 1:
            raise NumericError("far alone")
        return engines.ENGINES[0].start(prepared, precision, batch)

    single = replace(engines.ENGINES[0], name="single", start=alone)
    gone = replace(engines.ENGINES[0], name="gone", needs=("no_such_package",), extra="onnx")
    tried = [engines.ENGINES[0], stop(EnvironmentProblem("no")), stop(NumericError("far")), single, gone]
    *started, row = measured.measure(prepared(), tried, 2, 0.001)
    assert [one.reason for one in started[1:]] == [
        "no",
        "far",
        "far alone",
        'no_such_package not installed; run: pip install "resnets[onnx]"',
    ]
    assert (row.engine, row.difference, row.agreement) == ("torch", 0, 1)


@pytest.mark.parametrize("times", [25, 24])
def test_accuracy_and_what_is_lost_by_hand(times):
    """Of four images of class 0 the reference is right on three and the engine on two; below 100 nothing is told."""
    from resnets.deploy.compare import Difference
    from resnets.deploy.pictures import Pictures

    reference, scores = (np.eye(2, dtype=np.float32)[answers * times] for answers in ([0, 0, 0, 1], [0, 1, 0, 1]))
    views, lost = np.zeros((4 * times, 1, 1, 3), np.uint8), 25.0 if times == 25 else None
    started = engines.Started(engines.ENGINES[0], len, 0.0, Difference(0, 0, 4 * times), scores)
    for labels, accuracy in ((np.zeros(4 * times, np.int64), 50.0), (None, None)):
        pictured = engines.Prepared(bundle_of(), Pictures("four", views, labels, views[:0]))
        pictured.reference = reference
        assert measured._accuracy(started, pictured) == (accuracy, lost)
    assert measured._accuracy(started, prepared()) == (None, None)
