"""One model, served as a folder by PyTorch and by another engine, and as what it was exported to: one answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from servers import serve
from tiny_models import picture

from resnets import bundle
from resnets.data.preprocessing import Preprocessing
from resnets.deploy.compare import noise
from resnets.deploy.export import Wanted, export
from resnets.deploy.pictures import Pictures
from resnets.families import network
from resnets.models import create_model

NAMES = tuple(f"class {number}" for number in range(10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder with random weights, large enough that answers differ."""
    torch.manual_seed(0)
    spec = replace(network("cifar_resnet8"), classes=10, size=16)
    tensors = dict(create_model(spec).state_dict())
    tensors["fc.weight"] = 5 * tensors["fc.weight"]
    place = tmp_path_factory.mktemp("folder") / "model"
    bundle.save(bundle.Bundle(spec, tensors, NAMES, Preprocessing(16, crop_pct=1.0), temperature=1.5), place)
    return place


@pytest.mark.slow
def test_every_way_to_serve_a_model_answers_alike(folder, tmp_path):
    made, pictures = bundle.load(folder), [picture(number) for number in range(8)]
    views = noise(made.preprocessing)
    export(made, Wanted("onnx"), tmp_path / "model.onnx", Pictures("noise", views, None, views))
    reference = bundle.Classifier(made, "cpu")
    expected = [{p.name: p.probability for p in reference.predict(data, 10)} for data in pictures]
    assert np.ptp([e["class 0"] for e in expected]) > 0.001
    maps = []
    for arguments in ((folder, "--engine", "torch"), (folder, "--engine", "onnxruntime"), (tmp_path / "model.onnx",)):
        with serve(*arguments) as server:
            server.wait(120)
            for data, probabilities in zip(pictures, expected, strict=True):
                given = server.post("/predict?top=10", data).json["classes"]
                assert {c["name"] for c in given} == set(NAMES)
                assert all(abs(c["probability"] - probabilities[c["name"]]) < 1e-4 for c in given)
            answer = server.post("/explain?class=class%203", pictures[0]).json
            assert (answer["class"], answer["method"]) == ("class 3", "CAM")
            maps.append(np.asarray(answer["map"]))
            assert server.get("/model").json["explains"] is True
    assert np.allclose(maps[0], maps[1], atol=1e-4)
    assert np.allclose(maps[0], maps[2], atol=1e-3), "an export explains as the library does"
