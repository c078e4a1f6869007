"""What experiments compute beyond their rows, on real weights and on runs that were just begun."""

import os
from pathlib import Path

import pytest

from resnets.cli.main import main
from resnets.errors import DataError
from resnets.experiments import subjects

NEEDS_DATA = pytest.mark.skipif(not os.environ.get("RESNETS_DATA"), reason="RESNETS_DATA names no folder")


@pytest.mark.slow
def test_layer_responses_of_runs_that_were_just_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    command = ["reproduce", "figure-7", "--data", "digits", "--updates", "2", "--out", str(tmp_path)]
    assert main([*command, "--only", "plain-20", "ResNet 20"]) == 0, capsys.readouterr().err
    text = (tmp_path / "figure-7/report.md").read_text()
    assert "| plain-20 | 2 updates | 19 |" in text
    assert "| ResNet 20 | 2 updates | 19 |" in text
    assert "figure-2.svg" in text


def test_without_a_trained_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    with pytest.raises(DataError, match="run figure-6 first"):
        subjects.subjects(subjects.finished(tmp_path))


@pytest.mark.data
@NEEDS_DATA
def test_published_weights_are_subjects(tmp_path):
    found, left_out = subjects.subjects([("gone", tmp_path / "gone")], images=100)
    assert len(left_out) == 1
    assert left_out[0].startswith("gone is left out: ")
    assert [subject.label.split(",")[0] for subject in found] == ["cifar_resnet20", "cifar_resnet32"]
    assert sum(map(len, found[0].batches)) == 100


@pytest.mark.slow
@pytest.mark.data
@NEEDS_DATA
@pytest.mark.parametrize("name", ["lesions", "shuffling", "paths"])
def test_the_ensemble_view_on_published_weights(name, tmp_path):
    assert main(["reproduce", name, "--out", str(tmp_path)]) == 0
    text = (tmp_path / name / "report.md").read_text()
    assert "cifar_resnet32, published weights" in text
    if name == "paths":
        assert "98.02 %" in text
        assert "0.4537 %" in text


@pytest.mark.slow
@pytest.mark.data
@NEEDS_DATA
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "rows"), [("table-2", 4), ("table-5", 6)])
def test_a_miniature_of_imagenet_is_complete(name, rows, tmp_path):
    photographs = Path(os.environ["RESNETS_DATA"], "imagenet-sample")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photographs.iterdir())[:4]:
        (few / path.name).symlink_to(path)
    command = ["reproduce", name, "--miniature", "--data", str(few), "--updates", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    text = (tmp_path / "out" / name / "report.md").read_text()
    assert "a miniature" in text
    assert len(list((tmp_path / "out/runs").glob("*/seed-*/result.json"))) == rows
    assert "not run" not in text
