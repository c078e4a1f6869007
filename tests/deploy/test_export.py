"""ONNX and OpenVINO files: the same outputs at any batch size, one file, and nothing kept that differs."""

import numpy as np
import pytest
import torch
from random_bundles import bundle_of, prepared, require

from resnets.deploy import export
from resnets.deploy.compare import compare, noise, refuse
from resnets.errors import NumericError, UsageError

require("onnx", "onnxscript", "onnxruntime", "openvino")
NAMES = {"onnx": "model.onnx", "openvino": "model"}


@pytest.fixture(params=NAMES)
def form(request, monkeypatch):
    """The name of a form, which is converted once for all tests."""
    contents = getattr(prepared(), request.param)
    monkeypatch.setitem(export.FORMS, request.param, export.Form(lambda *_: contents, export.FORMS[request.param].run))
    return request.param


def test_what_is_written_answers_as_pytorch_at_any_batch_size(form, tmp_path):
    bundle, place = bundle_of(), tmp_path / NAMES[form]
    assert export.export(bundle, form, place).largest < 1e-5
    new = place.rename(tmp_path / f"moved-{place.name}")
    contents = {"model.onnx": new.read_bytes()} if form == "onnx" else {p.name: p.read_bytes() for p in new.iterdir()}
    run, model = export.FORMS[form].run(contents), bundle.model()
    for images in (1, 2, 7):
        inputs = bundle.preprocessing.normalise(noise(bundle.preprocessing, images))
        with torch.inference_mode():
            expected = model(torch.from_numpy(inputs)).numpy()
        found = run(inputs)
        assert found.shape == (images, 10)
        assert found.dtype == np.float32
        assert compare(expected, found).largest < 1e-5
    assert len(list(tmp_path.iterdir())) == 1, "nothing beside it"


def test_the_onnx_file_names_what_goes_in_and_out():
    import onnx

    model = onnx.load_from_string(prepared().onnx["model.onnx"])
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    batch, *shape = images.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [side.dim_value for side in shape] == [3, 16, 16]
    assert {opset.version for opset in model.opset_import if not opset.domain} == {18}
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_a_form_that_differs_is_refused_and_the_old_one_stays(form, tmp_path, monkeypatch):
    place = tmp_path / NAMES[form]
    place.write_bytes(b"old")
    right = export.FORMS[form]
    wrong = export.Form(right.make, lambda contents: lambda inputs: right.run(contents)(inputs) * np.float32(1.001))
    monkeypatch.setitem(export.FORMS, form, wrong)
    with pytest.raises(NumericError, match=r"model.* is refused: its outputs differ from PyTorch's by .*e-0[34]"):
        export.export(bundle_of(), form, place)
    assert place.read_bytes() == b"old"


def test_names_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="unknown form 'onix'; nearest: onnx"):
        export.export(bundle_of(), "onix", tmp_path / "x")
    with pytest.raises(UsageError, match=r"\.onnx"):
        export.export(bundle_of(), "onnx", tmp_path / "x")


def test_comparing_by_hand():
    reference = np.array([[1.0, -4.0], [2.0, 0.0]], np.float32)
    found = compare(reference, np.array([[1.0, -4.0], [0.0, 1.0]], np.float32))
    assert (found.largest, found.agreement, found.images) == (0.5, 0.5, 2)
    assert compare(reference, reference).largest == 0
    lost = compare(reference, np.full((2, 2), np.nan, np.float32))
    assert lost.largest == float("inf")
    with pytest.raises(NumericError):
        refuse("it", "int8", lost)


def test_equal_answers_are_asked_for_where_there_are_enough_images():
    reference = np.eye(100, 10, dtype=np.float32) + np.arange(10, dtype=np.float32) * 1e-3
    found = reference.copy()
    found[:4] = found[:4, ::-1] * 0.6
    assert compare(reference, found).agreement < 0.97
    far = compare(reference, found)
    with pytest.raises(NumericError, match="answers like PyTorch on 9"):
        refuse("it", "int8", type(far)(0.1, far.agreement, 100))
    refuse("it", "int8", type(far)(0.1, far.agreement, 99))
    refuse("it", "int8", type(far)(0.1, 0.97, 100))
