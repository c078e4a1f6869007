import pytest
import torch
from two_units import batches, hooks, net, vgg

from resnets.analysis.capture import captured, convolutions
from resnets.errors import UsageError
from resnets.spec import BASIC, BN_AFTER_ADDITION, BOTTLENECK, ORIGINAL, PRE_ACTIVATION, Unit


def test_outputs_are_recorded_call_by_call():
    model, (first, second) = net(), batches()
    with torch.no_grad(), captured(model, ["conv1", "layer1.0"], lambda output: output) as found:
        model(first.images)
        model(second.images)
        assert hooks(model) == 2
    assert hooks(model) == 0
    assert torch.equal(found["conv1"][1], model.conv1(second.images))
    assert [len(output) for output in found["layer1.0"]] == [7, 5]


def test_no_hook_is_left_after_an_error():
    model = net()
    with pytest.raises(ZeroDivisionError), captured(model, ["conv1", "bn1"], lambda output: 1 / 0):
        model(batches()[0].images)
    assert hooks(model) == 0
    with pytest.raises(UsageError, match="bn7"), captured(model, ["bn1", "bn7"], len):
        raise AssertionError
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("order", "responses"),
    [
        (ORIGINAL, ["layer1.0.bn1", "layer1.0.bn2"]),
        (PRE_ACTIVATION, ["layer1.0.bn2", "layer1.0.conv2"]),
        (BN_AFTER_ADDITION, ["layer1.0.bn1", "layer1.0.conv2"]),
    ],
)
def test_responses_are_those_of_the_bn_right_after(order, responses):
    layers = convolutions(net(Unit(BASIC, order), units=(1,), widths=(4,)))
    assert [layer.name for layer in layers] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert [layer.response for layer in layers] == ["bn1", *responses]
    assert [layer.after_bn for layer in layers] == [True, *(".bn" in response for response in responses)]


def test_projections_and_gates_are_none_of_them():
    layers = convolutions(net(Unit(BOTTLENECK, merge="gate"), widths=(8, 16), kernel=7))
    assert [layer.kernel for layer in layers] == [7, 1, 3, 1, 1, 3, 1]


@pytest.mark.parametrize("bn", [False, True])
def test_layers_of_a_vgg(bn):
    layers = convolutions(vgg(bn=bn))
    assert [layer.kernel for layer in layers] == [3, 3, 3]
    assert [layer.after_bn for layer in layers] == [bn] * 3
