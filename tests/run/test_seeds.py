"""Several seeds, protocols of a test, a cache of scores and the learning-rate test, as the command gives them."""

import json

import pytest

from resnets import api
from resnets.cli.main import main

SMALL = {"network": "cifar_resnet8", "epochs": 1, "batch_size": 256}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on digits that differ in their seed."""
    folder = tmp_path_factory.mktemp("seeds")
    return folder, api.train("digits", out=folder, seeds=2, seed=3, **SMALL)


def call(capsys, *arguments):
    """The object that a verb prints."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_seeds_and_their_summary(runs, capsys):
    folder, seeds = runs
    errors = [json.loads((folder / f"seed-{n}" / "result.json").read_text())["test_error"] for n in (3, 4)]
    assert list(seeds.errors) == errors
    assert errors[0] != errors[1]
    assert (seeds.best, seeds.mean) == (min(errors), pytest.approx(sum(errors) / 2))
    assert seeds.deviation == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5)
    assert json.loads((folder / "seeds.json").read_text())["median"] == pytest.approx(sum(errors) / 2)
    again = call(
        capsys, "train", "digits", "--network", "cifar_resnet8", "--epochs", 1, "--batch-size", 256, "--seed", 3,
        "--seeds", 2, "--out", folder,
    )  # fmt: skip
    assert again["errors"] == errors  # finished runs are read, not run again


def test_protocols_ensembles_and_their_cache(runs, capsys, tmp_path):
    folder, _ = runs
    models = [folder / "seed-3", folder / "seed-4"]
    first = call(capsys, "evaluate", models[0], "--data", "digits", "--protocol", "shifts:shift=2")
    assert first["protocol_fields"]["shift"] == 2
    assert first["out"].endswith("evaluations/digits-shifts-shift-2")
    assert "<svg" in (models[0] / "evaluations/digits-shifts-shift-2/report.html").read_text()
    both = [*models, "--data", "digits", "--cache", tmp_path / "scores", "--out", tmp_path / "both"]
    fresh = call(capsys, "evaluate", *both)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "scores").rglob("scores.safetensors")}
    assert len(kept) == 2
    again = call(capsys, "evaluate", *both)
    assert {**again, "seconds": 0} == {**fresh, "seconds": 0}
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "scores").rglob("scores.safetensors")}
    one = call(capsys, "evaluate", models[0], "--data", "digits")
    assert one["mistakes"] == json.loads((models[0] / "result.json").read_text())["test_mistakes"]


def test_a_learning_rate_is_suggested_and_nothing_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call(
        capsys,
        "analyze",
        "lr",
        "digits",
        "--network",
        "cifar_resnet8",
        "--updates",
        40,
        "--high",
        100,
        "--out",
        "lr.svg",
    )
    assert 1e-4 < found["suggested"] < found["minimum"]
    assert len(found["rates"]) == len(found["losses"]) <= 40
    assert found["losses"][-1] > 2 * min(found["losses"])  # the range reached the rate that is too high
    assert [path.name for path in tmp_path.iterdir()] == ["lr.svg"]
    assert "<svg" in (tmp_path / "lr.svg").read_text()
