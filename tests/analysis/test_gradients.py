import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from two_units import OPTION_A, batches, hooks, net, vgg

from resnets.analysis.gradients import FARTHEST, RULE, Signal, Signals, gradients, picture
from resnets.models.layers import set_compiled


def test_two_units_by_hand():
    model, (batch,) = net(), batches((7,))
    found = gradients(model, [batch])
    model.train()
    responses = [model.bn1(model.conv1(batch.images))]
    x = responses[0].relu()
    for unit in (model.layer1[0], model.layer2[0]):
        responses.append(unit.bn1(unit.conv1(x)))
        responses.append(unit.bn2(unit.conv2(responses[-1].relu())))
        x = (unit.downsample(x) + responses[-1]).relu()
    for response in responses:
        response.retain_grad()
    F.cross_entropy(model.forward_head(x), batch.labels).backward()
    spread = [float((r - r.mean((0, 2, 3), keepdim=True)).detach().square().mean()) ** 0.5 for r in responses]
    assert [x.deviation for x in found.layers] == pytest.approx(spread, rel=1e-5)
    assert [x.gradient for x in found.layers] == pytest.approx([float(r.grad.norm()) for r in responses], rel=1e-4)
    convs = [model.conv1, *(getattr(s[0], name) for s in model.stages for name in ("conv1", "conv2"))]
    assert [x.weights for x in found.layers] == pytest.approx([float(c.weight.grad.norm()) for c in convs], rel=1e-4)


def test_batches_count_by_their_images():
    model, (first, second) = net(), batches()
    one, two, both = (gradients(model, each).layers[0].gradient for each in ([first], [second], [first, second]))
    assert both == pytest.approx((7 * one + 5 * two) / 12)


@pytest.mark.parametrize("unit", [OPTION_A, replace(OPTION_A, stochastic_depth=0.5, merge="dropout")])
def test_nothing_is_changed(unit):
    model = net(unit)
    model.recompute = 2
    model.layer1.train()
    set_compiled(model, True)
    model.conv1.weight.requires_grad_(False)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [(m.training, getattr(m, "compiled", None), getattr(m, "drop", None)) for m in model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert gradients(model, batches()) == gradients(model, batches())
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert modes == [(m.training, getattr(m, "compiled", None), getattr(m, "drop", None)) for m in model.modules()]
    assert (model.recompute, model.conv1.weight.requires_grad, model.fc.weight.requires_grad) == (2, False, True)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks(model) == 0


def test_the_rule():
    def signals(*pairs):
        return Signals(1, tuple(Signal("x", deviation, gradient, 1.0) for deviation, gradient in pairs))

    assert signals((1, 1), (0.5, FARTHEST)).healthy
    assert not signals((1, 1), (1, 1.01 * FARTHEST)).healthy
    assert not signals((1, 1), (1e-4, 1)).healthy
    for bad in (0.0, math.inf, math.nan):
        broken = signals((1, 1), (1, bad))
        assert not broken.healthy
        assert broken.spread == math.inf
        json.dumps(broken.as_dict(), allow_nan=False)
        assert not signals((bad, 1)).healthy
    assert signals((1, 1)).as_dict()["rule"] == RULE
    assert signals((1, 1), (1, 1e4)).verdict.endswith("vanish towards the input")
    assert signals((1, 1e4), (1, 1)).verdict.endswith("grow towards the input")


def test_a_layer_that_puts_out_nothing_is_not_healthy():
    model = net()
    assert gradients(model, batches()).healthy
    with torch.no_grad():
        model.layer1[0].bn1.weight.zero_()
    assert not gradients(model, batches()).healthy


def test_told_and_drawn():
    found = {"a": gradients(net(), batches()), "vgg": gradients(vgg(), batches())}
    assert len(found["vgg"].layers) == 3
    assert "healthy" in found["a"].lines()[-2]
    assert ET.fromstring(picture(found)).tag.endswith("svg")
