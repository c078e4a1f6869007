"""Units that stand aside: which, what they leave, what they learn, and the network that has all of them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from resnets.errors import UsageError
from resnets.families import network
from resnets.models import build
from resnets.models.bypass import Bypassed, check_active, expected, only, places, subset
from resnets.models.fused import works
from resnets.models.layers import set_compiled
from resnets.spec import (
    BASIC,
    BN_AFTER_ADDITION,
    ORIGINAL,
    PRE_ACTIVATION,
    RELU_BEFORE_ADDITION,
    RELU_PRE_ACTIVATION,
    VGG,
    Network,
    Stage,
    Stem,
    Unit,
)

ORDERS = [ORIGINAL, BN_AFTER_ADDITION, RELU_BEFORE_ADDITION, RELU_PRE_ACTIVATION, PRE_ACTIVATION]
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 3


def net(unit=None, units=(3, 3)):
    torch.manual_seed(0)
    stages = (Stage(units[0], 4, 1), Stage(units[1], 8, 2))
    return build(Network(Stem(3, 4), stages, unit or Unit(BASIC, shortcut="A"), classes=3, size=8))


def bypassed(model):
    return [isinstance(unit, Bypassed) for stage in model.stages for unit in stage]


@torch.no_grad()
def outputs(model):
    return model.eval()(IMAGES)


def test_some_units_active():
    model = net()
    before, seen = outputs(model), set()
    for seed in range(20):
        with only(model, 4, seed):
            seen.add(tuple(bypassed(model)))
            assert [not gone for gone in bypassed(model)] == subset(6, 4, seed)
            assert sum(bypassed(model)) == 2
    assert len(seen) > 5
    with pytest.raises(ZeroDivisionError), only(model, 0, 0):
        raise ZeroDivisionError
    assert torch.equal(outputs(model), before)
    with only(model, 6, 0):
        assert torch.equal(outputs(model), before)


def test_every_unit_is_active_equally_often():
    counts = torch.tensor([subset(54, 23, seed) for seed in range(2000)]).sum(0) / 2000
    assert counts.sum() == pytest.approx(23, abs=1e-4)
    assert (counts - 23 / 54).abs().max() < 4 * (23 / 54 * 31 / 54 / 2000) ** 0.5  # deviations of a share


def test_what_cannot_be_is_refused_in_one_line():
    for number in (-1, 7):
        with pytest.raises(UsageError, match=f"^active_units is {number}; the network has 6 units$"):
            check_active(net(), number)
    vgg = build(VGG((2, 1), True, classes=3, size=8, widths=(4, 8), hidden=6))
    for model in (net(Unit(BASIC, shortcut="A", merge="none")), vgg):
        with pytest.raises(UsageError, match=r"^a network without shortcuts has one path only, .*$"), only(model, 1, 0):
            raise AssertionError


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("option", ["A", "B"])
def test_units_that_are_not_active_learn_nothing_but_decay(order, option):
    """Their gradients are zeros, not missing: one process and several leave the same to the optimizer."""
    model = net(Unit(BASIC, order, shortcut=option)).train()
    kept = subset(6, 2, 5)
    with only(model, 2, 5):
        F.cross_entropy(model(IMAGES), LABELS).backward()
    moved = [bool(unit.conv1.weight.grad.any()) for _, _, unit in places(model)]
    assert moved == kept
    inner = "bn2" if "bn" in order.before else "bn1"  # the BN between the convolutions
    counts = [int(unit.get_submodule(inner).num_batches_tracked) for _, _, unit in places(model)]
    assert counts == [int(stays) for stays in kept]
    assert all(parameter.grad is not None for _, _, unit in places(model) for parameter in unit.parameters())


@pytest.mark.skipif(not works(), reason="no C++ compiler")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("option", ["A", "B"])
def test_kernels_and_recomputation_change_nothing(order, option):
    """The backward pass comes when the others are back in their places; recomputed segments keep the subset."""
    found = []
    for compiled, segments in ((False, 0), (True, 0), (False, 3), (True, 3)):
        model = net(Unit(BASIC, order, shortcut=option)).train().to(memory_format=torch.channels_last)
        model.recompute = segments
        set_compiled(model, compiled)
        with only(model, 3, 5):
            loss = F.cross_entropy(model(IMAGES), LABELS)
        loss.backward()
        assert not any(bypassed(model))
        tensors = [loss.detach(), *(p.grad for p in model.parameters()), *(b.float() for b in model.buffers())]
        found.append(torch.cat([tensor.flatten() for tensor in tensors]))
    for other in found[1:]:
        assert torch.allclose(other, found[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("merge", ["add", "gate", "scale"])
def test_the_network_of_all_units_by_hand(order, merge):
    """Of one unit: what follows the merge of h(x) and a third of F(x)."""
    model = net(Unit(BASIC, order, shortcut="A", merge=merge), (1, 2)).eval()
    unit, x = model.layer1[0], torch.randn(2, 4, 8, 8).relu()
    activated, branch, carried = unit._entered(x)
    residual = unit._run(branch, activated)
    by_hand = unit._run(unit._after, unit.shortcut(x, carried, residual / 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = expected(model, before, 1)
    model.load_state_dict(made)
    assert torch.allclose(unit(x), by_hand, atol=1e-6)
    changed = [name for name in made if not torch.equal(made[name], before[name])]
    assert {name.split(".")[0] for name in changed} == {"layer1", "layer2"}
    assert all(name.endswith(f"{unit.last_layer}.weight") for name in changed)


def test_the_papers_net():
    model = build(replace(network("cifar_resnet110"), classes=10))
    assert len(places(model)) == 54
    with only(model, 23, 0):
        assert sum(bypassed(model)) == 31
