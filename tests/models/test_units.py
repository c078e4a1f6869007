import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnets.families import network
from resnets.models import build, create_model, initialise
from resnets.models.shortcuts import Dropout, Gate, ZeroPadding
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
    Network,
    Stage,
    Stem,
    Unit,
)

torch.set_num_threads(1)  # the tensors are small
BRANCHES = pytest.mark.parametrize("convs", [BASIC, BOTTLENECK, ONE_LAYER], ids=["basic", "bottleneck", "one layer"])


def realistic(model, seed=0):
    """MODEL in eval mode, its BNs with scales, shifts and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def between(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for bn in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            between(bn.weight, 0.5, 1.5)
            between(bn.bias, -0.5, 0.5)
            between(bn.running_mean, -0.5, 0.5)
            between(bn.running_var, 0.5, 1.5)
    return model.eval()


def unit(value, widths=(8, 16), stride=2, activated=False, drop=0.0):
    torch.manual_seed(1)
    return realistic(ResidualUnit(value, widths, stride, activated, drop))


def signal(channels=8, size=7, batch=2):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(2))


def bn(layer, x):
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, 1e-5)


def conv(layer, x):
    assert layer.bias is None
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)


# he2016 figure 4, (a) to (e), with two layers: written out, weights shared, u the unit and h its shortcut.
def original(u, x, h):
    y = F.relu(bn(u.bn1, conv(u.conv1, x)))
    return F.relu(h(x) + bn(u.bn2, conv(u.conv2, y)))


def bn_after_addition(u, x, h):
    y = F.relu(bn(u.bn1, conv(u.conv1, x)))
    return F.relu(bn(u.bn2, h(x) + conv(u.conv2, y)))


def relu_before_addition(u, x, h):
    y = F.relu(bn(u.bn1, conv(u.conv1, x)))
    return h(x) + F.relu(bn(u.bn2, conv(u.conv2, y)))


def relu_pre_activation(u, x, h):
    y = bn(u.bn1, conv(u.conv1, F.relu(x)))
    return h(x) + bn(u.bn2, conv(u.conv2, F.relu(y)))


def full_pre_activation(u, x, h):
    y = conv(u.conv1, F.relu(bn(u.bn1, x)))
    return h(x) + conv(u.conv2, F.relu(bn(u.bn2, y)))


FIGURE_4 = {
    "a": (ORIGINAL, original),
    "b": (BN_AFTER_ADDITION, bn_after_addition),
    "c": (RELU_BEFORE_ADDITION, relu_before_addition),
    # The figure's (d) has ReLU before each weight layer and BN after it.
    "d": (RELU_PRE_ACTIVATION, relu_pre_activation),
    "e": (PRE_ACTIVATION, full_pre_activation),
}


@pytest.mark.parametrize("letter", FIGURE_4)
def test_order_is_figure_4(letter):
    order, reference = FIGURE_4[letter]
    u, x = unit(Unit(BASIC, order), (8, 8), stride=1), signal()
    torch.testing.assert_close(u(x), reference(u, x, lambda x: x), rtol=1e-5, atol=1e-6)
    u = unit(Unit(BASIC, order, "A"), (8, 16), stride=2)
    padded = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
    torch.testing.assert_close(u(x), reference(u, x, lambda x: padded), rtol=1e-5, atol=1e-6)


def test_bottleneck_is_figure_5_with_the_stride_in_either():
    x = signal(16)
    for strided in (0, 1):
        u = unit(Unit(BOTTLENECK, strided=strided), (16, 32))
        assert [m.stride[0] for m in (u.conv1, u.conv2, u.conv3)] == [2 if i == strided else 1 for i in range(3)]
        assert [tuple(m.weight.shape[:3]) for m in (u.conv1, u.conv2, u.conv3)] == [(8, 16, 1), (8, 8, 3), (32, 8, 1)]
        y = F.relu(bn(u.bn1, F.conv2d(x, u.conv1.weight, stride=2 - strided)))
        y = F.relu(bn(u.bn2, F.conv2d(y, u.conv2.weight, stride=1 + strided, padding=1)))
        h = bn(u.downsample[1], F.conv2d(x, u.downsample[0].weight, stride=2))
        expected = F.relu(h + bn(u.bn3, F.conv2d(y, u.conv3.weight)))
        torch.testing.assert_close(u(x), expected, rtol=1e-5, atol=1e-6)
        assert len(u.downsample) == 2, "a projection has BN and no ReLU"


def test_pre_activation_takes_raw_and_activated_where_the_appendix_says():
    x = signal(16)
    u = unit(Unit(BOTTLENECK, PRE_ACTIVATION), (16, 32))
    assert [type(m) for m in u.downsample] == [nn.Conv2d], "no BN of its own"
    active = F.relu(bn(u.bn1, x))
    y = F.relu(bn(u.bn2, F.conv2d(active, u.conv1.weight, stride=2)))
    y = F.relu(bn(u.bn3, F.conv2d(y, u.conv2.weight, padding=1)))
    projected = F.conv2d(active, u.downsample[0].weight, stride=2)
    expected = projected + F.conv2d(y, u.conv3.weight)
    torch.testing.assert_close(u(x), expected, rtol=1e-5, atol=1e-6)
    same = unit(Unit(BOTTLENECK, PRE_ACTIVATION), (16, 16), stride=1)
    nn.init.zeros_(same.conv3.weight)
    torch.testing.assert_close(same(x), x, rtol=0, atol=0)  # raw, negative values and all


def test_pre_activation_network_neither_doubles_nor_forgets_an_activation():
    torch.manual_seed(0)
    model = realistic(build(network("cifar_preresnet20")))
    first = model.layer1[0]
    assert not hasattr(first, "bn1")
    assert [name for name, _ in first.named_children() if name.startswith("bn")] == ["bn2"]
    x = signal(3, 32)
    y = F.relu(bn(model.bn1, conv(model.conv1, x)))
    for stage in (model.layer1, model.layer2, model.layer3):
        for i, u in enumerate(stage):
            active = y if u is first else F.relu(bn(u.bn1, y))
            residual = conv(u.conv2, F.relu(bn(u.bn2, conv(u.conv1, active))))
            grow = i == 0 and u is not first
            c = y.shape[1] // 2
            y = (F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, c, c)) if grow else y) + residual
    y = F.relu(bn(model.bn_last, y)).mean((2, 3))
    expected = y @ model.fc.weight.T + model.fc.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    assert not isinstance(build(network("cifar_resnet20")).bn_last, nn.BatchNorm2d)


@pytest.mark.parametrize(("side", "place"), [("symmetric", slice(2, 6)), ("end", slice(0, 4))])
@pytest.mark.parametrize("size", [6, 7])
def test_option_a_takes_every_second_pixel_and_pads_zeros(side, place, size):
    x = torch.arange(1.0, 4 * size * size + 1).reshape(1, 4, size, size)
    y = unit(Unit(BASIC, shortcut="A", option_a=side), (4, 8)).downsample(x)
    half = math.ceil(size / 2)
    assert y.shape == (1, 8, half, half)
    for row in range(half):
        for column in range(half):
            assert y[0, place, row, column].tolist() == x[0, :, 2 * row, 2 * column].tolist()
    outside = [c for c in range(8) if c not in range(8)[place]]
    assert y[:, outside].abs().sum() == 0


def test_option_a_pads_64_to_256_without_a_stride():
    model = build(network("resnet50_a"))
    shortcuts = [stage[0].downsample for stage in model.stages]
    assert [(s.extra, s.stride) for s in shortcuts] == [
        ((96, 96), 1),
        ((128, 128), 2),
        ((256, 256), 2),
        ((512, 512), 2),
    ]
    x = signal(64, 3)
    torch.testing.assert_close(shortcuts[0](x)[:, 96:160], x, rtol=0, atol=0)
    assert build(network("resnet50_a_end")).layer1[0].downsample.extra == (0, 192)
    assert ZeroPadding((1, 2), 1)(x).shape[1] == 67


def test_gate_is_the_highway_unit():
    x = signal()
    for merge in ("gate", "shortcut-gate"):
        u = unit(Unit(BASIC, shortcut="A", merge=merge, gate_bias=-3.0))
        initialise(u)
        realistic(u)
        gate = u.shortcut.gate
        assert gate.weight.shape == (16, 8, 1, 1)
        assert gate.stride == (2, 2)
        assert gate.bias.tolist() == [-3.0] * 16
        g = torch.sigmoid(F.conv2d(x, gate.weight, gate.bias, 2))
        assert g.shape == u(x).shape, "element-wise"
        carried = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        residual = u.bn2(u.conv2(torch.relu(u.bn1(u.conv1(x)))))
        expected = F.relu((1 - g) * carried + (g * residual if merge == "gate" else residual))
        torch.testing.assert_close(u(x), expected, rtol=1e-5, atol=1e-6)
    assert [type(m) for m in u.shortcut.children()] == [nn.Conv2d], "no BN on a gate"


@pytest.mark.parametrize("name", ["cifar_highway20", "cifar_resnet20_shortcut_gate"])
def test_every_gate_starts_at_minus_six(name):
    gates = [m for m in create_model(name).modules() if isinstance(m, Gate)]
    assert len(gates) == 9
    assert all(g.gate.bias.eq(-6).all() and g.gate.weight.std() > 0 for g in gates)


def same_weights(spec, **changes):
    """SPEC as a module, and with its unit changed, with the same weights."""
    torch.manual_seed(3)
    first = realistic(build(spec))
    second = build(replace(spec, unit=replace(spec.unit, **changes))).eval()
    missing, unexpected = second.load_state_dict(first.state_dict(), strict=False)
    assert not unexpected
    return first, second, missing


SMALL = Network(Stem(3, 8), (Stage(2, 8, 1), Stage(1, 16, 2)), Unit(BASIC, shortcut="A"), classes=5, size=12)


@BRANCHES
def test_plain_is_residual_with_shortcut_factor_0(convs):
    spec = replace(SMALL, unit=Unit(convs, shortcut="A", merge="none"))
    plain, scaled, missing = same_weights(spec, merge="scale", scale=(0.0, 1.0))
    _, residual, _ = same_weights(spec, merge="add")
    x = signal(3, 12)
    assert not missing
    torch.testing.assert_close(plain(x), scaled(x), rtol=0, atol=0)
    assert not torch.allclose(plain(x), residual(x), rtol=0.01)


def test_half_scaling_is_an_exclusive_gate_frozen_at_one_half():
    scaled, gated, missing = same_weights(
        replace(SMALL, unit=replace(SMALL.unit, merge="scale", scale=(0.5, 0.5))), merge="gate"
    )
    assert len(missing) == 6
    for module in gated.modules():
        if isinstance(module, Gate):
            nn.init.zeros_(module.gate.weight)
            nn.init.zeros_(module.gate.bias)
    x = signal(3, 12)
    torch.testing.assert_close(gated(x), scaled(x), rtol=1e-6, atol=1e-6)


def test_dropout_shortcut_masks_in_training_and_scales_in_testing():
    merge, x, h, f = Dropout(0.3), torch.empty(0), torch.ones(100, 100), torch.full((100, 100), 5.0)
    torch.manual_seed(0)
    trained = merge.train()(x, h, f)
    assert set(trained.unique().tolist()) == {5.0, 6.0}
    assert trained.mean().item() == pytest.approx(5.7, abs=0.02)
    torch.testing.assert_close(merge.eval()(x, h, f), torch.full((100, 100), 5.7))


def test_stochastic_depth_grows_linearly():
    model = build(network("cifar_resnet20_stochastic_depth"))
    drops = [u.drop for stage in model.stages for u in stage]
    assert drops == pytest.approx([0.5 * number / 9 for number in range(1, 10)])
    assert not any(u.drop for stage in build(network("cifar_resnet20")).stages for u in stage)


def test_stochastic_depth_drops_whole_mini_batches_and_scales_in_testing():
    x = signal(8, 5, batch=4)
    whole, u = (unit(Unit(BASIC, PRE_ACTIVATION), (8, 8), 1, drop=d) for d in (0.0, 0.25))
    torch.testing.assert_close(u(x), x + 0.75 * (whole(x) - x), rtol=1e-5, atol=1e-6)

    def drawn(seed):
        torch.manual_seed(seed)
        u.train()
        return [torch.equal(u(x), x) for _ in range(100)]

    first = drawn(0)
    assert first == drawn(0)
    assert first != drawn(1)
    assert 12 <= sum(first) <= 38  # binomial, mean 25, deviation 4.3
