"""What a run does when something else goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import api, files
from resnets.cli.main import main
from resnets.errors import DataError, EnvironmentProblem, LockHeld, NumericError, UsageError
from resnets.recipe import change
from resnets.record import read_recipe
from resnets.run import Epoch, events, execute
from resnets.start import Machine, Plan, faster_precision
from resnets.training.train import Step

TINY = {"network": "cifar_resnet8", "epochs": 1}


@pytest.fixture
def pictures(tmp_path):
    """40 pictures of each of two classes."""
    root = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for i in range(40):
            pixels = generator.integers(0, 128, (12, 12, 3)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root


def small(data, **changes):
    """A recipe that takes a second."""
    return api.plan(str(data), **{**TINY, "size": 8, "batch_size": 8, "precision": "fp32", **changes})


def test_events_in_order(tmp_path):
    kinds = [type(event).__name__ for event in events(small("digits", epochs=2, batch_size=64), tmp_path / "run")]
    per_epoch = 1259 // 64 + 1
    assert kinds == ["Plan", *(["Step"] * per_epoch + ["Epoch"]) * 2, "Result"]


def test_run_folder(tmp_path, pictures):
    result = execute(small(pictures), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        "recipe.json",
        "environment.json",
        "log.jsonl",
        "checkpoints",
        "best",
        "last",
        "result.json",
        "split.csv",
        "data.json",
    }
    evaluation = tmp_path / "run" / result.evaluation
    assert {p.name for p in evaluation.iterdir()} == {
        "result.json",
        "per_class.csv",
        "confusion.csv",
        "predictions.csv",
        "mistakes.csv",
    } | ({"mistakes"} if result.test_mistakes else set())
    assert result.test_images == 12
    assert json.loads((tmp_path / "run/environment.json").read_text())["torch"] == torch.__version__
    records = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [r["update"] for r in records if "loss" in r] == list(range(1, 8))
    assert records[-1].keys() >= {"train_error", "val_error", "train_loss"}


def test_a_finished_run_is_not_run_again(tmp_path):
    first = execute(small("digits"), tmp_path / "run")
    before = (tmp_path / "run/last/model.safetensors").stat().st_mtime_ns
    assert execute(small("digits"), tmp_path / "run") == first
    assert (tmp_path / "run/last/model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"another recipe.*seed"):
        execute(small("digits", seed=1), tmp_path / "run")


def test_two_runs_cannot_share_a_folder(tmp_path):
    folder = tmp_path / "run"
    running = events(small("digits"), folder)
    assert isinstance(next(running), Plan)
    code = (
        f"import sys; from resnets.cli.main import main; sys.exit(main(['train', 'digits', '--out', {str(folder)!r}]))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == LockHeld.exit_code == 7
    assert str(os.getpid()) in done.stderr
    assert time.monotonic() - began < 60
    running.close()


def test_data_that_changed(tmp_path, pictures):
    folder = tmp_path / "run"
    running = events(small(pictures), folder, Machine(save_every=2))
    for event in running:
        if isinstance(event, Step) and event.update == 4:
            break
    running.close()
    (pictures / "dark/00.png").rename(pictures / "dark/new.png")
    with pytest.raises(DataError, match=r"\+1 -1 ~0 files"):
        execute(small(pictures), folder)


def test_a_broken_picture_is_named_and_too_many_stop(tmp_path, pictures):
    (pictures / "dark/07.png").write_bytes(b"not a picture")
    (pictures / "light/09.png").write_bytes((pictures / "light/08.png").read_bytes()[:60])
    recipe = small(pictures, max_bad=0.1, val=0.0, test=0.0)
    result = execute(recipe, tmp_path / "run")
    named = (tmp_path / "run/bad_images.txt").read_text()
    assert result.bad_files == 2
    assert "dark/07.png" in named
    assert "light/09.png" in named
    with pytest.raises(DataError, match=r"max_bad 0\.01"):
        execute(replace(recipe, max_bad=0.01), tmp_path / "strict")


def test_a_loss_that_is_no_number(tmp_path):
    recipe = small("digits", lr=1e30, schedule="constant")
    with pytest.raises(NumericError, match="update"):
        execute(recipe, tmp_path / "run", Machine(save_every=1))
    kept = sorted((tmp_path / "run/checkpoints").glob("step-*"))
    for folder in kept:
        files.verify_folder(folder)
    assert not (tmp_path / "run/result.json").exists()


def test_a_full_disk_leaves_the_older_checkpoints_whole(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    running = events(small("digits"), folder, Machine(save_every=10))
    seen = 0
    while seen < 25:
        event = next(running)
        seen = event.update if isinstance(event, Step) else seen
    monkeypatch.setattr(files, "_hook", _no_space)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        list(running)
    kept = sorted((folder / "checkpoints").glob("step-*"))
    assert [path.name[-3:] for path in kept] == ["010", "020"]
    for path in kept:
        files.verify_folder(path)
    monkeypatch.setattr(files, "_hook", None)
    assert execute(small("digits"), folder).updates == 158


def _no_space(operation, path):
    if operation == "write" and "checkpoints" in str(path):
        raise OSError(28, os.strerror(28), str(path))


@pytest.mark.slow
def test_a_really_full_disk(tmp_path):
    """A tmpfs fills up while a run saves: exit code 5, one line, the older checkpoint is whole."""
    run = tmp_path / "run"
    script = f"""
