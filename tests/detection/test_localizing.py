"""Localization as runs: three steps, killed and resumed, the command, and what is refused."""

import json
import shutil

import pytest
from located import small, write

from resnets.cli.localize import Localize
from resnets.detection.datasets import open_detection
from resnets.detection.localization import (
    one_class_each,
)
from resnets.detection.localization_recipe import quick, resized, steps
from resnets.errors import DataError, WeightsError
from resnets.families import network
from resnets.run import events
from resnets.start import Machine
from resnets.training.train import Step


def run(recipe, folder, until=None):
    """Train; abandoned after update UNTIL, as if the process had died there."""
    going = events(recipe, folder, Machine(save_every=1 if until is None else 2))
    for event in going:
        if isinstance(event, Step) and event.update == until:
            going.close()
    return event


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of all three steps, and their results."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, [run(step, folder / step.step) for step in steps(small(data))]


def test_the_three_steps(trained):
    folder, results = trained
    assert [result.step for result in results] == ["class", "rpn", "rcnn"]
    assert [list(result.figures) for result in results] == [
        ["classification, dense, top 1"],
        ["RPN, dense, GT class", "RPN, 1-crop, GT class", "RPN, dense, top 5", "classification, dense, top 5"],
        ["RPN+RCNN, dense, GT class", "RPN+RCNN, dense, top 5"],
    ]
    for result in results:
        assert (result.updates, result.part, result.model) == (4, "test", "best")
        assert result.val_error is not None
        for row in result.figures.values():
            assert row["images"] == 4
            assert row["error"] == 100 * row["wrong"] / 4
    assert results[1].figures["classification, dense, top 5"]["wrong"] == 0  # five guesses of three classes
    assert results[1].figures["RPN, dense, top 5"] == results[1].figures["RPN, dense, GT class"]
    notes = json.loads((folder / "class" / "data.json").read_text())["notes"]
    assert "train: 1 of 11 pictures have no box and are left out" in notes


@pytest.mark.parametrize("number", [0, 1, 2], ids=["class", "rpn", "rcnn"])
def test_killed_and_resumed_is_the_unbroken_run(trained, data, tmp_path, number):
    """Abandoned at update 3, of which 2 are saved: the same bits at the end."""
    folder, _ = trained
    made = steps(small(data))
    for before in made[:number]:
        shutil.copytree(folder / before.step, tmp_path / before.step)
    name = made[number].step
    run(made[number], tmp_path / name, until=3)
    assert not (tmp_path / name / "result.json").exists()
    run(made[number], tmp_path / name)
    for file in ("best/model.safetensors", "last/model.safetensors", "log.jsonl"):
        assert (tmp_path / name / file).read_bytes() == (folder / name / file).read_bytes(), file
    results = [json.loads((place / name / "result.json").read_text()) for place in (folder, tmp_path)]
    assert results[0]["figures"] == results[1]["figures"]


def test_the_command(data, tmp_path, capsys):
    """One object with the rows of table 13; given a classifier, the first step is left out."""
    options = ["--network", "cifar_resnet8", "--size", "32", "--updates", "2", "--batch-size", "4", "--json"]
    assert Localize.parse([str(data), "--out", str(tmp_path / "a"), *options]).run() == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["steps"]) == {"class", "rpn", "rcnn"}
    assert told["figures"]["RPN+RCNN, dense, top 5"]["images"] == 4
    assert json.loads((tmp_path / "a" / "result.json").read_text())["figures"] == told["figures"]
    again = ["--weights", str(tmp_path / "a" / "class"), *options[:-1]]
    assert Localize.parse([str(data), "--out", str(tmp_path / "b"), *again]).run() == 0
    assert "RPN, 1-crop, GT class" in capsys.readouterr().out
    assert not (tmp_path / "b" / "class").exists()


def test_pictures_of_several_classes_are_refused(tmp_path):
    root = write(
        tmp_path / "set", {"x.png": [("a", (0, 0, 9, 9)), ("b", (20, 20, 30, 30))], "y.png": [("a", (0, 0, 9, 9))]}
    )
    with pytest.raises(
        DataError, match=r"^x\.png has boxes of a and b; localization takes pictures of one class each$"
    ):
        one_class_each(open_detection(str(root)))


def test_pictures_without_a_box_are_left_out(data):
    found = one_class_each(open_detection(str(data)))
    assert [found.train.name(i) for i in range(len(found.train))] == [f"train-{i}.png" for i in range(10)]
    assert sum("no box and are left out" in note for note in found.notes) == 1


def test_weights_that_do_not_fit_are_refused(trained, data, tmp_path):
    """Of other classes, or of another normalization: in one line, and nothing is left behind."""
    root = write(tmp_path / "set", {f"{i}.png": [("c", (0, 0, 20, 20))] for i in range(4)})
    start = {"step": "rpn", "weights": str(trained[0] / "class")}
    with pytest.raises(WeightsError, match="has other classes than"):
        run(small(root, **start), tmp_path / "rpn")
    with pytest.raises(WeightsError, match="was not trained with the normalization cifar10"):
        run(small(data, normalize="cifar10", **start), tmp_path / "rpn")
    assert not (tmp_path / "rpn").exists()


def test_crops_of_another_side():
    made = resized(quick(network("cifar_resnet20"), "digits-single"), 96)
    assert (made.scale, made.tested, made.anchors) == ((96, 130), (110,), (29, 48, 82))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_digits_are_found(tmp_path):
    """`resnets detect localize digits-single`, as docs/detection.md tells it."""
    assert Localize.parse(["digits-single", "--out", str(tmp_path / "run")]).run() == 0
    figures = json.loads((tmp_path / "run" / "result.json").read_text())["figures"]
    assert figures["RPN, dense, GT class"]["error"] < 15
    assert figures["RPN+RCNN, dense, top 5"]["error"] < 15
