"""Exports of whole networks on photographs, and of the published CIFAR weights on all of the test set."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_bundles import require

from resnets.bundle import Bundle
from resnets.data.folders import pictures_in
from resnets.data.images import read_image
from resnets.data.preprocessing import Preprocessing
from resnets.deploy import export, pictures, verify
from resnets.deploy.export import Wanted
from resnets.families import network
from resnets.models import build
from resnets.models.unit import ResidualUnit
from resnets.testing import ForeignModel
from resnets.training.statistics import average_statistics

require("onnx", "onnxscript", "onnxruntime", "openvino")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("RESNETS_DATA" not in os.environ, reason="RESNETS_DATA is not set"),
]
DATA = Path(os.environ.get("RESNETS_DATA", "."))
RESNET_18 = network("resnet18")
NETWORKS = {
    "resnet18": RESNET_18,
    "resnet50": network("resnet50"),
    "vgg16": network("vgg16"),
    "pre-activation": network("preresnet50"),
    "gated": replace(RESNET_18, unit=replace(RESNET_18.unit, merge="gate", gate_bias=-1.0)),
}


@pytest.fixture(scope="module")
def photographs():
    """The pictures of the sample of ImageNet as the network sees them, and in their own sizes."""
    folder = DATA / "imagenet-sample"
    return [read_image(folder / name) for name in pictures_in(folder)][:40]


def trained(spec, photographs) -> Bundle:
    """A bundle with random weights whose BNs have the statistics of the photographs.

    Its units are near the identity, as those of trained networks: with He's weights as they are, 50 layers make 0.1 of
    a probability of one grey level in a thousand numbers, the published weights of 32 layers 0.01.
    """
    torch.manual_seed(0)
    seen, model = Preprocessing(), build(spec)
    for unit in (each for each in model.modules() if isinstance(each, ResidualUnit)):
        kind = "bn" if spec.unit.order.last else "conv"
        [part for name, part in unit.named_children() if name.startswith(kind)][-1].weight.data *= 0.25
    inputs = torch.from_numpy(np.stack([seen(each) for each in photographs]))
    average_statistics(model, inputs.split(20), len(inputs))
    last = list(model.modules())[-1]
    with torch.inference_mode():  # sure of its answers, so that a difference of 0.02 says something
        last.weight *= 6 / model.eval()(inputs[:8]).std(1).mean()
    return Bundle(spec, dict(model.state_dict()), tuple(map(str, range(spec.classes))), seen)


@pytest.mark.parametrize("name", NETWORKS)
def test_photographs_give_the_same_logits_and_probabilities(name, photographs, tmp_path):
    bundle = trained(NETWORKS[name], photographs)
    views = np.stack([bundle.preprocessing.view(each) for each in photographs[:15]])
    originals = tuple(np.asarray(each.convert("RGB")) for each in photographs[15:21])
    shown = pictures.Pictures("photographs", views, None, views[:0], originals)
    forms = ["onnx", "openvino"] if name != "vgg16" else ["onnx"]
    for form in forms:
        told = export.export(bundle, Wanted(form), tmp_path / ("m.onnx" if form == "onnx" else "m"), shown)
        assert told.whole.largest <= 1e-4
        assert told.whole.agreement == 1
    told = export.export(bundle, Wanted("onnx", input="pixels"), tmp_path / "pixels.onnx", shown)
    assert told.whole.largest <= 0.02
    if name == "resnet18":
        blue = replace(shown, views=views[..., ::-1].copy(), originals=())
        right = verify._whole(bundle).expected(views)
        assert right.max(1).mean() > 0.3
        assert np.abs(verify._whole(bundle).expected(blue.views) - right).max() > 0.1, "the bound tells colours apart"


@pytest.mark.parametrize(("name", "file"), [("20", "resnet20-12fca82f.th"), ("32", "resnet32-d509ac18.th")])
def test_published_weights_with_preprocessing_inside(name, file, tmp_path):
    """As sure as they are: every photograph in its own size, within 0.02 of a probability."""
    model = ForeignModel(f"cifar_resnet{name}", str(DATA / "weights" / file))
    bundle, shown = pictures.of_foreign(model, str(DATA / "imagenet-sample"), 100)
    pixels = [np.asarray(read_image(path).convert("RGB")) for path in sorted((DATA / "imagenet-sample").glob("*.JPEG"))]
    told = export.export(
        bundle, Wanted("onnx", input="pixels"), tmp_path / "pixels.onnx", replace(shown, originals=tuple(pixels))
    )
    assert 1e-5 < told.whole.largest <= 0.02
    assert verify._whole(bundle).expected(shown.views).max(1).mean() > 0.5, "they are sure"


@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        (Wanted("onnx"), 827),
        (Wanted("openvino"), 827),
        (Wanted("openvino", "int8"), 857),
        (Wanted("onnx", "int8"), 857),
    ],
)
def test_published_weights_make_the_published_mistakes(wanted, most, tmp_path):
    weights = DATA / "weights" / "resnet20-12fca82f.th"
    model, shown = pictures.of_foreign(ForeignModel("cifar_resnet20", str(weights)), str(DATA), 10_000)
    place = tmp_path / ("m.onnx" if wanted.form == "onnx" else "m")
    theirs, own = export.export(model, wanted, place, shown).mistakes
    assert theirs == 827
    assert own == most if most == 827 else own <= most
