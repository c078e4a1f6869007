"""`resnets export`, `resnets verify` and the reject threshold of `resnets predict` as a person meets them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import bundle
from resnets.bundle import Bundle
from resnets.data.preprocessing import Preprocessing
from resnets.families import network
from resnets.models import create_model

pytest.importorskip("onnxruntime")
KEYS = {
    "format", "precision", "input", "largest", "agreement", "images", "batches", "pictures", "mistakes",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder for digits with random weights, which is sure of nothing below 0.9."""
    torch.manual_seed(0)
    made = create_model("cifar_resnet8", 10, in_channels=1)
    spec = replace(network("cifar_resnet8"), classes=10, channels=1, size=8)
    seen = Preprocessing(8, 1, crop_pct=1.0, mean=(0.5,), std=(0.5,))
    place = tmp_path_factory.mktemp("model") / "model"
    bundle.save(Bundle(spec, dict(made.state_dict()), tuple("0123456789"), seen, reject_below=0.9), place)
    return place


def test_export_then_verify(model, tmp_path, call):
    out = tmp_path / "model.onnx"
    code, said, err = call("export", model, out, "--data", "digits", "--images", 40)
    assert (code, err) == (0, "")
    assert "compared with PyTorch on digits, test part: 40 pictures" in said
    assert "batch 7: largest difference" in said
    assert f"written  {out}" in said
    code, said, _ = call("verify", model, out, "--data", "digits", "--images", 0, "--json")
    found = json.loads(said)
    assert code == 0
    assert set(found) == KEYS | {"exported"}
    assert (found["images"], found["agreement"], set(found["batches"])) == (359, 1.0, {"1", "2", "7"})
    assert found["mistakes"]["pytorch"] == found["mistakes"]["exported"] > 0
    other = tmp_path / "other"
    bundle.save(replace(bundle.load(model), classes=tuple("abcdefghij")), other)
    code, said, err = call("verify", other, out)
    assert (code, said) == (4, "")
    assert "of another model than MODEL: its classes differ" in err


def test_an_export_that_differs_ends_with_the_numbers_and_nothing_is_said_to_be_done(
    model, tmp_path, call, monkeypatch
):
    from resnets.deploy.verify import SESSIONS

    good, bad, right = tmp_path / "good.onnx", tmp_path / "bad.onnx", SESSIONS["onnx"]
    assert call("export", model, good)[0] == 0

    def wrong(contents, precision):
        session = right(contents, precision)
        return replace(session, fetch=lambda inputs, names: [1.01 * each for each in session.fetch(inputs, names)])

    monkeypatch.setitem(SESSIONS, "onnx", wrong)
    for arguments in (("export", model, bad), ("verify", model, good)):
        code, said, err = call(*arguments)
        assert (code, said) == (6, "")
        assert "is refused: its outputs differ from PyTorch's by 1.0e-02, allowed is 1e-04" in err
        assert err.count("\n") == 1
    assert not bad.exists()


def test_without_data_it_is_verified_on_photographs(model, tmp_path, call):
    code, said, _ = call("export", model, tmp_path / "model.onnx", "--json", "--input", "pixels")
    found = json.loads(said)
    assert code == 0
    assert set(found) == KEYS | {"out"}
    assert (found["pictures"], found["input"]) == ("scikit-learn's two photographs", "pixels")
    assert found["mistakes"] is None
    assert (tmp_path / "model.onnx").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["MODEL"], 2, "give MODEL (or --network and --weights) and the file or folder to write"),
        (["MODEL", "x.onnx", "--format", "tflite"], 2, "unknown format 'tflite'; nearest: onnx, openvino, pt2"),
        (["MODEL", "x.onnx", "--precision", "fp8"], 2, "onnx has no precision 'fp8'; it has fp32, int8"),
        (["MODEL", "x"], 2, "x is no name of a onnx file; choose one that ends in .onnx"),
        (["MODEL", "x.onnx", "--precision", "int8"], 2, "int8 is calibrated on pictures like those it will see"),
        (["nowhere", "x.onnx"], 2, "nowhere is no folder"),
        (["MODEL", "x.onnx", "--data", "nowhere"], 2, "nowhere"),
        (["x.onnx", "--network", "resnet18"], 2, "--network and --weights belong together"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(arguments, code, said, model, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out, err = call("export", *[str(model) if a == "MODEL" else a for a in arguments])
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_detector_is_not_exported(tmp_path, call):
    (tmp_path / "config.json").write_text(
        json.dumps({"label_names": ["a"], "resnets": {"format": 1, "version": "0.1.0", "detector": {}}})
    )
    code, _, err = call("export", tmp_path, tmp_path / "x.onnx")
    assert code == 4
    assert "it is not exported: torchvision's heads do not pass the exporter" in err


def test_predict_says_where_it_is_not_sure(model, tmp_path, call):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "picture.png")
    _, said, _ = call("predict", model, tmp_path / "picture.png")
    assert "not sure; the best guesses:" in said
    for below, sure in ((), False), (("--reject-below", "0"), True):
        _, said, _ = call("predict", model, tmp_path / "picture.png", "--json", *below)
        assert json.loads(said)["predictions"][0]["sure"] is sure
