"""One picture in every form, one model in every memory format, and a model folder that is not what was saved."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import bundle
from resnets.bundle import Bundle, Classifier, as_picture
from resnets.data.images import ImageError, decode
from resnets.data.preprocessing import Preprocessing
from resnets.errors import WeightsError
from resnets.models import create_model

torch.set_num_threads(2)
DICE = np.random.default_rng(0)
BYTES = DICE.integers(0, 256, (20, 30, 4), dtype=np.uint8)
WIDE = DICE.integers(0, 2**16, (20, 30), dtype=np.uint16)


def made():
    torch.manual_seed(0)
    model = create_model("cifar_resnet20", 4)
    return Bundle(model.spec, dict(model.state_dict()), ("a", "b", "c", "d"), Preprocessing(32))


@pytest.fixture
def folder(tmp_path):
    """A saved model folder."""
    bundle.save(made(), tmp_path / "model")
    return tmp_path / "model"


def png(picture, **options):
    file = io.BytesIO()
    picture.save(file, "png", **options)
    return file.getvalue()


FORMS = {
    "RGBA": (BYTES, {}),
    "LA": (BYTES[..., :2], {}),
    "RGB": (BYTES[..., :3], {}),
    "L": (BYTES[..., 0], {}),
    "RGB with a transparent colour": (BYTES[..., :3], {"transparency": tuple(map(int, BYTES[3, 4, :3]))}),
    "16-bit gray": (WIDE, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_is_the_same_from_a_file_from_pillow_and_from_an_array(form):
    pixels, options = FORMS[form]
    data = png(Image.fromarray(np.ascontiguousarray(pixels)), **options)
    expected = decode(data)
    opened = Image.open(io.BytesIO(data))
    for given in (data, opened, *([] if options else [pixels, Image.fromarray(np.ascontiguousarray(pixels))])):
        found = as_picture(given)
        assert found.mode == expected.mode
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    model = Classifier(made())
    assert model.predict(opened) == model.predict(data)


def test_arrays_of_16_bits_are_read_as_files_of_16_bits():
    colours = BYTES.astype(np.uint16) * 257
    assert as_picture(colours).tobytes() == as_picture(BYTES).tobytes()
    assert as_picture(colours[..., :3]).tobytes() == as_picture(BYTES[..., :3]).tobytes()
    assert as_picture(WIDE[..., None]).tobytes() == as_picture(WIDE).tobytes()


@pytest.mark.parametrize(
    "given",
    [np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8), Image.new("F", (4, 4))],
)
def test_what_has_no_rule_is_refused_in_one_line(given):
    with pytest.raises(ImageError) as caught:
        as_picture(given)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_that_pillow_opened_is_an_image_error():
    with pytest.raises(ImageError, match="truncated"):
        as_picture(Image.open(io.BytesIO(png(Image.fromarray(BYTES))[:900])))


@torch.inference_mode()
def test_the_memory_format_of_the_tensors_changes_no_bit():
    saved = made()
    last = torch.channels_last
    turned = {n: t.contiguous(memory_format=last) if t.ndim == 4 else t for n, t in saved.tensors.items()}
    assert any(not t.is_contiguous() for t in turned.values())
    other = Bundle(saved.network, turned, saved.classes, saved.preprocessing).model()
    for (name, ours), theirs in zip(saved.model().state_dict().items(), other.state_dict().values(), strict=True):
        assert ours.stride() == theirs.stride() == torch.empty(ours.shape).stride(), name
    x = torch.randn(8, 3, 32, 32)
    assert torch.equal(saved.model()(x), other(x))


def test_a_flipped_byte_of_the_weights_is_found(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    said = r"model/model\.safetensors is damaged .*expected sha256 [0-9a-f]{12}…, found [0-9a-f]{12}…; get"
    with pytest.raises(WeightsError, match=said):
        bundle.load(folder)


def test_a_changed_config_is_found_unless_the_manifest_is_gone(folder):
    path, manifest = folder / "config.json", folder / "MANIFEST.json"
    path.write_text(path.read_text().replace('"a"', '"z"'))
    with pytest.raises(WeightsError, match=r"config\.json is damaged or was changed"):
        bundle.load(folder)
    manifest.unlink()
    assert bundle.load(folder).classes == ("z", "b", "c", "d")


def test_other_files_in_the_folder_do_not_matter(folder):
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "README.md").write_text("my own words")
    assert bundle.load(folder).classes == made().classes


@pytest.mark.parametrize("content", [b"", b"[]", b'{"files": {"config.json": 3}}', b'{"files": 4}', b"\xff"])
def test_a_manifest_that_is_none_is_refused(content, folder):
    (folder / "MANIFEST.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"MANIFEST\.json cannot be read"):
        bundle.load(folder)
    (folder / "MANIFEST.json").write_text(json.dumps({"files": {}}))
    assert bundle.load(folder).classes == made().classes