mount -t tmpfs -o size=24m tmpfs {tmp_path} || exit 77
{sys.executable} -m resnets train digits --out {run} >/dev/null &
until ls {run}/checkpoints/step-* >/dev/null 2>&1; do sleep 0.2; done
dd if=/dev/zero of={tmp_path}/ballast bs=1k 2>/dev/null
wait $!
echo "code $?"
{sys.executable} -c "
from pathlib import Path
from resnets import files
for path in Path('{run}/checkpoints').glob('step-*'):
    print('whole', files.verify_folder(path)['format'])
"
"""
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine does not let a test mount a tmpfs")
    assert "code 5" in done.stdout, done.stdout + done.stderr
    assert "whole 1" in done.stdout
    assert "free" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_permission(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "digits", "--out", str(tmp_path / "file" / "run")]) == 5
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_workers_survive_ctrl_c_of_the_group(tmp_path, pictures):
    """Ctrl-C reaches the workers too; the run still saves, says so in one line and ends with 130."""
    arguments = [
        "train",
        str(pictures),
        "--network",
        "cifar_resnet8",
        "--size",
        "8",
        "--batch-size",
        "8",
        "--epochs",
        "400",
    ]
    command = [sys.executable, "-m", "resnets", *arguments, "--workers", "2", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / "run/log.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 500):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 10
    assert "resnets resume" in err
    assert "Traceback" not in err


def test_other_threads_are_told(tmp_path, caplog):
    """Bit-equality is promised for the same number of threads only."""
    folder, recipe = tmp_path / "run", small("digits", size=20, epochs=1)
    running = events(recipe, folder, Machine(save_every=2))
    for event in running:
        if isinstance(event, Step) and event.update == 3:
            break
    running.close()
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        next(events(recipe, folder))
    finally:
        torch.set_num_threads(before)
    assert "threads was" in caplog.text


def test_precision_is_decided_once(tmp_path, monkeypatch):
    """ "auto" is measured when the run begins and only read afterwards."""
    monkeypatch.setattr("resnets.start.faster_precision", lambda: "fp32")
    recipe = small("digits", precision="auto")
    running = events(recipe, tmp_path / "run", Machine(save_every=2))
    for event in running:
        if isinstance(event, Step) and event.update == 3:
            break
    running.close()
    assert read_recipe(tmp_path / "run").training.precision == "fp32"
    monkeypatch.setattr("resnets.start.faster_precision", lambda: "bf16")
    assert next(events(recipe, tmp_path / "run")).recipe.training.precision == "fp32"
    assert faster_precision() in ("fp32", "bf16")


def test_the_mean_image_is_computed_once(tmp_path, monkeypatch):
    recipe = small("digits", normalize="pixel-mean", updates=6)
    running = events(recipe, tmp_path / "run", Machine(save_every=2))
    first = next(running).preprocessing
    assert first.pixel_mean
    next(running), next(running), next(running)
    running.close()
    monkeypatch.setattr("resnets.start.mean_image", pytest.fail)
    resumed = list(events(recipe, tmp_path / "run"))
    assert resumed[0].preprocessing == first
    assert resumed[0].resumed_at == 2
    assert api.load(tmp_path / "run").bundle.preprocessing == first


def test_bf16_trains_and_resumes_to_the_same_bits(tmp_path):
    recipe = small("digits", precision="bf16", updates=6)
    execute(recipe, tmp_path / "whole")
    running = events(recipe, tmp_path / "broken", Machine(save_every=2))
    for event in running:
        if isinstance(event, Step) and event.update == 5:
            break
    running.close()
    execute(recipe, tmp_path / "broken")
    assert len({(tmp_path / name / "last/model.safetensors").read_bytes() for name in ("whole", "broken")}) == 1


def test_finetuning_freezes_then_thaws(tmp_path, pictures):
    """The classifier learns first, the body, its BN statistics included, only after that."""
    first = execute(small("digits"), tmp_path / "first")
    recipe = change(
        api.plan(str(pictures), network="cifar_resnet8", weights=str(tmp_path / "first"), size=8, batch_size=8),
        epochs=2, head_epochs=1, ema=0.0, channels_last=False, precision="fp32",
    )  # fmt: skip
    run = events(recipe, tmp_path / "fine", Machine(save_every=1))
    start = after_head = None
    for event in run:
        if isinstance(event, Plan):
            assert any("new classifier for 2 classes" in note for note in event.notes)
            assert any("repeated" in note for note in event.notes)
        if isinstance(event, Step) and event.update == 2 and start is None:
            start = _body(tmp_path / "fine")
        if isinstance(event, Epoch) and event.figures["epoch"] == 0:
            after_head = _body(tmp_path / "fine")
    assert first.model == "best"
    assert start is not None
    assert start == after_head
    assert _body(tmp_path / "fine") != start


def _body(folder: Path) -> str:
    import hashlib

    from safetensors.torch import load_file

    newest = max((folder / "checkpoints").glob("step-*"))
    tensors = load_file(newest / "model.safetensors")
    data = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors) if not name.startswith("fc."))
    return hashlib.sha256(data).hexdigest()
