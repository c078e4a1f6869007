import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnets.families import names, network
from resnets.models import build, create_model, initialise
from resnets.models.unit import ResidualUnit
from resnets.spec import (
    BASIC,
    BN_AFTER_ADDITION,
    BOTTLENECK,
    ONE_LAYER,
    ORIGINAL,
    PRE_ACTIVATION,
    RELU_BEFORE_ADDITION,
    RELU_PRE_ACTIVATION,
    VGG,
    Network,
    Order,
    Stage,
    Stem,
    Unit,
)

torch.set_num_threads(1)  # the tensors are small


def tiny(name):
    """The network called NAME with at most three stages of one unit, and few channels."""
    spec = network(name)
    stages = tuple(replace(s, units=1, width=max(8, s.width // 16)) for s in spec.stages[:3])
    return replace(spec, stem=replace(spec.stem, width=8), stages=stages, classes=3, size=32)


TINY = {tiny(name): name for name in reversed(names()) if not name.startswith("vgg")}  # the first name of each value


def images(spec, batch=4, size=None):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, spec.channels, size or spec.size, size or spec.size, generator=generator)


def convs(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def trained_once(spec, **choices):
    """A model of SPEC after one backward pass."""
    torch.manual_seed(0)
    model = create_model(spec, **choices)
    x = images(spec)
    F.cross_entropy(model(x), torch.arange(len(x)) % spec.classes).backward()
    return model


def unreached(model):
    return {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}


@pytest.mark.parametrize("spec", TINY, ids=TINY.values())
def test_every_row_runs_and_its_gradients_reach_every_parameter(spec):
    model = trained_once(replace(spec, unit=replace(spec.unit, stochastic_depth=0.0)))
    assert unreached(model) == set()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    model = build(spec).eval()
    x = images(spec)
    assert model(x).shape == (4, 3)
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)  # testing draws nothing


def test_rows_cover_every_order_merge_and_option():
    units = [spec.unit for spec in TINY]
    assert {u.merge for u in units} == {"add", "none", "scale", "gate", "shortcut-gate", "dropout"}
    assert {u.convs for u in units} == {BASIC, BOTTLENECK, ONE_LAYER}
    assert {(u.shortcut, u.option_a) for u in units} >= {("A", "symmetric"), ("A", "end"), ("B", "symmetric")}
    orders = {ORIGINAL, BN_AFTER_ADDITION, RELU_BEFORE_ADDITION, RELU_PRE_ACTIVATION, PRE_ACTIVATION}
    assert {u.order for u in units} == orders
    assert any(u.stochastic_depth for u in units)


def test_dropped_unit_has_no_gradient_and_its_shortcut_has():
    torch.manual_seed(0)
    spec = replace(tiny("cifar_resnet20"), unit=Unit(BASIC, stochastic_depth=1.0))  # the last is always dropped
    model = create_model(spec)
    model(images(spec)).sum().backward()
    last = model.layer3[0]
    assert all(p.grad is None or not p.grad.any() for p in (last.conv1.weight, last.bn2.weight))
    assert last.downsample[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("bn", [False, True])
def test_vgg_runs_and_its_gradients_reach_every_parameter(bn):
    spec = VGG((1, 1, 2, 2, 2), bn, classes=3, size=32, widths=(4, 8, 8, 16, 16), hidden=32, dropout=0.0)
    model = trained_once(spec)
    assert unreached(model) == set()
    assert len(convs(model)) == 8
    assert spec.layers == 11
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == (8 if bn else 0)
    kinds = [type(m).__name__ for m in build(replace(spec, dropout=0.5)).classifier]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
def test_initial_weights_are_hes(fan):
    torch.manual_seed(0)
    model = create_model("resnet18", fan=fan)
    for conv in convs(model):
        outputs, inputs, k, _ = conv.weight.shape
        variance = 2 / (k * k * (inputs if fan == "fan_in" else outputs))
        assert conv.weight.var().item() == pytest.approx(variance, rel=0.06)
        assert abs(conv.weight.mean().item()) < 0.06 * variance**0.5
        assert conv.weight.abs().max() > 3 * variance**0.5, "normal, not uniform"
    assert model.fc.bias.eq(0).all()
    assert model.fc.weight.var().item() == pytest.approx(2 / (512 if fan == "fan_in" else 1000), rel=0.06)
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_initialise_starts_a_used_network_anew():
    model = create_model("cifar_resnet20")
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(7.0)
        model.bn1.running_mean.fill_(7.0)
    initialise(model)
    assert model.bn1.weight.eq(1).all()
    assert model.bn1.bias.eq(0).all()
    assert model.bn1.running_mean.eq(0).all()


def zeroed(model):
    return {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_resnet20", {f"layer{s}.{i}.bn2" for s in (1, 2, 3) for i in range(3)}),
        ("resnet50", {f"layer{s}.{i}.bn3" for s, n in enumerate((3, 4, 6, 3), 1) for i in range(n)}),
        ("cifar_resnet20_relu_pre_activation", {f"layer{s}.{i}.bn2" for s in (1, 2, 3) for i in range(3)}),
        ("cifar_resnet20_bn_after_addition", set()),
        ("cifar_preresnet110", set()),
        ("cifar_resnet20_relu_before_addition", set()),  # behind a ReLU it would stay 0 for ever
        ("cifar_plain20", set()),  # without shortcuts it would stop everything
    ],
)
def test_last_scales_start_at_0_where_that_can_be_learned(name, expected):
    assert zeroed(create_model(name, zero_last_scale=True)) == expected
    assert zeroed(create_model(name)) == set()


@pytest.mark.parametrize("name", ["cifar_resnet20_relu_before_addition", "cifar_plain20", "cifar_resnet20"])
def test_a_network_with_last_scales_of_0_learns(name):
    model = trained_once(tiny(name), zero_last_scale=True)
    assert {n for n in unreached(model) if n.endswith(("bn2.weight", "bn2.bias", "fc.weight"))} == set()


@pytest.mark.parametrize("spec", TINY, ids=TINY.values())
def test_no_convolution_next_to_bn_has_a_bias(spec):
    for name, module in build(spec).named_modules():
        if isinstance(module, nn.Conv2d):
            assert (module.bias is not None) == name.endswith("shortcut.gate")


def test_convolutions_have_biases_where_there_is_no_bn():
    spec = replace(tiny("cifar_resnet20"), unit=Unit(BASIC, Order((), ("relu",), (), ("relu",))))
    assert all(c.bias is not None for u in build(spec).layer1 for c in (u.conv1, u.conv2))
    assert all(c.bias is not None for c in convs(build(VGG((1,), True, classes=3, widths=(8,), hidden=8))))


def test_stem_pools_as_torch_weights_expect():
    model = build(network("resnet18"))
    assert (model.maxpool.kernel_size, model.maxpool.stride, model.maxpool.padding) == (3, 2, 1)
    assert not model.maxpool.ceil_mode
    assert model.feature_maps(images(model.spec, 1, 64))["stem"].shape == (1, 64, 16, 16)
    assert isinstance(build(network("cifar_resnet20")).maxpool, nn.Identity)


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_preresnet20", "resnet18_bn_after_addition"])
def test_feature_maps_lead_to_the_logits(name):
    model = build(network(name)).eval()
    x = images(model.spec, 2, 32)
    maps = model.feature_maps(x)
    assert list(maps) == ["stem", *(f"layer{i}" for i in range(1, len(model.stages) + 1))]
    assert [m.shape[1] for m in maps.values()] == [model.spec.stem.width, *(s.width for s in model.spec.stages)]
    last = list(maps.values())[-1]
    assert last.min() >= 0, "the last map is activated"
    torch.testing.assert_close(last, model.forward_features(x), rtol=0, atol=0)
    torch.testing.assert_close(model.forward_head(last), model(x), rtol=0, atol=0)
    torch.testing.assert_close(last.mean((2, 3)) @ model.fc.weight.T + model.fc.bias, model(x))
    assert model.get_submodule(model.classifier_name).out_features == model.spec.classes


def test_create_model_takes_classes_channels_and_values():
    model = create_model("cifar_resnet20", 7, in_channels=1)
    assert (model.fc.out_features, model.conv1.in_channels) == (7, 1)
    assert (model.spec.classes, model.spec.channels) == (7, 1)
    again = create_model(model.spec)
    assert again.spec == model.spec
    torch.manual_seed(5)
    first = create_model("cifar_resnet20")
    torch.manual_seed(5)
    assert torch.equal(first.layer2[1].conv1.weight, create_model("cifar_resnet20").layer2[1].conv1.weight)


ORDERS = st.sampled_from([ORIGINAL, BN_AFTER_ADDITION, RELU_BEFORE_ADDITION, RELU_PRE_ACTIVATION, PRE_ACTIVATION])
UNITS = st.builds(
    Unit,
    convs=st.sampled_from([BASIC, BOTTLENECK, ONE_LAYER]),
    order=ORDERS,
    shortcut=st.sampled_from("ABC"),
    merge=st.sampled_from(["add", "none", "scale", "gate", "shortcut-gate", "dropout"]),
    strided=st.just(0),
    option_a=st.sampled_from(["symmetric", "end"]),
    shortcut_bn=st.booleans(),
    stochastic_depth=st.sampled_from([0.0, 0.5]),
)
STAGES = st.lists(
    st.builds(Stage, units=st.integers(1, 3), width=st.sampled_from([8, 12, 16]), stride=st.integers(1, 2)),
    min_size=1,
    max_size=4,
)


def widening(stages):
    return tuple(sorted(stages, key=lambda stage: stage.width))


NETWORKS = st.builds(
    Network,
    stem=st.builds(Stem, st.sampled_from([3, 7]), st.sampled_from([4, 8]), st.integers(1, 2), st.booleans()),
    stages=STAGES.map(widening),
    unit=UNITS,
    classes=st.integers(2, 6),
    channels=st.integers(1, 4),
    size=st.integers(9, 24),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(NETWORKS, st.booleans())
def test_any_network_has_its_shape_and_its_layers(spec, training):
    model = create_model(spec).train(training)
    x = images(spec, 2)
    maps = model.feature_maps(x)
    side = math.ceil(spec.size / spec.stem.stride)
    side = math.ceil(side / 2) if spec.stem.pool else side
    for stage, found in zip(spec.stages, list(maps.values())[1:], strict=True):
        side = math.ceil(side / stage.stride)
        assert found.shape == (2, stage.width, side, side)
    out = model(x)
    assert out.shape == (2, spec.classes)
    assert torch.isfinite(out).all()
    branches = [m for u in model.modules() if isinstance(u, ResidualUnit) for m in u.children()]
    assert spec.layers == 2 + sum(isinstance(m, nn.Conv2d) for m in branches)
    assert spec.features == model.fc.in_features
