"""What is written in each form: it answers as the network does, and tells what it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exports import NAMES, noisy, written
from PIL import Image
from random_bundles import bundle_of, require

from resnets.data.preprocessing import Preprocessing
from resnets.deploy import export, pictures
from resnets.deploy.compare import compare, noise
from resnets.deploy.described import in_onnx
from resnets.deploy.export import Wanted
from resnets.deploy.predictor import found
from resnets.deploy.runtimes import onnx_session
from resnets.deploy.verify import SESSIONS, read, verified
from resnets.errors import UsageError
from resnets.families import SUFFIXES, network

require("onnx", "onnxscript", "onnxruntime", "openvino")


# "a" is what the name means without a suffix; of the stride and of one layer there are networks of their own.
_SUFFIXES = [name for rows in SUFFIXES.values() for name in rows if name not in ("v1", "one_layer", "a")]


_DEEP = network("cifar_resnet164")


_BOTTLENECK = replace(_DEEP, stages=tuple(replace(stage, units=1) for stage in _DEEP.stages))


NETWORKS = ["cifar_preresnet8", "cifar_highway8"]


NETWORKS += [
    pytest.param(each, marks=pytest.mark.slow, id=name)
    for name, each in {
        "plain": "cifar_plain8",
        "one layer": "cifar_preresnet8_one_layer",
        "bottleneck": _BOTTLENECK,
        "stride in the 3x3": replace(_BOTTLENECK, unit=replace(_BOTTLENECK.unit, strided=1)),
        **{suffix: f"cifar_resnet8_{suffix}" for suffix in _SUFFIXES},
    }.items()
]


def calibrating(one):
    """A hundred of them, and thirty others to calibrate on."""
    known = noisy(one, 130)
    return replace(known, calibration=known.views[100:], views=known.views[:100])


def test_what_is_written_answers_as_pytorch_at_any_batch_size(form, tmp_path):
    one, place, told = written(form, tmp_path)
    assert told.whole.largest < 1e-5
    assert list(told.batches) == [1, 2, 7]
    assert told.whole.agreement == 1
    moved = place.rename(tmp_path / f"moved-{place.name}")
    name, contents = read(moved)
    assert name == form
    session, model = SESSIONS[form](contents), one.model()
    for images in (1, 2, 5):
        inputs = one.preprocessing.normalise(noise(one.preprocessing, images))
        with torch.inference_mode():
            expected = model(torch.from_numpy(inputs)).numpy()
        answers = session.run(inputs)
        assert answers.shape == (images, 10)
        assert answers.dtype == np.float32
        assert compare(expected, answers).largest < 1e-5
    assert len(list(tmp_path.iterdir())) == 1, "nothing beside it"


def test_the_onnx_file_names_what_goes_in_and_out_and_tells_what_it_is(tmp_path):
    import onnx

    one, place, _ = written("onnx", tmp_path)
    model = onnx.load(place)
    (images,), outputs = model.graph.input, [output.name for output in model.graph.output]
    assert (images.name, outputs) == ("images", ["logits", "features", "classifier"])
    batch, *shape = images.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [side.dim_value for side in shape] == [3, 16, 16]
    assert {opset.version for opset in model.opset_import if not opset.domain} == {18}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["names"]) == {str(i): str(i) for i in range(10)}
    assert json.loads(told["mean"]) == list(one.preprocessing.mean)
    assert (json.loads(told["size"]), told["version"], told["input"]) == ([16, 16], "0.1.0", "tensor")
    known = in_onnx({"model.onnx": place.read_bytes()}, "it")
    assert (known.classes, known.network, known.preprocessing) == (one.classes, one.network, one.preprocessing)
    assert sum(stage.parameters for stage in known.stages) == sum(p.numel() for p in one.model().parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_unit_and_shortcut_passes_the_exporter(name, tmp_path):
    one = bundle_of(name, size=32)
    told = export.export(one, Wanted("onnx"), tmp_path / "model.onnx", noisy(one))
    assert told.whole.largest < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar_preresnet8", "cifar_highway8"])
def test_a_pre_activation_and_a_gated_network_in_every_form(name, form, tmp_path):
    one = bundle_of(name, size=32)
    assert export.export(one, Wanted(form), tmp_path / NAMES[form], noisy(one)).whole.largest < 1e-4


def test_bf16_is_not_fp32_and_within_its_tolerance(tmp_path):
    told = export.export(bundle_of(), Wanted("openvino", "bf16"), tmp_path / "model", noisy(bundle_of()))
    assert told.whole.largest <= 0.05
    predictor = found(tmp_path / "model").start("auto")
    assert predictor.engine == "openvino:bf16"
    assert predictor.description.precision == "bf16"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("channels", [1, 3])
def test_with_preprocessing_inside_the_graph_sees_what_we_see(fit, interpolation, channels, tmp_path):
    onnx = pytest.importorskip("onnx")
    from resnets.deploy.preprocessing_graph import before_network

    seen = Preprocessing(24, channels, fit, 0.875, interpolation, (0.5,) * channels, (0.25,) * channels)
    model = before_network(seen, 18)
    onnx.checker.check_model(model, full_check=True)
    session = onnx_session({"model.onnx": model.SerializeToString()})
    random = np.random.default_rng(0)
    for height, width in ((24, 24), (37, 90), (200, 61), (9, 14), (24, 300)):
        rough = random.integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
        levels = (session.run(np.asarray(picture)[None])[0] - seen(picture)) * 0.25 * 255
        assert np.abs(levels).max() <= 1.01, "one grey level, of rounding"
        assert np.abs(levels).mean() < 0.2, "and seldom that"


def test_pixels_in_probabilities_out(tmp_path):
    one = replace(bundle_of(), temperature=1.7)
    place = tmp_path / "model.onnx"
    told = export.export(one, Wanted("onnx", input="pixels"), place, noisy(one))
    assert told.whole.largest <= 0.02
    photographs = pictures.of_samples(one.preprocessing)
    assert verified(one, "onnx", read(place)[1], photographs).whole.largest <= 0.02
    session = onnx_session({"model.onnx": place.read_bytes()})
    answers = session.run(np.stack([photographs.originals[0]] * 3))
    assert answers.shape == (3, 10)
    assert np.allclose(answers.sum(1), 1, atol=1e-5)
    with pytest.raises(UsageError, match="has its preprocessing inside"):
        found(place)


def test_gray_and_mean_images_and_other_channels_with_preprocessing_inside(tmp_path):
    for channels in (1, 5):
        one = bundle_of(channels=channels)
        if channels == 1:
            mean = np.random.default_rng(0).uniform(0.3, 0.6, (16, 16, 1))
            one = replace(one, preprocessing=one.preprocessing.with_pixel_mean(mean))
        told = export.export(one, Wanted("onnx", input="pixels"), tmp_path / f"{channels}.onnx", noisy(one))
        assert told.whole.largest <= 0.02


def test_int8_is_calibrated_on_pictures_and_says_so(tmp_path):
    require("nncf")
    one = bundle_of()
    with pytest.raises(UsageError, match="--data DATA"):
        export.export(one, Wanted("openvino", "int8"), tmp_path / "model", noisy(one))
    known = calibrating(one)
    with pytest.raises(UsageError, match="at least 100 pictures"):
        export.export(one, Wanted("openvino", "int8"), tmp_path / "model", replace(known, views=known.views[:99]))
    told = export.export(one, Wanted("openvino", "int8"), tmp_path / "model", known)
    assert 1e-4 < told.whole.largest < 2, "int8 is not fp32"
    assert found(tmp_path / "model").description.precision == "int8"


@pytest.mark.slow
def test_int8_in_onnx_with_and_without_preprocessing_inside(tmp_path):
    require("nncf")
    one = bundle_of()
    told = export.export(one, Wanted("onnx", "int8"), tmp_path / "model.onnx", calibrating(one))
    assert 1e-4 < told.whole.largest < 2, "int8 is not fp32"
    assert found(tmp_path / "model.onnx").description.precision == "int8"
    told = export.export(one, Wanted("onnx", "int8", "pixels"), tmp_path / "pixels.onnx", calibrating(one))
    assert (told.precision, told.input, told.whole.images) == ("int8", "pixels", 100)
    assert told.whole.largest > 1e-4
    assert told.whole.agreement >= 0.97
