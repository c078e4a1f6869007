"""`resnets benchmark` and `resnets predict --engine` as a person meets them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import bundle
from resnets.bundle import Bundle
from resnets.cli.main import main
from resnets.data.preprocessing import Preprocessing
from resnets.families import network
from resnets.models import create_model
from resnets.spec import Network

ROW = {
    "engine", "precision", "start", "latency", "latency_p90", "latency_ratio", "images_per_second", "throughput_ratio",
    "difference", "agreement", "accuracy", "lost",
}  # fmt: skip
QUICK = ["--seconds", "0.001", "--batch-size", "4", "--engine", "torch", "torch-folded:fp32"]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder for digits with random weights; the cache is the test's own."""
    from dataclasses import replace

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    made = create_model("cifar_resnet8", 10, in_channels=1)
    spec = replace(network("cifar_resnet8"), classes=10, channels=1, size=8)
    assert isinstance(spec, Network)
    seen = Preprocessing(8, 1, crop_pct=1.0, mean=(0.5,), std=(0.5,))
    bundle.save(Bundle(spec, dict(made.state_dict()), tuple("0123456789"), seen), tmp_path / "model")
    return tmp_path / "model"


def test_benchmark_as_json(model, capsys):
    assert main(["benchmark", str(model), "--data", "digits", "--images", "120", "--json", *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [f"{row['engine']}:{row['precision']}" for row in found["engines"]] == [
        "torch:fp32",
        "torch:bf16",
        "torch-folded:fp32",
    ]
    assert all(set(row) == ROW for row in found["engines"])
    first = found["engines"][0]
    assert (first["latency_ratio"], first["throughput_ratio"], first["difference"], first["lost"]) == (1, 1, 0, 0)
    assert (found["images"], found["calibration"], found["batch_size"]) == (120, 300, 4)
    assert found["pictures"] == "digits, test part"
    assert found["folded"]["layers"] == found["folded"]["of"] == 7
    assert found["folded"]["difference"] < 1e-5
    assert set(found["fastest"]) == {"latency", "throughput"}
    assert found["refused"] == []


def test_benchmark_for_people(capsys):
    assert main(["benchmark", "--network", "cifar_resnet8", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "compared on random pictures" in out
    assert "torch-folded:fp32" in out
    assert "folded    7 of 7 BNs" in out
    assert "fastest   " in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["benchmark"], 2, "MODEL"),
        (["benchmark", ".", "--network", "resnet18"], 2, "MODEL"),
        (["benchmark", "--network", "resnet18", "--seconds", "0"], 2, "--seconds"),
        (["benchmark", "--network", "resnet18", "--engine", "tensorrt"], 2, "unknown engine"),
        (["benchmark", "--network", "resnet18", "--engine", "torch:int8"], 2, "fp32, bf16"),
        (["benchmark", "--network", "resnet"], 2, "nearest"),
        (["benchmark", "."], 4, "config.json"),
    ],
)
def test_wrong_input(arguments, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / f"{number}.png")
    (place / "bad.png").write_bytes(b"no picture")
    return place


def predicted(capsys, *arguments):
    code = main(["predict", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_every_engine_predicts_the_same(model, folder, capsys):
    found = {}
    for engine in ("torch", "torch:fp32", "torch-folded"):
        code, out = predicted(capsys, model, folder, "--json", "--engine", engine, "--batch-size", "2")
        assert code == 0
        found[engine] = json.loads(out)
    assert found["torch"]["engine"] == "torch:fp32"
    assert found["torch-folded"]["engine"] == "torch-folded:fp32"
    assert found["torch"]["predictions"] == found["torch:fp32"]["predictions"]
    assert [row["file"][-7:] for row in found["torch"]["predictions"]][-1] == "bad.png"
    assert found["torch"]["predictions"][-1]["error"]
    assert set(found["torch"]["milliseconds"]) == {"preprocessing", "inference"}
    for one, other in zip(found["torch"]["predictions"], found["torch-folded"]["predictions"], strict=True):
        assert [c["name"] for c in one["classes"]] == [c["name"] for c in other["classes"]]
        assert [c["probability"] for c in one["classes"]] == pytest.approx(
            [c["probability"] for c in other["classes"]], abs=1e-5
        )


def test_auto_takes_what_benchmark_remembered(model, folder, capsys):
    from resnets.deploy import measured

    kept = bundle.load(model)
    row = measured.Measured("torch-folded", "bf16", 0.0, 0.01, 0.02, 100.0, 0.01, 1.0, 90.0, 0.1)
    measured.remember(kept, 16, [row])
    code, out = predicted(capsys, model, folder, "--json", "--engine", "auto")
    assert code == 0
    assert json.loads(out)["engine"] == "torch-folded:bf16"


def test_int8_is_refused_before_it_was_calibrated(model, folder, capsys):
    code = main(["predict", str(model), str(folder), "--engine", "openvino:int8"])
    assert code in (2, 5)
    err = capsys.readouterr().err
    assert "resnets benchmark MODEL --data DATA" in err or 'pip install "resnets[openvino]"' in err


def test_table_and_screen_and_all_bad(model, folder, capsys, tmp_path):
    code, out = predicted(capsys, model, folder, "--csv", "-", "--top", "1")
    assert code == 0
    assert out.splitlines()[0] == "file,class_1,probability_1,sure,error"
    assert len(out.splitlines()) == 7
    code, told = predicted(capsys, model, folder, "--csv", tmp_path / "answers.csv", "--top", "1")
    assert (tmp_path / "answers.csv").read_text() == out
    assert told.startswith("6 rows, 1 of them errors, in ")
    code, told = predicted(capsys, model, folder, "--csv", tmp_path / "both.csv", "--json", "--top", "1")
    assert len(json.loads(told)["predictions"]) == 6
    assert (tmp_path / "both.csv").read_text() == out
    code, told = predicted(capsys, model, folder)
    assert "6 pictures; per picture: preprocessing" in told
    assert predicted(capsys, model, folder / "bad.png", "--json")[0] == 3
