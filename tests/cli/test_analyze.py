"""`analyze` and `explain` as a person meets them, on an untrained network for digits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import bundle
from resnets.data.preprocessing import Preprocessing
from resnets.families import network
from resnets.models import create_model

torch.set_num_threads(1)
CLASSES = tuple(map(str, range(10)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "small"
    torch.manual_seed(0)
    model = create_model(replace(network("cifar_resnet20"), size=8), 10, in_channels=1)
    seen = Preprocessing(8, 1, crop_pct=1.0, mean=(0.3,), std=(0.4,))
    facts = {"test_error": 90.0, "seed": 0}
    bundle.save(bundle.Bundle(model.spec, dict(model.state_dict()), CLASSES, seen, facts), place)
    return place


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


KEYS = {
    "responses": {"mean", "layers"},
    "lesions": {"whole", "single", "several", "shuffled"},
    "paths": {"draws", "units", "mean_length", "gradient", "effective", "effective_share", "exact", "note", "lengths"}
    | {"effective_first", "effective_last"},
    "gradients": {"healthy", "verdict", "rule", "spread", "faintest", "layers"},
}


@pytest.mark.parametrize("kind", KEYS)
def test_each_analysis_tells_and_draws(call, tmp_path, folder, kind):
    code, out, err = call("analyze", kind, folder, "digits", "--images", 30, "--draws", 1, "--out", "p.svg", "--json")
    assert code == 0, err
    found = json.loads(out)
    (model,) = found["models"]
    assert found["analysis"] == kind
    assert set(model) - {"model", "network", "data", "part", "images", "of"} == KEYS[kind]
    assert (model["network"], model["images"], model["part"]) == ("cifar_resnet20", 30, "test")
    assert "<svg" in (tmp_path / "p.svg").read_text()
    code, out, _ = call("analyze", kind, folder, folder, "digits", "--images", 20, "--draws", 1)
    assert code == 0
    assert out.count("20 of 359 images") == 2


def test_first_weights_by_name(call):
    code, out, err = call("analyze", "gradients", "cifar_plain20", "cifar_resnet20", "digits", "--images", 30, "--json")
    assert code == 0, err
    models = json.loads(out)["models"]
    assert [row["model"] for row in models] == ["cifar_plain20", "cifar_resnet20"]
    assert models[0]["part"] == "train"


def test_gradients_along_a_training(call, folder):
    """By updates asked for, in their order; the first is that of the first weights, and looking changes nothing."""
    command = ("analyze", "gradients", "cifar_resnet8", "digits", "--images", 30, "--json", "--at")
    code, out, err = call(*command, 2, 0, 1)
    assert code == 0, err
    models = json.loads(out)["models"]
    assert [row["model"] for row in models] == [f"cifar_resnet8, update {n}" for n in range(3)]
    assert [row["update"] for row in models] == [0, 1, 2]
    gradients = [[layer["gradient"] for layer in row["layers"]] for row in models]
    assert gradients[0] != gradients[1] != gradients[2]
    assert json.loads(call(*command, 2)[1])["models"][0]["layers"] == models[2]["layers"]
    assert json.loads(call(*command[:-1])[1])["models"][0]["layers"] == models[0]["layers"]
    for kind, model in (
        ("gradients", folder),
        ("responses", folder),
        ("complexity", "cifar_resnet8"),
        ("shorten", folder),
    ):
        code, _, err = call("analyze", kind, model, *(["digits"] if kind != "complexity" else []), "--at", 1)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "--at is for gradients of networks by their names" in err
    assert call(*command, -1)[::2] == (2, "resnets: at takes numbers of updates, 0 or more\n")
    code, _, err = call(*command, 1, 10**6)
    assert code == 2
    assert "1,000,000 are too many" in err


def test_complexity_needs_no_data(call, folder):
    code, out, err = call("analyze", "complexity", "cifar_resnet20", folder, "--images", 1, "--out", "c.svg", "--json")
    assert code == 0, err
    one, two = json.loads(out)["models"]
    assert one["multiply_adds"] == 40551040
    assert two["stages"][0]["output"] == [16, 8, 8]
    assert "multiply-adds" in call("analyze", "complexity", "cifar_resnet20", "--images", 1)[1]


@pytest.mark.slow
def test_theory(call):
    code, out, err = call("analyze", "theory", "--draws", 1, "--json")
    assert code == 0, err
    assert all(check["holds"] for check in json.loads(out)["checks"][:2]), (
        "equations; the others train too briefly here"
    )
    assert {"name", "says", "source", "columns", "rows", "holds"} <= set(json.loads(out)["checks"][0])


def test_weights_of_others(call, tmp_path):
    torch.manual_seed(0)
    model = create_model("cifar_resnet20", 10)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    short = call("analyze", "responses", "cifar_resnet20=w.pth", "synthetic", "--images", 10, "--json")
    options = ["--network", "cifar_resnet20", "--weights", "w.pth"]
    long = call("analyze", "responses", "synthetic", *options, "--images", 10, "--json")
    assert (short[0], short[1]) == (0, long[1])


def test_shorten_keeps_a_model_that_answers(call, tmp_path, folder):
    command = ["analyze", "shorten", folder, "digits", "--max-loss", 100, "--images", 50, "--out"]
    code, out, err = call(*command, "s", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["part"], found["check"]["part"]) == ("val", "test")
    assert found["layers"] == 8
    assert len(found["cuts"]) == 6
    made = bundle.load(tmp_path / "s")
    assert [stage.units for stage in made.network.stages] == [1, 1, 1]
    assert made.facts["test_error"] == found["check"]["after"]["error"]
    code, out, _ = call("evaluate", "s", "--data", "digits", "--json")
    assert json.loads(out)["mistakes"] == found["check"]["after"]["mistakes"]
    code, _, err = call(*command, "s")
    assert (code, "choose another --out" in err) == (2, True)
    assert "points" in call(*command, "t")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["analyze", "lesion", "M", "digits"], 2, ["lesion", "lesions"]),
        (["analyze", "lesions"], 2, ["MODEL", "DATA"]),
        (["analyze", "lesions", "M"], 2, ["is a model", "DATA"]),
        (["analyze", "lesions", "digits"], 2, ["nothing to look at"]),
        (["analyze", "lesions", "nowhere", "digits"], 2, ["nowhere"]),
        (["analyze", "lesions", ".", "digits"], 4, ["config.json"]),
        (["analyze", "lesions", "M", "no/such"], 3, ["no/such"]),
        (["analyze", "lesions", "M", "digits", "--images", "0"], 2, ["images"]),
        (["analyze", "lesions", "M", "digits", "--part", "vall"], 2, ["vall"]),
        (["analyze", "lesions", "M", "digits", "--images", "2", "--draws", "0"], 2, ["draws"]),
        (["analyze", "paths", "M", "digits", "--images", "2", "--draws", "0"], 2, ["draws"]),
        (["analyze", "lesions", "digits", "--network", "cifar_resnet20"], 2, ["--weights"]),
        (["analyze", "lesions", "cifar_resnet20=no.th", "digits"], 4, ["no.th"]),
        (["analyze", "responses", "M", "digits", "--kernels", "5"], 2, ["kernel of 5"]),
        (["analyze", "complexity"], 2, ["NETWORK"]),
        (["analyze", "complexity", "resnet51"], 2, ["resnet51"]),
        (["analyze", "shorten", "M", "M", "digits"], 2, ["one model"]),
        (["analyze", "shorten", "M", "digits", "--max-loss", "-1"], 2, ["max_loss"]),
        (["analyze", "lr", "a", "b"], 2, ["one data set"]),
        (["analyze", "theory", "digits"], 2, ["leave out"]),
        (["explain", "M", "no.jpg"], 3, ["no.jpg"]),
        (["explain", "M", "p.png", "--class", "eleven"], 2, ["eleven"]),
        (["explain", ".", "p.png"], 4, ["config.json"]),
    ],
)
def test_wrong_input_is_one_line(call, tmp_path, folder, arguments, code, words):
    Image.new("L", (8, 8)).save(tmp_path / "p.png")
    got, _, err = call(*[str(folder) if word == "M" else word for word in arguments])
    assert got == code, err
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_explain(call, tmp_path, folder):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    code, out, err = call("explain", folder, "p.png", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"model", "file", "class", "method", "probability", "map", "out"}
    assert (found["method"], found["class"] in CLASSES, len(found["map"])) == ("CAM", True, 2)
    assert Image.open(tmp_path / "p-explained.png").size == (320, 320)
    assert call("explain", folder, "p.png", "--class", "7", "--out", "seven.png")[1].startswith("7  ")
    assert (tmp_path / "seven.png").exists()
    (row,) = json.loads(call("predict", folder, "p.png", "--json")[1])["predictions"]
    assert row["classes"][0]["name"] == found["class"]


def test_weights_of_others_predict_and_explain(call, tmp_path):
    """Without a model folder; their classes go by number."""
    torch.manual_seed(0)
    torch.save(create_model("cifar_resnet20", 10).state_dict(), tmp_path / "theirs.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name in ("p.png", "q.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    foreign = ("--network", "cifar_resnet20", "--weights", "theirs.pth")
    code, out, err = call("predict", "p.png", "q.png", *foreign, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], [row["file"] for row in found["predictions"]]) == ("theirs.pth", ["p.png", "q.png"])
    best = found["predictions"][0]["classes"][0]
    assert best["name"] in CLASSES
    told = json.loads(call("explain", "p.png", *foreign, "--json")[1])
    assert (told["model"], told["class"]) == ("theirs.pth", best["name"])
    assert told["probability"] == pytest.approx(best["probability"], abs=1e-5)
    other = json.loads(call("predict", "p.png", *foreign, "--normalize", "none", "--json")[1])
    assert other["predictions"][0]["classes"][0]["probability"] != best["probability"]
    for arguments, words in (
        (("explain", "p.png", "--network", "cifar_resnet20"), "--network and --weights belong together"),
        (("explain", "p.png"), "give MODEL (or --network and --weights) and a picture"),
        (("explain", ".", "p.png", *foreign), "give a picture"),
        (("predict", *foreign), "no pictures"),
        (("predict",), "give MODEL (or --network and --weights) and pictures"),
    ):
        code, _, err = call(*arguments)
        assert (code, words in err) == (2, True), err
