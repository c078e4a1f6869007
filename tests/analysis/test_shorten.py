import json
from dataclasses import replace

import pytest
import torch
from two_units import OPTION_A, batches, net, outputs, vgg

from resnets.analysis.lesions import pieces, replaced
from resnets.analysis.sample import error_rate
from resnets.analysis.shorten import shorten, shorter
from resnets.errors import UsageError
from resnets.models import build
from resnets.spec import BASIC, BOTTLENECK, PRE_ACTIVATION, Unit

UNITS = (OPTION_A, Unit(BOTTLENECK), Unit(BASIC, PRE_ACTIVATION), Unit(BASIC, shortcut="A", merge="none"))


def rebuilt(spec, tensors):
    model = build(spec).eval()
    model.load_state_dict(tensors, strict=True)
    return model


def lesioned(model, names):
    with replaced(swap for piece in pieces(model) if piece.name in names for swap in piece.without):
        return outputs(model)


@pytest.mark.parametrize("unit", UNITS, ids=["basic", "bottleneck", "pre-activation", "plain"])
@pytest.mark.parametrize("names", [[], ["layer1.1"], ["layer2.2", "layer1.1", "layer2.1"]], ids=len)
def test_the_shorter_net_answers_as_the_lesioned_one(unit, names):
    model = net(unit, (2, 4), (8, 16))
    spec, tensors = shorter(model, names)
    gone = [sum(name.startswith(f"layer{n}") for name in names) for n in (1, 2)]
    assert [stage.units for stage in spec.stages] == [2 - gone[0], 4 - gone[1]]
    assert torch.equal(outputs(rebuilt(spec, tensors)), lesioned(model, names))


def test_stochastic_depth_is_folded():
    model = net(replace(OPTION_A, stochastic_depth=0.5), (2, 3))
    spec, tensors = shorter(model, ["layer2.1"])
    assert spec.unit.stochastic_depth == 0
    assert torch.allclose(outputs(rebuilt(spec, tensors)), lesioned(model, ["layer2.1"]), atol=1e-5)
    with pytest.raises(UsageError, match="stochastic depth"):
        shorter(net(Unit(BASIC, PRE_ACTIVATION, stochastic_depth=0.5), (2, 2)), ["layer1.1"])


@pytest.mark.parametrize("name", ["layer1.0", "layer2.0", "layer3.1", "fc"])
def test_what_cannot_go(name):
    with pytest.raises(UsageError, match="cannot go"):
        shorter(net(units=(2, 2)), [name])


def test_a_dead_unit_goes_first_and_for_nothing():
    model = net(units=(3, 3))
    with torch.no_grad():
        for unit in (model.layer1[2], model.layer2[1]):
            unit.bn2.weight.zero_()
            unit.bn2.bias.zero_()
    found = shorten(model, batches((40, 40)), max_loss=0)
    assert {"layer1.2", "layer2.1"} <= set(found.units)
    assert all(cut.error.mistakes <= found.whole.mistakes for cut in found.cuts)


def test_the_greedy_choice_against_every_choice():
    """Where every cost is measured anew at every step, the unit that goes first is the cheapest of all."""
    model, seen = net(units=(4, 4)), batches((60, 60))
    names = [f"layer{s}.{i}" for s in (1, 2) for i in (1, 2, 3)]
    found = shorten(model, seen, max_loss=100)
    alone = {}
    for name in names:
        with replaced(swap for piece in pieces(model) if piece.name == name for swap in piece.without):
            alone[name] = error_rate(model, seen).mistakes
    assert found.cuts[0].error.mistakes == min(alone.values()) == alone[found.units[0]]
    assert sorted(found.units) == names
    assert found.next is None
    for count, cut in enumerate(found.cuts, 1):  # each error is that of all cuts so far
        model_so_far = rebuilt(*shorter(model, found.units[:count]))
        assert error_rate(model_so_far, seen) == cut.error


def test_where_it_stops():
    model, seen = net(units=(4, 4), seed=2), batches((60, 60))
    whole = error_rate(model, seen).percent
    for most in (0, 2, 5, 10):
        found = shorten(model, seen, max_loss=most)
        assert all(cut.error.percent <= whole + most for cut in found.cuts)
        assert found.next is None or found.next.error.percent > whole + most
        json.dumps(found.as_dict(), allow_nan=False)
        assert found.lines()


def test_nothing_to_shorten():
    for model in (net(), vgg()):
        with pytest.raises(UsageError, match="no unit that can go"):
            shorten(model, batches())
    with pytest.raises(UsageError, match="max_loss"):
        shorten(net(units=(2, 2)), batches(), max_loss=-1)
