import hashlib

import pytest
import timm
import torch
from torch import nn
from torchvision import models as theirs

from resnets.errors import UsageError, WeightsError
from resnets.families import network
from resnets.models import create_model, load_weights
from resnets.models.weights import check_origin, fit_weights, our_names, timm_vgg_names
from resnets.spec import VGG

torch.set_num_threads(2)


def realistic(model, seed=0):
    """MODEL in eval mode with random weights and BN statistics such as training leaves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.3, 0.7),
                    (module.bias, -0.2, 0.2),
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.8, 1.2),
                ):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
                module.num_batches_tracked.fill_(7)
    return model.eval()


def bare(name):
    """One of our networks without any initial weights worth the name: all tensors are 3."""
    with torch.device("meta"):
        model = create_model(name)
    model = model.to_empty(device="cpu").eval()
    for tensor in model.state_dict().values():
        tensor.fill_(3)
    return model


def error(ours, other):
    return ((ours - other).norm() / other.norm()).item()


def assert_same_tensors(first, second):
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert torch.equal(tensor, second[name]), name


def fingerprint(model):
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


DEEP = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnet152", "vgg19", "vgg19_bn", "vgg16")]
VGGS = [pytest.param("vgg16_bn", marks=pytest.mark.slow), *DEEP[2:]]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "vgg16_bn", *DEEP])
def test_torchvision_loads_agrees_and_goes_back(name):
    torch.manual_seed(0)
    other = realistic(getattr(theirs, name)(weights=None))
    ours = bare(name)
    ours.load_state_dict(other.state_dict(), strict=True)
    x = torch.randn(1, 3, *((224, 224) if name.startswith("vgg") else (64, 64)))
    expected = other(x)
    assert torch.isfinite(expected).all()
    assert expected.std() > 1e-3
    assert error(ours(x), expected) <= 1e-5
    assert_same_tensors(ours.state_dict(), other.state_dict())
    with torch.device("meta"):
        back = getattr(theirs, name)(weights=None)
    back.load_state_dict(ours.state_dict(), strict=True, assign=True)
    assert torch.equal(back.eval()(x), expected)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", *DEEP[:2]])
def test_timm_loads_agrees_and_goes_back(name):
    torch.manual_seed(0)
    other = realistic(timm.create_model(name))
    ours = bare(name)
    ours.load_state_dict(other.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    expected = other(x)
    assert error(ours(x), expected) <= 1e-5
    other.load_state_dict(ours.state_dict(), strict=True)
    assert torch.equal(other(x), expected)


@torch.inference_mode()
@pytest.mark.parametrize("name", VGGS)
def test_timm_vgg_goes_through_the_map_both_ways(name):
    torch.manual_seed(0)
    other = realistic(timm.create_model(name))
    ours = bare(name)
    assert load_weights(ours, other.state_dict(), "timm").notes == ()
    x = torch.randn(1, 3, 224, 224)
    expected = other(x)
    assert error(ours(x), expected) <= 1e-5
    assert_same_tensors(timm_vgg_names(ours.state_dict()), dict(other.state_dict()))
    assert set(our_names(other.state_dict())) == set(ours.state_dict())


def small(name="cifar_resnet20", classes=None, channels=None):
    torch.manual_seed(0)
    return realistic(create_model(name, classes, in_channels=channels))


@pytest.fixture(scope="module")
def fifty():
    """The tensors of a ResNet-50 of torchvision's shape."""
    return dict(realistic(create_model("resnet50")).state_dict())


@pytest.fixture(scope="module")
def fifties():
    """Both ResNet-50, which refuse and so stay as they are."""
    return {name: bare(name) for name in ("resnet50", "resnet50_v1")}


@pytest.mark.parametrize(
    ("name", "origin", "right"),
    [
        ("resnet50_v1", "torchvision", "resnet50"),
        ("resnet50_v1", "timm", "resnet50"),
        ("resnet50_v1", "fb.resnet.torch", "resnet50"),
        ("resnet50", "msra", "resnet50_v1"),
        ("resnet50", "detectron2", "resnet50_v1"),
        ("resnet50", "mmpretrain-caffe", "resnet50_v1"),
        ("resnet50", "keras", "resnet50_v1"),
    ],
)
def test_wrong_stride_is_refused_and_the_right_network_named(fifty, fifties, name, origin, right):
    model = fifties[name]
    before = fingerprint(model)
    with pytest.raises(WeightsError, match=rf"load them into {right}, not {name}$"):
        load_weights(model, fifty, origin)
    assert fingerprint(model) == before
    check_origin(network(right), origin, "")


@pytest.mark.parametrize("origin", [None, "akamaster"])
def test_bottleneck_without_an_origin_is_refused(fifty, fifties, origin):
    model = fifties["resnet50"]
    before = fingerprint(model)
    with pytest.raises(WeightsError, match=r"cannot tell whether its stride .* --origin .*torchvision.*msra"):
        load_weights(model, fifty, origin)
    assert fingerprint(model) == before


def test_option_c_of_v1_names_its_own_twin():
    with pytest.raises(WeightsError, match=r"load them into resnet50_c, not resnet50_v1_c$"):
        load_weights(bare("resnet50_v1_c"), {}, "timm")


