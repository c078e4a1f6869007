"""Several processes train and test as one: the same losses, the same figures, one end for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EQUAL = 50  # updates whose losses are compared, at a low rate: at 0.02 rounding grows to 0.002 on some processors


def together(out, *trials, timeout=200):
    """The answers of TRIALS, run by a driver that imports torch once."""
    done = subprocess.run(
        [sys.executable, HERE / "ranks.py", out],
        input=json.dumps(trials), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_two_ranks_of_64_are_one_process_with_ghost_batches_of_64(tmp_path):
    changes = {"batch_size": 128, "updates": EQUAL, "ghost_batch": 64, "lr": 0.001}
    one, two, other = together(
        tmp_path,
        {"name": "losses", "processes": 1, "count": EQUAL, "changes": changes},
        {"name": "losses", "processes": 2, "count": EQUAL, "changes": changes},
        {"name": "losses", "processes": 1, "count": EQUAL, "changes": {**changes, "ghost_batch": 0}},
    )
    assert len(one[0]) == EQUAL
    assert two[0] == two[1]
    assert two[0] == pytest.approx(one[0], abs=1e-5)
    assert other[0] != pytest.approx(one[0], abs=1e-3)  # without ghost batches it is another computation


def test_stopping_dying_resuming_and_testing(tmp_path):
    whole = {"name": "run", "processes": 2, "changes": {}}
    test = {"name": "evaluate", "model": str(tmp_path / "plain"), "data": "digits", "protocol": "shifts"}
    thin = {"batch_size": 1000, "micro_batch": 64, "epochs": 1}  # the second process gets nothing of the last batch
    plain, stopped, resumed, killed, again, alone, parts, *tests = together(
        tmp_path,
        {**whole, "folder": "plain"},
        {**whole, "folder": "stopped", "fault": {"victim": 1, "do": "SIGTERM", "since": 23}},
        {**whole, "folder": "stopped"},
        {**whole, "folder": "killed", "fault": {"victim": 1, "do": "SIGKILL", "since": 23}},
        {**whole, "folder": "killed", "processes": 1},
        {**whole, "folder": "killed"},
        {**whole, "folder": "thin", "changes": thin},
        *({**test, "processes": count} for count in (1, 2, 3)),
    )
    assert [answer["exit"] for answer in plain] == [0, 0]
    assert {answer["exit"] for answer in stopped} == {143}
    assert {answer["updates"] for answer in stopped} == {23}  # both ended after the same update
    assert resumed[0]["error"] == plain[0]["error"]
    assert bits(tmp_path / "stopped") == bits(tmp_path / "plain")
    assert killed[1] is None
    assert killed[0]["exit"] == 5
    assert "process 0 lost process 1, which has ended" in killed[0]["message"]
    assert again[0]["exit"] == 0
    sorted_together = [
        sorted(first + second) for first, second in zip(*(answer["drawn"] for answer in plain), strict=True)
    ]
    assert [sorted(drawn) for drawn in again[0]["drawn"]] == sorted_together[20:]  # every sample once
    assert "processes was 2, is 1: the result may differ in the last bits" in again[0]["said"]
    assert alone[0]["error"] == again[0]["error"]  # a finished run is not run again
    assert {len(answer["drawn"]) for answer in alone} == {0}
    assert [[len(drawn) for drawn in answer["drawn"]] for answer in parts] == [[500, 259], [500, 0]]
    assert {answer["exit"] for answer in parts} == {0}
    figures = [answer for answers in tests for answer in answers]
    assert len(figures) == 6
    assert all(figure == figures[0] for figure in figures)  # to the last bit, whoever tested which batch
    assert figures[0]["images"] == 359


def bits(run):
    """The bytes of what a run leaves."""
    newest = max((run / "checkpoints").glob("step-*"))
    return [(newest / name).read_bytes() for name in ("model.safetensors", "ema.safetensors", "optim.safetensors")]


def test_processes_on_one_machine_listen_on_loopback_only(tmp_path):
    found = together(tmp_path, {"name": "listeners", "processes": 2})[0]
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert set(found[1]) <= loopback  # process 0 also holds torchrun's store, whose address is torchrun's choice


@pytest.mark.slow
def test_torchrun_learns_digits(tmp_path):
    """The command of docs/scaling.md; one process and two reach 98 %."""
    for processes in (1, 2):
        run = tmp_path / str(processes)
        launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        subprocess.run(
            [*launch, "-m", "resnets", "train", "digits", "--out", run],
            check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
        )  # fmt: skip
        assert json.loads((run / "result.json").read_text())["test_error"] <= 2
