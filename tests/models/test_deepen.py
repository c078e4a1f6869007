from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnets.errors import UsageError
from resnets.families import network
from resnets.models import build, create_model
from resnets.models.deepen import deepen
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
    Stage,
    Stem,
    Unit,
)

torch.set_num_threads(1)  # the tensors are small
SMALL = Network(Stem(3, 8), (Stage(1, 8, 1), Stage(1, 16, 2)), Unit(BASIC, shortcut="A"), classes=3, size=8)
KINDS = {
    "residual": Unit(BASIC, shortcut="A"),
    "one layer": Unit(ONE_LAYER),
    "bottleneck": Unit(BOTTLENECK),
    "pre-activation": Unit(BASIC, PRE_ACTIVATION),
    "pre-activation bottleneck": Unit(BOTTLENECK, PRE_ACTIVATION),
    "ReLU pre-activation": Unit(BASIC, RELU_PRE_ACTIVATION),
    "plain": Unit(BASIC, shortcut="A", merge="none"),
    "plain one layer": Unit(ONE_LAYER, shortcut="A", merge="none"),
    "highway": Unit(BASIC, shortcut="A", merge="gate", gate_bias=-1.0),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def used(spec, seed=0):
    """A network with weights, scales and statistics as if it were trained, in eval mode."""
    torch.manual_seed(seed)
    model = create_model(spec)
    with torch.no_grad():
        for bn in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            for tensor, low, high in ((bn.weight, 0.5, 1.5), (bn.bias, -0.5, 0.5), (bn.running_mean, -0.5, 0.5)):
                tensor.uniform_(low, high)
            bn.running_var.uniform_(0.5, 1.5)
    return model.eval()


def images(count=16, seed=1):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def settled(spec):
    """A network in training mode whose running statistics are those of `images`."""
    model = used(spec).train()
    for bn in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        bn.momentum = 1.0
    with torch.no_grad():
        model(images())
    return model


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


@EVERY
@pytest.mark.parametrize("seen", [None, images()], ids=["", "with images"])
def test_outputs_are_those_of_the_shallower_network(kind, seen):
    model = used(replace(SMALL, unit=KINDS[kind]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    deeper = deepen(model, (3, 2), seen)
    assert [stage.units for stage in deeper.spec.stages] == [4, 3]
    assert deeper.spec == replace(model.spec, stages=deeper.spec.stages)
    x = images(seed=2)
    assert distance(deeper(x), model(x)) < 1e-5
    now, same = model.state_dict(), deeper.state_dict()
    assert all(torch.equal(tensor, now[name]) and torch.equal(tensor, same[name]) for name, tensor in before.items())
    assert not model.training
    assert not deeper.training


def test_the_spec_is_that_of_the_deeper_name():
    torch.manual_seed(0)
    for shallow, deep in (("cifar_resnet8", "cifar_resnet20"), ("cifar_plain8", "cifar_plain20")):
        assert deepen(create_model(shallow), 2).spec == network(deep)
    deeper = deepen(create_model("resnet18"), (1, 2, 4, 1))
    assert deeper.spec == network("resnet34")
    assert deeper.layer4[2].conv1.weight.var().item() == pytest.approx(2 / (9 * 512), rel=0.02)  # He's


@pytest.mark.parametrize("kind", [kind for kind, unit in KINDS.items() if unit.merge == "add"])
def test_a_residual_network_is_the_same_in_training_too(kind):
    model = settled(replace(SMALL, unit=KINDS[kind]))
    deeper = deepen(model, 3)
    assert deeper.training
    x = images(seed=2)
    assert distance(deeper(x), model(x)) < 1e-5


@pytest.mark.parametrize("kind", ["plain", "plain one layer", "highway"])
def test_a_plain_network_is_nearly_the_same_in_training_where_it_saw_images(kind):
    model = settled(replace(SMALL, unit=KINDS[kind]))
    x = images()
    assert distance(deepen(model, 3, x)(x), model(x)) < 0.02  # running variances are those of n - 1
    assert distance(deepen(model, 3)(x), model(x)) > 0.1


@EVERY
def test_training_goes_on_and_reaches_the_added_units(kind):
    torch.manual_seed(0)
    x, labels = images(48), torch.arange(48) % 3
    model = create_model(replace(SMALL, unit=KINDS[kind]))
    shallow = descend(model, x, labels, 10)
    deeper = deepen(model, 2, x)
    losses = descend(deeper, x, labels, 30)
    assert losses[0] < shallow[0]
    assert losses[-1] < 0.6 * losses[0]
    F.cross_entropy(deeper(x), labels).backward()
    added = [unit for stage in deeper.stages for unit in list(stage)[1:]]
    assert len(added) == 4
    assert all(p.grad.abs().sum() > 0 for unit in added for p in unit.parameters())


def descend(model, x, labels, updates):
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), []
    model.train()
    for _ in range(updates):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    optimizer.zero_grad()
    return losses


ORDERS = (ORIGINAL, BN_AFTER_ADDITION, RELU_BEFORE_ADDITION, RELU_PRE_ACTIVATION, PRE_ACTIVATION)
MERGES = ("add", "none", "scale", "gate", "shortcut-gate", "dropout")


def test_every_kind_of_unit_is_an_identity_or_refused():
    refused = 0
    x = images(4)
    for convs, order, merge, option in product((BASIC, BOTTLENECK, ONE_LAYER), ORDERS, MERGES, "ABC"):
        unit = Unit(convs, order, option, merge, scale=(0.5, 1.0))
        model = used(replace(SMALL, unit=unit))
        try:
            deeper = deepen(model, 1)
        except UsageError:
            refused += 1
            continue
        assert distance(deeper(x), model(x)) < 1e-5, unit
    assert refused < 3 * len(ORDERS) * len(MERGES) * 3 - 36


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (Unit(BASIC, shortcut="C"), "option C"),
        (Unit(BASIC, merge="scale", scale=(0.5, 0.5)), "merge by 'scale'"),
        (Unit(BASIC, merge="dropout"), "merge by 'dropout'"),
        (Unit(BASIC, merge="shortcut-gate"), "merge by 'shortcut-gate'"),
        (Unit(BASIC, stochastic_depth=0.5), "stochastic depth"),
        (Unit(BASIC, BN_AFTER_ADDITION), "BN after the addition"),
        (Unit(BASIC, RELU_BEFORE_ADDITION), "never learn"),
        (Unit(BASIC, PRE_ACTIVATION, merge="none"), "negative values"),
        (Unit(BOTTLENECK, merge="none"), "every channel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_say_why(unit, why):
    with pytest.raises(UsageError, match=why):
        deepen(build(replace(SMALL, unit=unit)), 1)


@pytest.mark.parametrize("units", [-1, (1,), (1, -1), (1, 1, 1)])
def test_refuses_a_wrong_number_of_units(units):
    with pytest.raises(UsageError, match="for each of 2 stages"):
        deepen(build(SMALL), units)


def test_refuses_vgg():
    with pytest.raises(UsageError, match="not a VGG net"):
        deepen(build(VGG((1,), False, classes=3, widths=(4,), hidden=4)), 1)
