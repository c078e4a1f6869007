import io
import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from resnets import bundle
from resnets.bundle import Bundle, Classifier
from resnets.data.images import ImageError
from resnets.data.preprocessing import Preprocessing
from resnets.errors import NumericError, ResnetsError, WeightsError
from resnets.models import create_model

torch.set_num_threads(2)
FACTS = {"data": "beans\n", "split": "20 % test", "seed": 3, "test_error": 12.345, "val_error": None, "recipe": "quick"}


def made(name="cifar_resnet20", classes=4, channels=3):
    """A bundle of a network with random weights and BN statistics that are not 0 and 1."""
    torch.manual_seed(0)
    model = create_model(name, classes, in_channels=channels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.3, 0.7)
    spec = model.spec
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    seen = Preprocessing(spec.size, channels, fit="pad", crop_pct=0.9, interpolation="bicubic", mean=mean, std=std)
    names = tuple(f"class {i}" for i in range(classes))
    return Bundle(spec, dict(model.state_dict()), names, seen, dict(FACTS))


@pytest.fixture
def folder(tmp_path):
    """A saved model folder."""
    bundle.save(made(), tmp_path / "model")
    return tmp_path / "model"


def test_what_is_saved_comes_back(folder):
    saved, loaded = made(), bundle.load(folder)
    for name in ("network", "classes", "preprocessing", "facts"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert set(loaded.tensors) == set(saved.tensors)
    assert all(
        torch.equal(t, saved.tensors[name]) and t.dtype == saved.tensors[name].dtype
        for name, t in loaded.tensors.items()
    )
    x = torch.randn(2, 3, 32, 32)
    model = loaded.model()
    assert not model.training
    torch.testing.assert_close(model(x), saved.model()(x), rtol=0, atol=0)
    assert {p.name for p in folder.iterdir()} == {"README.md", "config.json", "model.safetensors", "MANIFEST.json"}


def test_saving_again_replaces_the_older_one(folder):
    bundle.save(made(classes=6), folder)
    assert len(bundle.load(folder).classes) == 6


TIMM = [
    ("resnet18", 7, 3),
    ("resnet18", 4, 1),
    ("resnet50", 7, 3),
    pytest.param("vgg16_bn", 5, 3, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "classes", "channels"), TIMM)
@torch.inference_mode()
def test_timm_reads_the_folder_and_gives_the_same_logits(name, classes, channels, tmp_path):
    saved = made(name, classes, channels)
    bundle.save(saved, tmp_path / "model")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    x = torch.randn(1, channels, *((224, 224) if name.startswith("vgg") else (96, 96)))
    ours, other = saved.model()(x), theirs(x)
    assert other.shape == (1, classes)
    assert (ours - other).norm() <= 1e-5 * other.norm()
    seen = timm.data.resolve_model_data_config(theirs)
    assert tuple(seen["mean"]) == saved.preprocessing.mean
    assert tuple(seen["std"]) == saved.preprocessing.std
    assert tuple(seen["input_size"]) == (channels, 224, 224)
    assert (seen["interpolation"], seen["crop_pct"], seen["crop_mode"]) == ("bicubic", 0.9, "border")
    assert theirs.pretrained_cfg["label_names"] == list(saved.classes)


def test_name_that_timm_lacks_is_refused_by_timm_and_not_misread(tmp_path):
    bundle.save(made("cifar_resnet20"), tmp_path / "model")
    with pytest.raises(RuntimeError, match="Unknown model"):
        timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True)


def changed(folder, change):
    path = folder / "config.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data) or data))
    (folder / "MANIFEST.json").unlink()  # the change is ours


