"""Averaged BN statistics against the definition, layer by layer."""

import pytest
import torch
from torch import nn

from resnets.models import create_model
from resnets.models.layers import set_ghost_batch
from resnets.spec import BASIC, Network, Stage, Stem, Unit
from resnets.training.statistics import average_statistics

torch.set_num_threads(1)  # the tensors are small
BUSY = Network(
    Stem(3, 4), (Stage(2, 4, 1),), Unit(BASIC, shortcut="A", merge="dropout", stochastic_depth=0.5), 5, size=8
)


def images(count, seed):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * (seed + 1) + seed


BATCHES = [images(6, 0), images(6, 1), images(2, 2)]


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_statistics_are_means_over_batches_weighed_by_their_images():
    model = two_layers()
    model[0].running_mean.fill_(77)
    assert average_statistics(model, BATCHES, 100) == 14
    first, conv, second = model
    means, variances = [], []
    for x in BATCHES:
        deviation = (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()[:, None, None]
        inner = conv((x - x.mean((0, 2, 3))[:, None, None]) / deviation)
        means.append(torch.stack([x.mean((0, 2, 3)), inner.mean((0, 2, 3))[:3]]))
        variances.append(torch.stack([x.var((0, 2, 3)), inner.var((0, 2, 3))[:3]]))
    for index, (mean, variance) in enumerate(
        [(first.running_mean, first.running_var), (second.running_mean[:3], second.running_var[:3])]
    ):
        expected = [sum(n * each[index] for n, each in zip((6, 6, 2), s, strict=True)) / 14 for s in (means, variances)]
        torch.testing.assert_close(mean, expected[0].detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(variance, expected[1].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("images", "seen"), [(1, 6), (6, 6), (7, 12), (14, 14), (15, 14), (0, 0)])
def test_whole_batches_until_there_are_enough(images, seen):
    taken = []

    def batches():
        for batch in BATCHES:
            taken.append(len(batch))
            yield batch

    model = two_layers()
    assert average_statistics(model, batches(), images) == seen
    assert model[0].running_mean.eq(0).all() == (seen == 0)


def test_nothing_else_changes_and_nothing_is_drawn():
    torch.manual_seed(0)
    model = create_model(BUSY)
    model.layer1[0].eval()
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    average_statistics(model, BATCHES, 14)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.rpartition(".")[0] for name in changed} == norms
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    first = {name: tensor.clone() for name, tensor in model.named_buffers() if "num" not in name}
    average_statistics(model, BATCHES, 14)  # no dropout, no stochastic depth, nothing left from before
    assert all(torch.equal(tensor, first[name]) for name, tensor in model.named_buffers() if name in first)


def test_virtual_batches_have_statistics_of_their_own():
    torch.manual_seed(0)
    model = create_model(BUSY)
    average_statistics(model, [half for batch in BATCHES[:2] for half in batch.chunk(2)], 12)
    parts = model.bn1.running_var.clone()
    set_ghost_batch(model, 3)
    average_statistics(model, BATCHES[:2], 12)
    torch.testing.assert_close(model.bn1.running_var, parts)
    set_ghost_batch(model, 0)
    average_statistics(model, BATCHES[:2], 12)
    assert not torch.allclose(model.bn1.running_var, parts, rtol=1e-3)
