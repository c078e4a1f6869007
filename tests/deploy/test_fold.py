"""BN folding: the same function, and every BN accounted for."""

import pytest
import torch
from random_bundles import module_of
from torch import nn

from resnets.deploy.fold import fold

# name → BNs that alone read a convolution, BNs in all. Pre-activation nets: a unit has 2 BNs, and the first one reads
# the sum but in the first unit, whose one reads the stem together with the shortcut and is built as the stem's own.
COUNTS = {
    "cifar_resnet20": (19, 19),
    "cifar_resnet20_b": (21, 21),
    "cifar_preresnet20": (10, 19),
    "cifar_highway20": (19, 19),
    "cifar_resnet20_bn_after_addition": (10, 19),
}


@pytest.mark.parametrize("name", COUNTS)
@torch.inference_mode()
def test_folding_changes_nothing_but_the_layers(name):
    model = module_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(3, 3, 32, 32)
    folded = fold(model)
    assert (folded.layers, folded.of) == COUNTS[name]
    left = sum(isinstance(module, nn.BatchNorm2d) for module in folded.module.modules())
    assert left == folded.of - folded.layers
    expected = model(x)
    assert (folded.module(x) - expected).abs().max() <= 3e-6 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_one_convolution_by_hand():
    """w = 2, b = 1; mean 5, variance 4 (with eps 0), scale 6, shift 7: 6·(2x + 1 − 5)/2 + 7 = 6x − 5."""
    conv, bn = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0).eval()
    with torch.no_grad():
        for tensor, value in ((conv.weight, 2), (conv.bias, 1), (bn.weight, 6), (bn.bias, 7), (bn.running_mean, 5)):
            tensor.fill_(value)
        bn.running_var.fill_(4)
    folded = fold(nn.Sequential(conv, bn).eval())
    (left,) = [module for module in folded.module.modules() if isinstance(module, nn.Conv2d)]
    assert (left.weight.item(), left.bias.item()) == (6, -5)
    assert (folded.layers, folded.of) == (1, 1)


class Branching(nn.Module):
    """The sum of a convolution and of its normalisation: the convolution must stay as it is."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)

    def forward(self, x):
        y = self.conv(x)
        return y + self.bn(y)


def test_a_convolution_that_others_read_is_left():
    torch.manual_seed(0)
    model, x = Branching().eval(), torch.randn(2, 1, 3, 3)
    model.bn.running_mean.fill_(3)
    assert fold(model).layers == 0
    assert torch.equal(fold(model).module(x), model(x))
