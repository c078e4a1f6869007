"""`resnets detect` as a person and as a program calls it."""

import json

import pytest

from resnets.detection.results import check_results

SMALL = ("--updates", "2", "--batch-size", "2", "--scale", "64", "--network", "cifar_resnet20", "--seed", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six pictures with a box each, in a list."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("boxes")
    rows = ["file,label,x1,y1,x2,y2,part"]
    for number, part in enumerate(("train", "train", "train", "train", "val", "test")):
        pixels = np.full((64, 80, 3), 40, np.uint8)
        pixels[20:40, 10 + number : 40] = 220
        Image.fromarray(pixels).save(root / f"{number}.png")
        rows.append(f"{number}.png,bright,{10 + number},20,40,40,{part}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root / "boxes.csv"


def test_train_evaluate_predict(call, data, tmp_path):
    """One after the other; programs get one object, people get names and numbers."""
    code, out, err = call("detect", "train", data, "--out", tmp_path / "run", *SMALL, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["task"], result["test_images"], set(result["classes"])) == ("detection", 1, {"bright"})
    assert "anchors" in err
    code, out, err = call("detect", "train", data, "--out", tmp_path / "run", *SMALL)
    assert code == 0, err  # what is done is not done again
    code, out, _ = call("detect", "evaluate", tmp_path / "run", "--refine", "--scales", "48", "64", "--json")
    assert code == 0
    assert {"area", "voc07", "classes", "testing"} <= set(json.loads(out))
    code, out, _ = call("detect", "evaluate", tmp_path / "run", "--out", tmp_path / "test")
    assert code == 0
    assert "area" in out
    assert (tmp_path / "test" / "detections.json").is_file()
    code, out, _ = call("detect", "predict", tmp_path / "run", data.parent / "0.png", "--least", "0", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["images"][0]["image_id"] == 1
    assert len(told["results"]) == len(told["images"][0]["detections"])
    sizes = {1: (80, 64)}
    assert len(check_results(told, sizes, [1], "bbox", "x")) == len(told["results"])  # evaluate --results takes it
    code, out, _ = call("detect", "predict", tmp_path / "run", data.parent, "--draw", tmp_path / "drawn")
    assert code == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 6
    assert call("resume", tmp_path / "run")[0] == 0


def test_the_four_steps_print_one_object(call, data, tmp_path):
    """Progress of every step on standard error, the last one's result on standard output."""
    code, out, err = call("detect", "train", data, "--alternating", "--out", tmp_path / "run", *SMALL, "--json")
    assert code == 0, err
    assert json.loads(out)["recipe"] == "quick-step-4"
    assert err.count("anchors") >= 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["detect", "learn"], 2, "verb of detect"),
        (["detect", "train", "nothing/"], 3, "does not exist"),
        (["detect", "train", "digits-scenes"], 2, "nearest: digits-scene"),
        (["detect", "train", "digits-scene", "--recipe", "voc-2015"], 2, "--bn live"),
        (["detect", "train", "digits-scene", "--network", "vgg16", "--design", "fpn"], 2, "--design c4"),
        (["detect", "train", "digits-scene", "--scale", "8"], 2, "at least 32"),
        (["detect", "train", "digits-scene", "--recipe", "quik"], 2, "detection recipe"),
        (["detect", "evaluate"], 2, "MODEL"),
        (["detect", "evaluate", "x", "--images", "-1"], 2, "at least 0"),
        (["detect", "evaluate", "x", "--annotations", "a.json"], 2, "both"),
        (["detect", "evaluate", "nowhere", "--data", "digits-scene"], 2, "no folder"),
        (["detect", "predict", "nowhere", "picture.jpg"], 2, "no folder"),
    ],
)
def test_wrong_input_is_one_line(call, tmp_path, monkeypatch, arguments, code, said):
    """With the exit code of its kind, and nothing written."""
    monkeypatch.chdir(tmp_path)
    found, _, err = call(*arguments)
    assert found == code
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help(call):
    """`detect` alone says what it does."""
    code, out, _ = call("detect", "--help")
    assert code == 0
    assert "resnets detect predict" in out


def test_check_knows_sets_of_boxes(call, data):
    """Counts and sizes; what cannot be used by its line; with --strict the first fault ends it."""
    code, out, _ = call("check", data, "--json")
    assert code == 0
    assert json.loads(out)["parts"]["train"]["objects"] == 4
    wrong = data.parent / "labels.csv"
    wrong.write_text(data.read_text() + "0.png,bright,70,10,99,20,train\n")
    code, out, _ = call("check", wrong)
    assert code == 0
    assert "left out: " in out
    code, _, err = call("check", wrong, "--strict")
    assert code == 3
    assert len(err.strip().splitlines()) == 1


def test_check_takes_a_list_without_corners_as_pictures_to_be_named(call, data):
    """A list of files and labels is one for classification, whatever it is called."""
    listed = data.parent / "annotations.csv"
    listed.write_text("file,label\n" + "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(6)))
    code, out, err = call("check", listed, "--json")
    assert code == 0, err
    assert json.loads(out)["classes"] == {"a": 3, "b": 3}
