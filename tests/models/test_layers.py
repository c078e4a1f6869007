"""Virtual batches against BN of each by itself, and recomputation against keeping everything."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnets.models import build, create_model
from resnets.models.layers import BatchNorm, set_ghost_batch
from resnets.spec import BASIC, BOTTLENECK, PRE_ACTIVATION, VGG, Network, Stage, Stem, Unit

torch.set_num_threads(1)  # the tensors are small
TINY = Network(Stem(3, 4), (Stage(3, 4, 1), Stage(2, 8, 2), Stage(2, 16, 2)), Unit(BASIC, shortcut="A"), 5, size=8)
NETWORKS = {
    "option A": TINY,
    "projections": replace(TINY, unit=Unit(BOTTLENECK)),
    "pre-activation": replace(TINY, unit=Unit(BASIC, PRE_ACTIVATION)),
    "stochastic depth": replace(TINY, unit=Unit(BASIC, shortcut="A", stochastic_depth=0.7)),
    "dropout": replace(TINY, unit=Unit(BASIC, shortcut="A", merge="dropout")),
}


def images(count, channels=3, size=8, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def norm(ghost, channels=3):
    layer = BatchNorm(channels)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
    layer.ghost = ghost
    return layer


@pytest.mark.parametrize(
    ("count", "ghost", "sizes"),
    [(8, 4, [4, 4]), (7, 3, [3, 4]), (8, 3, [3, 3, 2]), (5, 4, [5]), (4, 1, [1] * 4), (6, 9, [6]), (6, 6, [6])],
)
def test_every_virtual_batch_has_its_own_statistics(count, ghost, sizes):
    x, layer = images(count, size=2), norm(ghost)
    mean, variance = layer.running_mean.clone(), layer.running_var.clone()
    answer, expected, means, variances = layer(x), [], [], []
    for part in x.split(sizes):
        m, v = part.mean((0, 2, 3)), part.var((0, 2, 3), correction=0)
        scaled = (part - m[:, None, None]) / (v[:, None, None] + 1e-5).sqrt()
        expected.append(scaled * layer.weight[:, None, None] + layer.bias[:, None, None])
        means.append(m)
        variances.append(part.var((0, 2, 3), correction=1))
    torch.testing.assert_close(answer, torch.cat(expected), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.running_mean, 0.9 * mean + 0.1 * torch.stack(means).mean(0))
    torch.testing.assert_close(layer.running_var, 0.9 * variance + 0.1 * torch.stack(variances).mean(0))
    assert layer.num_batches_tracked == 1


def test_two_processes_of_four_are_one_with_virtual_batches_of_four():
    """Correctness point 27: bit for bit, gradients to rounding."""
    x, whole, halves = images(8), norm(4), [norm(0), norm(0)]
    parts = [half(part) for half, part in zip(halves, x.chunk(2), strict=True)]
    assert torch.equal(whole(x), torch.cat(parts))
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(whole, name), sum(getattr(half, name) / 2 for half in halves))
    weights = images(8, seed=1)
    (whole(x) * weights).sum().backward()
    for half, part, w in zip(halves, x.chunk(2), weights.chunk(2), strict=True):
        (half(part) * w).sum().backward()
    torch.testing.assert_close(whole.weight.grad, halves[0].weight.grad + halves[1].weight.grad)


def test_without_virtual_batches_and_in_testing_it_is_pytorchs():
    x, mine, theirs = images(6), norm(0), nn.BatchNorm2d(3)
    theirs.load_state_dict(mine.state_dict())
    assert torch.equal(mine(x), theirs(x))
    mine.ghost = 2
    assert torch.equal(mine.eval()(x), theirs.eval()(x))
    assert list(mine.state_dict()) == list(theirs.state_dict())


def test_a_cumulative_average_and_a_single_value_per_channel():
    layer = norm(2)
    layer.momentum = None
    batches = [images(4, size=2, seed=seed) for seed in range(3)]
    for batch in batches:
        layer(batch)
    means = [part.mean((0, 2, 3)) for batch in batches for part in batch.chunk(2)]
    torch.testing.assert_close(layer.running_mean, torch.stack(means).mean(0))
    assert norm(2)(images(5, size=1)).isfinite().all()  # 2 + 3, not 2 + 2 + 1


def test_memory_format_and_bf16_are_kept():
    x = images(6).contiguous(memory_format=torch.channels_last)
    for ghost in (0, 2):
        with torch.autocast("cpu", torch.bfloat16):
            answer = norm(ghost)(x.bfloat16())
        assert answer.dtype == torch.bfloat16
        assert answer.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("spec", [*NETWORKS.values(), VGG((1,), True, 3, size=8, widths=(4,), hidden=8)])
def test_every_norm_of_a_network_has_virtual_batches(spec):
    model = build(spec)
    set_ghost_batch(model, 16)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, BatchNorm) and module.ghost == 16 for module in norms)


def update(model, segments, bf16=False):
    """Loss, gradients and buffers after one pass with so many recomputed segments, from the same random state."""
    model = copy.deepcopy(model)
    model.recompute = segments
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(images(6))
    loss = F.cross_entropy(logits.float(), torch.arange(6) % 5)
    loss.backward()
    after = torch.rand(())  # the second pass leaves the random state as it was
    gradients = {f"{name}'": p.grad for name, p in model.named_parameters()}
    return {"loss": loss.detach(), "after": after, **gradients, **dict(model.named_buffers())}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("ghost", [0, 4])
@pytest.mark.parametrize("bf16", [False, True])
def test_recomputation_changes_nothing(kind, ghost, bf16):
    """Correctness point 29: bit for bit, whatever is drawn at random, and BN statistics move once."""
    torch.manual_seed(1)
    model = create_model(NETWORKS[kind])
    set_ghost_batch(model, ghost)
    kept = update(model, 0, bf16)
    assert all(tensor is not None for tensor in kept.values())
    assert kept["bn1.num_batches_tracked"] == 1
    for segments in (1, 3, 7, 50):
        again = update(model, segments, bf16)
        assert [name for name in kept if not torch.equal(kept[name], again[name])] == []


def test_recomputation_keeps_less_and_only_in_training():
    model = create_model(replace(TINY, stages=(Stage(12, 4, 1),)))
    saved = []

    def count(tensor):
        saved.append(tensor.numel())
        return tensor

    def kept(segments):
        saved.clear()
        model.recompute = segments
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            maps = model.feature_maps(images(4))
        assert list(maps) == ["stem", "layer1"]
        return sum(saved)

    whole = kept(0)
    assert kept(4) < 0.4 * whole
    model.eval()
    assert kept(4) == kept(0)


def test_a_dropped_unit_computes_nothing_and_its_weights_decay_on():
    spec = replace(TINY, unit=Unit(BASIC, PRE_ACTIVATION, shortcut="A", stochastic_depth=1.0))  # the last is dropped
    model = create_model(spec)
    model(images(4)).sum().backward()
    unit = model.layer3[1]
    assert unit.drop == 1
    assert [int(m.num_batches_tracked) for m in unit.modules() if isinstance(m, BatchNorm)] == [0, 0]
    assert all(p.grad is not None and not p.grad.any() for p in unit.parameters())


DEEP = """
import re, torch
from pathlib import Path
from resnets.models import create_model
from resnets.models.layers import free_at_once
free_at_once()
torch.set_num_threads(1)
model = create_model("cifar_resnet1202")
model.recompute = 60
model(torch.randn(16, 3, 32, 32)).square().sum().backward()
assert all(parameter.grad is not None for parameter in model.parameters())
# not ru_maxrss, which begins at that of the process that starts this one
print(int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_1202_layers_train_in_little_memory():
    """Correctness point 29, at an eighth of its batch; 0.6 GiB are PyTorch, weights and so on."""
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=True, env=os.environ)
    assert float(done.stdout) < 1.4  # GiB
