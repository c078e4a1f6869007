"""Muon against its definition by singular values, and which weights it takes."""

import pytest
import torch
from torch import nn

from resnets.errors import UsageError
from resnets.families import network
from resnets.models import create_model
from resnets.recipe import Training, change, checked
from resnets.recipes import recipe
from resnets.training.optimizer import named_state, optimizer, orthogonal, set_rate


@pytest.mark.parametrize("shape", [(8, 8), (16, 27), (27, 16), (3, 64, 576)])
def test_singular_values_end_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64) * 5
    found, exact = orthogonal(matrices), torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.25
    alike = torch.cosine_similarity(found.flatten(-2), (exact.U @ exact.Vh).flatten(-2), dim=-1)
    assert float(alike.min()) > 0.97


def test_convolutions_without_a_bias_turn_and_all_others_are_sgds():
    torch.manual_seed(0)
    training = Training(optimizer="muon", muon_lr=0.05, lr=0.2, momentum=0.8, weight_decay=0.01, nesterov=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3, bias=False), nn.Conv2d(4, 2, 1)).double()
    optim = optimizer(model, "none", training)
    mine = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    velocity = {name: torch.zeros_like(weight) for name, weight in mine.items()}
    for rate in (0.2, 0.1, 0.02):
        model(torch.randn(4, 3, 6, 6, dtype=torch.float64)).square().mean().backward()
        for name, weight in model.named_parameters():
            turns = name in ("0.weight", "1.weight")
            gradient = weight.grad + (0 if turns else 0.01 * mine[name])
            velocity[name] = 0.8 * velocity[name] + gradient
            step = gradient + 0.8 * velocity[name]
            if turns:
                mine[name] *= 2 / mine[name].norm()  # √4 rows
                mine[name] -= rate * 0.25 * orthogonal(step.flatten(1)).view(step.shape)
            else:
                mine[name] -= rate * step
        set_rate(optim, rate)
        optim.step()
        optim.zero_grad()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight.detach(), mine[name], rtol=1e-9, atol=1e-12)
    assert len(named_state(optim, model)) == 4


def test_without_a_gradient_nothing_moves():
    model = create_model(network("cifar_resnet8"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer(model, "fc", Training(optimizer="muon")).step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_caffes_momentum_is_sgds():
    with pytest.raises(UsageError, match="set optimizer to sgd"):
        checked(
            change(recipe("cifar-2015", network("cifar_resnet20"), "cifar10"), optimizer="muon", momentum_form="caffe")
        )
