"""One of several processes dies, hangs, fails or drifts: all end at once, each says why, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from test_processes import together
from trials import digest

from resnets import families
from resnets.recipe import as_json, change
from resnets.recipes import quick

RUN = {"name": "run", "processes": 2, "changes": {}}
EVERYTHING = {
    "network": "cifar_resnet8_shortcut_dropout_stochastic_depth", "schedule": "plateau", "patience": 1, "lr": 0.05,
    "mixup": 0.4, "cutmix": 0.4, "micro_batch": 16, "flip": "random", "watch_test": True,
}  # fmt: skip


def test_one_hangs_fails_or_drifts(tmp_path):
    hangs, fails, drifts = together(
        tmp_path,
        {**RUN, "folder": "hangs", "patience": 2, "fault": {"victim": 1, "do": "SIGSTOP", "since": 7}},
        {**RUN, "folder": "fails", "fault": {"victim": 1, "do": "exhaust", "since": 7, "moment": "gradient"}},
        {**RUN, "folder": "drifts", "fault": {"victim": 1, "do": "flip", "since": 7}},
    )
    assert hangs[1] is None
    assert hangs[0]["exit"] == 5
    assert hangs[0]["message"].endswith(
        "process 0 lost process 1, which is silent; update 7 was done, go on with the same command"
    )
    assert hangs[0]["seconds"] < 20
    assert fails[0]["exit"] == 5
    assert fails[0]["message"].endswith(
        "process 1 failed: MemoryError: no room for 12 GB; update 7 was done, go on with the same command"
    )
    assert fails[1]["message"] == "MemoryError: no room for 12 GB"
    assert [answer["seconds"] < 5 for answer in fails] == [True, True]
    assert [answer["exit"] for answer in drifts] == [6, 6]
    assert {answer["message"] for answer in drifts} == {
        "NumericError: fc.weight differs between processes at update 10; resume the run"
    }
    for run in ("hangs", "fails", "drifts"):
        assert kept(tmp_path / run) == ["step-000000000005"]


def test_each_image_of_any_number_is_tested_once(tmp_path):
    sizes = list(range(1, 34))
    alone, shared = together(
        tmp_path, *({"name": "scores", "processes": count, "sizes": sizes, "batch": 4} for count in (1, 2))
    )
    for size, one, *two in zip(sizes, *alone, *shared, strict=True):
        for indices, scores in two:
            assert indices == one[0] == list(range(size))
            assert scores == pytest.approx(one[1], abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_updates_in_a_save_and_in_a_test(tmp_path):
    """SIGKILL of either process: the other ends by itself, the next start ends with the bits of an undisturbed run."""
    updates = [{"since": update} for update in (1, 13, 20, 40, 58)]
    moments = [{"since": 17, "moment": "save"}, {"since": 5, "moment": "test"}, {"since": 59, "moment": "test"}]
    faults = [{"victim": victim, "do": "SIGKILL", **when} for victim in (0, 1) for when in (*updates, *moments)]
    trials = [{**RUN, "changes": EVERYTHING, "folder": f"run-{number}"} for number in range(len(faults))]
    plain, *answers = together(
        tmp_path,
        {**RUN, "changes": EVERYTHING, "folder": "plain"},
        *(one for trial, fault in zip(trials, faults, strict=True) for one in ({**trial, "fault": fault}, trial)),
        timeout=850,
    )
    assert [answer["exit"] for answer in plain] == [0, 0]
    golden = digest(tmp_path / "plain")
    for number, fault in enumerate(faults):
        killed, again = answers[2 * number : 2 * number + 2]
        other = killed[1 - fault["victim"]]
        assert killed[fault["victim"]] is None, fault
        assert other["exit"] == 5, fault
        assert f"lost process {fault['victim']}, which has ended" in other["message"], fault
        assert other["seconds"] < 30, fault
        assert [(answer["exit"], answer["said"]) for answer in again] == [(0, [])] * 2, fault
        assert digest(tmp_path / f"run-{number}") == golden, fault


@pytest.mark.slow
def test_stopped_with_everything_in_the_recipe(tmp_path):
    """Mixup, cutmix, averaged weights, stochastic depth, a plateau and parts of batches: SIGTERM, and on."""
    whole = {**RUN, "changes": EVERYTHING}
    stops = [(7, 0), (19, 1), (20, 0), (33, 1)]
    plain, *answers = together(
        tmp_path,
        {**whole, "folder": "plain"},
        *({**whole, "folder": "run", "fault": {"victim": v, "do": "SIGTERM", "since": u}} for u, v in stops),
        {**whole, "folder": "run"},
    )
    assert [[answer["exit"] for answer in pair] for pair in (plain, *answers)] == [[0, 0], *[[143, 143]] * 4, [0, 0]]
    assert [answer[1]["updates"] for answer in answers[:-1]] == [update for update, _ in stops]
    assert digest(tmp_path / "run") == digest(tmp_path / "plain")


@pytest.mark.slow
def test_three_processes_name_the_one(tmp_path):
    hangs, dies = together(
        tmp_path,
        *(
            {**RUN, "processes": 3, "folder": do, "patience": 5, "fault": {"victim": victim, "do": do, "since": 7}}
            for do, victim in (("SIGSTOP", 0), ("SIGKILL", 1))
        ),
    )
    assert ["lost process 0, which is silent;" in answer["message"] for answer in hangs[1:]] == [True, True]
    assert all(answer["seconds"] < 20 for answer in hangs[1:])
    assert all("process 1, which has ended" in dies[rank]["message"] for rank in (0, 2))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Start the command of docs/scaling.md in a folder; a run that nothing happened to is the folder "plain"."""
    root = tmp_path_factory.mktemp("torchrun")
    chosen = change(
        quick(families.network("cifar_resnet8"), "digits"),
        precision="fp32",
        size=8,
        pad=1,
        epochs=60,
        batch_size=64,
        channels_last=False,
    )
    (root / "recipe.json").write_text(json.dumps(as_json(chosen)))

    @contextmanager
    def launch(folder, *options, patience="60"):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *options, "-m", "resnets"]
        command += ["train", "digits", "--recipe", root / "recipe.json", "--out", root / folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RESNETS_PATIENCE": patience}
        with (root / f"{folder}.txt").open("w+") as said:
            agent = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
            try:
                yield agent, root / folder, said
            finally:
                for pid in (*workers(root / folder).values(), *([agent.pid] if agent.poll() is None else [])):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                agent.wait()

    with launch("plain") as (agent, _, _):
        assert agent.wait(300) == 0
    return launch


def workers(run):
    """The pids of the processes that work on RUN, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        rank = [word for word in environment if word.startswith(b"RANK=")]
        if os.fsencode(run) in words and rank:
            found[int(rank[0][5:])] = int(process.name)
    return found


def first_checkpoint(run, agent):
    """Wait for it."""
    while not any((run / "checkpoints").glob("step-*")):
        assert agent.poll() is None
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_torchrun_starts_again_by_itself(launched):
    with launched("again", "--max-restarts=1") as (agent, run, said):
        first_checkpoint(run, agent)
        os.kill(workers(run)[1], signal.SIGKILL)
        assert agent.wait(300) == 0
    assert "Signal 9 (SIGKILL)" in Path(said.name).read_text() or "exitcode: -9" in Path(said.name).read_text()
    assert digest(run) == digest(run.with_name("plain"))


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_ends_with_the_one_that_dies(launched, victim):
    run = f"died-{victim}"
    with launched(run) as (agent, folder, said):
        first_checkpoint(folder, agent)
        pids = workers(folder)
        os.kill(pids[victim], signal.SIGKILL)
        assert agent.wait(30) == 1
        assert not workers(folder)
    text = Path(said.name).read_text()
    assert f"process {1 - victim} lost process {victim}, which has ended" in text
    assert f"rank      : {victim} " in text
    assert "SIGKILL" in text
    with launched(run) as (agent, folder, _):
        assert agent.wait(300) == 0
    assert digest(folder) == digest(folder.with_name("plain"))


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_torchrun_ends_with_the_one_that_hangs(launched):
    with launched("hung", patience="5") as (agent, run, said):
        first_checkpoint(run, agent)
        os.kill(workers(run)[1], signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while 0 in workers(run):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert agent.wait(60) == 1  # torchrun gives the other 30 seconds
        assert not workers(run)
    assert "process 0 lost process 1, which is silent; update" in Path(said.name).read_text()


def kept(run):
    """The names of the checkpoints, whole or not, of RUN."""
    return sorted(path.name for path in (run / "checkpoints").iterdir())
