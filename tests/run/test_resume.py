"""A run killed at any moment and resumed ends with the bits of the undisturbed run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
UPDATES = 36


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """160 little pictures in two class folders: 96 train, 32 validate, 32 test."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for i in range(80):
            pixels = generator.integers(0, 128, (8, 8, 3), dtype=np.uint8) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def trials(data, tmp_path):
    """Run trials (lists of sittings) in a driver process; answers their ends and digests."""

    def run(sittings, timeout=220):
        folder = tmp_path / f"call-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, HERE / "trials.py", data, folder],
            input=json.dumps(sittings), capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def assert_same(answers, killed=-signal.SIGKILL):
    """Every trial ended well, was killed where it was meant to be, and has the digest of the first."""
    golden = answers[0]["digest"]
    assert golden is not None
    for number, answer in enumerate(answers[1:], 1):
        assert [end["exit"] for end in answer["ends"][:-1]] == [killed] * (len(answer["ends"]) - 1), number
        assert answer["ends"][-1]["exit"] == 0, number
        different = [key for key, value in golden.items() if answer["digest"].get(key) != value]
        assert not different, f"trial {number}: {different}"


def test_killed_at_updates_with_other_workers(trials):
    """SIGKILL at updates inside and at the end of epochs, 0, 1 and 2 workers, changed in between: no bit differs."""
    cases = [(7, 2, 0), (12, 0, 1), (25, 0, 2)]
    assert_same(trials([[{}], *([{"kill_update": k, "workers": a}, {"workers": b}] for k, a, b in cases)]))


def test_killed_at_file_operations(trials):
    """SIGKILL before file operations spread over the run, then a chain of kills in one run."""
    chain = [{"kill_update": k} for k in (3, 10, 29)]
    points = (3, 220, 450, 690)
    answers = trials([[{}], *([{"kill_operation": k}, {}] for k in points), [*chain, {}]])
    assert answers[0]["ends"][0]["operations"] > max(points)
    assert_same(answers)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_first(trials, number, code):
    """SIGTERM and SIGINT end with 143 and 130 and lose no update: the next sitting starts where they stopped."""
    assert_same(trials([[{}], [{"kill_update": 12, "signal": number}, {}]]), killed=code)


def test_signals_at_the_end_of_an_epoch(trials):
    """Stopped before the epoch is closed, resumed, killed, resumed: its record stands in the log once."""
    stop = {"kill_update": 12, "signal": signal.SIGTERM}
    golden, answer = trials([[{}], [stop, {"kill_update": 14}, {"kill_update": 24, "signal": signal.SIGINT}, {}]])
    assert [end["exit"] for end in answer["ends"]] == [143, -9, 130, 0]
    assert answer["digest"] == golden["digest"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"kernels": "compiled", "channels_last": True, "schedule": "plateau", "patience": 1}
            | {"warmup": "until-error"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"head_epochs": 1, "weights": "HEAD", "precision": "bf16", "optimizer": "muon"}, marks=pytest.mark.slow
        ),
        {
            "mixup": 0.2,
            "cutmix": 1.0,
            "randaugment": 5,
            "colour": 0.1,
            "balance": "sampling",
            "ghost_batch": 4,
            "micro_batch": 6,
            "recompute": 2,
            "active_units": 2,
            "bn_images": 20,
            "schedule": "steps",
            "milestones": (9, 20),
            "momentum_form": "caffe",
            "nesterov": False,
        },
    ],
    ids=["plateau", "frozen body", "mixed, balanced, in parts, some units"],
)
def test_other_recipes_resume_to_the_same_bits(trials, changes, data, tmp_path):
    """What a schedule has seen, a frozen body and the memory format survive a kill."""
    if changes.get("weights"):
        (start,) = trials([[{}]])
        assert start["digest"]
        changes = {**changes, "weights": str(next(tmp_path.rglob("last")))}
    with_changes = [{"changes": changes}]
    assert_same(trials([with_changes, *([{"changes": changes, "kill_update": k}, *with_changes] for k in (9, 14))]))


@pytest.mark.slow
def test_other_seed_is_another_run(trials):
    """The digest can tell runs apart, and a folder keeps its recipe."""
    first, second, mixed = trials([[{}], [{"changes": {"seed": 1}}], [{"kill_update": 9}, {"changes": {"seed": 1}}]])
    assert first["digest"]["last/model.safetensors"] != second["digest"]["last/model.safetensors"]
    assert [end["exit"] for end in mixed["ends"]] == [-signal.SIGKILL, 2]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_every_update_with_every_pair_of_workers(trials):
    pairs = [(a, b) for a in (0, 1, 2) for b in (0, 1, 2)]
    cases = [(k, *pairs[k % 9]) for k in range(1, UPDATES + 1)]
    sittings = [[{}], *([{"kill_update": k, "workers": a}, {"workers": b}] for k, a, b in cases)]
    assert_same(trials(sittings, timeout=1400))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_many_file_operations(trials):
    """Every sixth of about 800 operations; RESNETS_KILL_STEP=1 takes them all."""
    whole = trials([[{}]])[0]["ends"][0]["operations"]
    step = int(os.environ.get("RESNETS_KILL_STEP", "6"))
    assert_same(trials([[{}], *([{"kill_operation": k}, {}] for k in range(1, whole, step))], timeout=1400))
