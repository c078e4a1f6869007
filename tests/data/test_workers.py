"""Loader workers leave the signals to the main process, never outlive it, and their death is one line."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from resnets.data.batches import training_batches
from resnets.data.course import Course
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.errors import EnvironmentProblem
from resnets.recipe import Augmentation

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]
HEAD = """
import os, signal, sys, time
import numpy as np
from resnets.data.batches import training_batches
from resnets.data.course import Course
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.recipe import Augmentation
source = Arrays(np.zeros((64, 8, 8, 3), np.uint8), np.zeros(64, np.int64))
batches = training_batches(source, Preprocessing(8), Augmentation(), Course(0, 4, (0, 0), 10**6), 2)
next(batches)
"""


def parent_of(process):
    """Parent and state of a process; None where there is none."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def children(process):
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and parent_of(p.name) == process]


def wait_for(answer, seconds):
    end = time.monotonic() + seconds
    while not answer() and time.monotonic() < end:
        time.sleep(0.05)
    return answer()


def started(code):
    """A Python process in a group of its own that runs CODE and has said that it is ready, and its workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + code], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    workers = children(process.pid)
    assert len(workers) == 2
    return process, workers


def none_left(workers):
    return wait_for(lambda: not [w for w in workers if parent_of(w) is not None], 10)


STOPPED = """
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print("ready", flush=True)
while not asked:
    next(batches)
time.sleep(0.5)
for _ in range(40):
    next(batches)
"""


@pytest.mark.parametrize(
    "end",
    ["batches.close()", "", *(pytest.param(end, marks=pytest.mark.slow) for end in ("raise SystemExit(7)", "1 / 0"))],
)
def test_sigterm_of_the_group_leaves_the_decision_to_the_main_process(end):
    process, workers = started(STOPPED + end)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == {"raise SystemExit(7)": 7, "1 / 0": 1}.get(end, 0), said
    assert said.count("Traceback") == (end == "1 / 0"), said
    assert "worker" not in said
    assert none_left(workers)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_workers_end_with_a_main_process_that_is_killed(number):
    process, workers = started("print('ready', flush=True)\ntime.sleep(60)")
    try:
        process.send_signal(number)
        process.wait(10)
        assert none_left(workers)
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        process.communicate()


def test_a_worker_that_begins_when_the_main_process_is_dead_ends_too():
    late = "from resnets.data.batches import _quiet_worker\n_quiet_worker(0, main=1 << 30)\ntime.sleep(60)"
    assert subprocess.run([sys.executable, "-c", f"import time\n{late}"], timeout=30).returncode == 1


@pytest.mark.parametrize("busy", [0, 0.5])
def test_a_killed_worker_is_one_line_that_says_what_to_do(busy):
    source = Arrays(np.zeros((64, 8, 8, 3), np.uint8), np.zeros(64, np.int64))
    before = set(children(os.getpid()))
    batches = training_batches(source, Preprocessing(8), Augmentation(), Course(0, 4, (0, 0), 10**6), 2)
    next(batches)
    first, second = sorted(set(children(os.getpid())) - before)
    os.kill(first, signal.SIGKILL)
    time.sleep(busy)  # the main process computes: nothing is raised here
    with pytest.raises(EnvironmentProblem, match=rf"worker process .* died \(pid {first}, .*--workers 0") as caught:
        for _ in batches:
            pass
    assert "\n" not in str(caught.value)
    assert none_left([first, second])