DAMAGE = {
    "no model folder": lambda d: d.pop("resnets") and None,
    "was made by resnets 9.0; this is": lambda d: d["resnets"].update(format=2, version="9.0"),
    "config.json is missing, damaged or not ours": lambda d: d["resnets"].pop("format") and None,
    "names 5 classes, the network has 4": lambda d: d["label_names"].append("one more"),
    "names 3 classes, the network has 4": lambda d: d["label_names"].pop() and None,
    "does not hold the network of config.json": lambda d: d["resnets"]["network"].update(classes=5),
    "config.json: .*classes": lambda d: d["resnets"]["network"].update(classes="many"),
    "config.json: .*stages": lambda d: d["resnets"]["network"].update(stages=3),
    "config.json: .*size": lambda d: d["resnets"]["preprocessing"].update(size="big"),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_damaged_config_is_one_line(said, folder):
    changed(folder, DAMAGE[said])
    with pytest.raises(ResnetsError, match=said) as problem:
        bundle.load(folder)
    assert "\n" not in str(problem.value)
    assert str(folder) in str(problem.value)


KINDS = {
    "network of wrong types": lambda d: d["resnets"]["network"].update(classes="many"),
    "no network": lambda d: d["resnets"].pop("network") and None,
    "own section a list": lambda d: d.update(resnets=[1]),
    "names a number": lambda d: d.update(label_names=4),
    "no stages": lambda d: d["resnets"]["network"].update(stages=[]),
    "negative classes": lambda d: d["resnets"]["network"].update(classes=-1),
    "facts a number": lambda d: d["resnets"].update(facts=7),
    "not an object": lambda d: [1],
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_of_the_config_is_an_error_of_the_weights(kind, folder):
    changed(folder, KINDS[kind])
    with pytest.raises(WeightsError) as problem:
        bundle.load(folder)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_folder_without_our_config_is_no_model_folder(content, folder):
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"is no model folder: config.json is missing, damaged or not ours"):
        bundle.load(folder)


def test_wrong_tensors_are_refused(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    (folder / "MANIFEST.json").unlink()
    whole = path.read_bytes()
    save_file({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"does not hold the network of config.json"):
        bundle.load(folder)
    save_file({**tensors, "fc.bias": tensors["fc.bias"] / 0}, path)
    with pytest.raises(WeightsError, match=r"'fc.bias' has NaN or infinite values"):
        bundle.load(folder)
    path.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="header and its tensors disagree"):
        bundle.load(folder)
    path.unlink()
    with pytest.raises(WeightsError, match=r"model.safetensors: No such file"):
        bundle.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(value, folder):
    before = (folder / "model.safetensors").read_bytes()
    broken = made()
    broken.tensors["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    with pytest.raises(NumericError, match=r"layer2.0.conv1.weight"):
        bundle.save(broken, folder)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("channels", [1, 3])
def test_predict_answers_alike_for_every_form_of_a_picture(channels, tmp_path):
    model = Classifier(made(channels=channels))
    shape = (40, 50, 3) if channels == 3 else (40, 50)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    array = pixels if channels == 3 else pixels[..., None]
    answers = [
        model.predict(f) for f in (tmp_path / "picture.png", str(tmp_path / "picture.png"), data, picture, array)
    ]
    assert all(answer == answers[0] for answer in answers[1:])
    first = answers[0]
    assert sorted(p.name for p in first) == list(model.classes)
    assert sum(p.probability for p in first) == pytest.approx(1, abs=1e-6)
    assert [p.probability for p in first] == sorted((p.probability for p in first), reverse=True)
    assert model.predict(picture, top=2) == first[:2]
    x = torch.from_numpy(model.bundle.preprocessing(picture))[None]
    logits = model.model(x)[0].softmax(0)
    assert model.classes[int(logits.argmax())] == first[0].name
    assert logits.max().item() == pytest.approx(first[0].probability)


def test_predict_turns_pictures_upright():
    model = Classifier(made())
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20] = 255
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    file = io.BytesIO()
    picture.save(file, "png", exif=exif)
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    assert model.predict(file.getvalue()) == model.predict(upright)
    assert model.predict(Image.open(file)) == model.predict(upright)
    assert model.predict(upright) != model.predict(picture)


def test_predict_refuses_what_is_no_picture():
    with pytest.raises(ImageError, match="cannot read a picture from list"):
        Classifier(made()).predict([1, 2])


def test_card_has_its_head_and_its_figures(folder):
    card = (folder / "README.md").read_text()
    head = card.split("---\n")[1].splitlines()
    assert card.startswith("---\n")
    assert "library_name: resnets" in head
    assert "pipeline_tag: image-classification" in head
    assert r"# cifar_resnet20 for beans\n" in card
    assert "4 classes: class 0, class 1, class 2, class 3." in card
    assert "* test_error: 12.35 %" in card or "* test_error: 12.34 %" in card
    assert "val_error" not in card
    assert "* seed: 3" in card
    assert "* split: 20 % test" in card
    many = replace(made(), classes=tuple("abcdefghijklmnopqrstuvwxyz"))
    assert "t …." in bundle.card(many)