def test_pre_activation_of_another_stride_names_no_network_that_is_not_there():
    with pytest.raises(WeightsError, match="first 1x1") as problem:
        load_weights(bare("preresnet50"), {}, "keras")
    assert "custom" not in str(problem.value)


def test_unknown_origin_is_refused():
    model = small()
    before = fingerprint(model)
    with pytest.raises(UsageError, match="unknown origin of weights 'torchvison'; nearest: torchvision"):
        load_weights(model, dict(model.state_dict()), "torchvison")
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", ["resnet18", "cifar_resnet20", "cifar_resnet164"])
def test_networks_of_one_stride_need_no_origin(name):
    source = small(name)
    model = bare(name)
    assert load_weights(model, dict(source.state_dict())).notes == ()
    assert fingerprint(model) == fingerprint(source)


def test_file_named_by_torchvision_with_its_hash_tells_its_origin(fifty, tmp_path):
    torch.save(fifty, tmp_path / "weights.pth")
    head = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    named = (tmp_path / "weights.pth").rename(tmp_path / f"resnet50-{head}.pth")
    assert load_weights(bare("resnet50"), named).notes == ()
    with pytest.raises(WeightsError, match="load them into resnet50, not resnet50_v1"):
        load_weights(bare("resnet50_v1"), named)
    other = named.rename(tmp_path / "resnet50-00000000.pth")
    with pytest.raises(WeightsError, match=r"^resnet50-00000000.pth: cannot tell"):
        load_weights(bare("resnet50"), other)


TINY_VGG = VGG((1, 1), bn=True, classes=10, size=8, widths=(4, 4), hidden=8)


@pytest.mark.parametrize("value", ["cifar_resnet20", TINY_VGG], ids=["residual", "vgg"])
def test_other_class_count_keeps_the_body_and_says_so(value, caplog):
    source, model = small(value), small(value, classes=7)
    own = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    loaded = load_weights(model, dict(source.state_dict()))
    assert loaded.new_classifier
    assert loaded.notes == ("new classifier for 7 classes; the body is kept, the file has 10 classes",)
    assert "the state dict: new classifier for 7 classes" in caplog.text
    for key, tensor in model.state_dict().items():
        kept = key.startswith(f"{model.classifier_name}.")
        assert torch.equal(tensor, own[key] if kept else source.state_dict()[key]), key


def test_three_channels_become_one_and_back():
    colour, gray = small(), small(channels=1)
    x = torch.randn(2, 1, 32, 32)
    expected = colour(x.expand(-1, 3, -1, -1))
    loaded = load_weights(gray, dict(colour.state_dict()))
    assert loaded.notes == ("conv1.weight: 3 input channels summed into one",)
    assert not loaded.new_classifier
    assert error(gray(x), expected) <= 1e-5
    again = small()
    assert load_weights(again, dict(gray.state_dict())).notes == (
        "conv1.weight: 1 input channels repeated to 3 and scaled by 1/3",
    )
    assert error(again(x.expand(-1, 3, -1, -1)), expected) <= 1e-5
    assert error(again(torch.cat([3 * x, 0 * x, 0 * x], 1)), expected) <= 1e-5


def without(name):
    return lambda t: {k: v for k, v in t.items() if k != name}


DAMAGE = {
    "missing layer2.0.conv1.weight": without("layer2.0.conv1.weight"),
    "unexpected extra.weight": lambda t: {**t, "extra.weight": torch.zeros(1)},
    r"fc.weight is \(10, 32\), not \(10, 64\)": lambda t: {**t, "fc.weight": torch.zeros(10, 32)},
    r"fc.weight is \(7, 32\), not \(10, 64\)": lambda t: {**t, "fc.weight": torch.zeros(7, 32)},
    r"conv1.weight is \(16, 1, 5, 5\)": lambda t: {**t, "conv1.weight": torch.zeros(16, 1, 5, 5)},
    r"unexpected bad\\n\\x1b\[1mname": lambda t: {**t, "bad\n\x1b[1mname": torch.zeros(1)},
    r"missing conv1.weight; .* and \d+ more": lambda t: {"x": torch.zeros(1)},
    "'fc.weight' stands in it twice": lambda t: {**t, "linear.weight": t["fc.weight"] + 1},
}


@pytest.mark.parametrize("said", DAMAGE)
def test_tensors_that_do_not_fit_change_nothing(said):
    model = small()
    before = fingerprint(model)
    tensors = DAMAGE[said]({k: v + 1 for k, v in model.state_dict().items()})
    with pytest.raises(WeightsError, match=said) as problem:
        load_weights(model, tensors)
    assert "\n" not in str(problem.value)
    assert fingerprint(model) == before


def test_weights_of_another_known_network_are_refused():
    model, source = small("cifar_resnet20_a_end"), small()
    before = fingerprint(model)
    with pytest.raises(WeightsError, match="x is a cifar_resnet20, not a cifar_resnet20_a_end"):
        fit_weights(model, source.state_dict(), "x", source.spec)
    assert fingerprint(model) == before


def test_files_of_before_torch_0_4_1_load():
    source, model = small(), small("cifar_resnet20")
    old = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert load_weights(model, old).notes == ()
