"""BN, addition and ReLU in one compiled kernel compute what the layers one by one do."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from resnets import api
from resnets.errors import EnvironmentProblem
from resnets.models import create_model
from resnets.models.fused import normalised_relu, works
from resnets.models.layers import BatchNorm, set_compiled, set_ghost_batch
from resnets.record import read_recipe
from resnets.run import events
from resnets.spec import BASIC, BOTTLENECK, PRE_ACTIVATION, Network, Stage, Stem, Unit
from resnets.start import Machine
from resnets.training.train import Step

torch.set_num_threads(1)  # the tensors are small
pytestmark = pytest.mark.skipif(not works(), reason="no C++ compiler")
TINY = Network(Stem(3, 4), (Stage(2, 4, 1), Stage(2, 8, 2)), Unit(BASIC, shortcut="A"), 5, size=8)
NETWORKS = {
    "option A": TINY,
    "projections": replace(TINY, unit=Unit(BOTTLENECK)),
    "plain": replace(TINY, unit=Unit(BASIC, merge="none")),
    "pre-activation": replace(TINY, unit=Unit(BASIC, PRE_ACTIVATION)),
    "stochastic depth": replace(TINY, unit=Unit(BASIC, shortcut="A", stochastic_depth=0.7)),
    "dropout": replace(TINY, unit=Unit(BASIC, shortcut="A", merge="dropout")),
}


def images(count, channels=3, size=8, seed=0):
    found = torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return found.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 4, 16, 37, 300])
@pytest.mark.parametrize("adds", [False, True])
def test_values_and_gradients_are_those_of_the_formula_in_float64(adds, channels):
    x, carried, dy = (3 + 2 * images(20, channels, seed=seed) for seed in range(3))
    weight, bias = torch.linspace(0.5, 1.5, channels), torch.linspace(-1, 1, channels)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, carried, weight, bias)]
    y, mean, variance = normalised_relu(leaves[0], leaves[1] if adds else None, *leaves[2:], 1e-5)
    y.backward(dy)
    exact = [tensor.double().requires_grad_() for tensor in (x, carried, weight, bias)]
    expected = F.batch_norm(exact[0], None, None, *exact[2:], True, 0.1, 1e-5)
    expected = torch.relu(expected + exact[1] if adds else expected)
    expected.backward(dy.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(variance, x.var((0, 2, 3), correction=0))
    for ours, theirs in zip(leaves, exact, strict=True):
        if theirs.grad is None:
            assert ours.grad is None
        else:
            torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-5)


def computed(x, carried=None):
    """The result and all gradients, one after the other."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, x if carried is None else carried)]
    channels = [torch.linspace(0.5, 2, x.shape[1]).requires_grad_(), torch.linspace(-1, 1, x.shape[1]).requires_grad_()]
    y, *statistics = normalised_relu(leaves[0], None if carried is None else leaves[1], *channels, 1e-5)
    y.backward(images(*x.shape[:3], seed=9).bfloat16().to(x.dtype))
    return [y, *statistics, *(leaf.grad for leaf in (*leaves, *channels) if leaf.grad is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_threads_nor_memory_format_change_a_bit(dtype):
    x, carried = (images(33, 20, seed=seed).to(dtype) for seed in range(2))
    alone, before = computed(x, carried), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = computed(x.contiguous(), carried.contiguous())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_bfloat16_is_rounded_once():
    x, carried = (images(9, 48, seed=seed).bfloat16() for seed in range(2))
    exact = computed(x.float(), carried.float())
    for index in (0, 3, 4):  # the result, and the gradients of x and of what is added
        torch.testing.assert_close(computed(x, carried)[index], exact[index].bfloat16(), rtol=2**-7, atol=1e-6)
    assert torch.equal(computed(x)[0], computed(x.float())[0].bfloat16())


def test_what_is_not_finite_stays_so():
    x = images(4, 3)
    x[1, 2, 0, 0] = float("nan")
    y, *_ = normalised_relu(x, None, torch.ones(3), torch.zeros(3), 1e-5)
    assert y[:, 2].isnan().all()
    assert y[:, :2].isfinite().all()


@pytest.mark.parametrize("change", ["as it is", "recomputed", "virtual batches"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_learn_the_same(name, change):
    torch.manual_seed(0)  # of 1,500 other seeds three put a number so close to 0 that rounding decides its ReLU
    models = [create_model(NETWORKS[name]).to(memory_format=torch.channels_last)]
    models.append(copy.deepcopy(models[0]))
    set_compiled(models[1], True)
    assert all(layer.fuses for layer in models[1].modules() if isinstance(layer, BatchNorm))
    for model in models:
        set_ghost_batch(model, 3 if change == "virtual batches" else 0)
        model.recompute = 2 if change == "recomputed" else 0
        for seed in range(3):
            torch.manual_seed(seed)
            model(images(6, seed=seed)).square().mean().backward()
    tensors = [dict(model.named_parameters()) | dict(model.named_buffers()) for model in models]
    for key, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][key], tensor, rtol=1e-4, atol=1e-5)
        if tensor.grad is not None:
            torch.testing.assert_close(tensors[1][key].grad, tensor.grad, rtol=1e-3, atol=1e-4)
    assert not any(layer.fuses for layer in models[1].eval().modules() if isinstance(layer, BatchNorm))


def kept_bytes(model, x):
    """Bytes of all tensors but weights that wait for the backward pass."""
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}
    keep = lambda tensor: kept.setdefault(tensor.data_ptr(), (tensor, tensor.nbytes))[0]  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _ = model(x).sum()
    return sum(size for place, (_, size) in kept.items() if place not in own)


@pytest.mark.parametrize(("order", "share"), [({}, 0.8), ({"order": PRE_ACTIVATION}, 0.55)])
def test_what_a_convolution_sees_is_computed_again_instead_of_kept(order, share):
    network = replace(TINY, stages=(Stage(6, 16, 1), Stage(6, 32, 2)), unit=Unit(BASIC, shortcut="A", **order), size=32)
    model = create_model(network).to(memory_format=torch.channels_last)
    eager = kept_bytes(model, images(8, size=32))
    set_compiled(model, True)
    assert kept_bytes(model, images(8, size=32)) < share * eager


def losses(folder, precision, kernels):
    recipe = api.plan(
        "digits", network="cifar_resnet8", size=8, updates=20, lr=0.02, batch_size=64, precision=precision,
        kernels=kernels, channels_last=True,
    )  # fmt: skip
    return [event.loss for event in events(recipe, folder, Machine(0)) if isinstance(event, Step)]


def test_without_a_compiler_a_compiled_run_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("resnets.start.works", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"cannot compile here: install g\+\+"):
        losses(tmp_path / "run", "fp32", "compiled")
    monkeypatch.setattr("resnets.estimate.works", lambda: False)
    monkeypatch.setattr("resnets.estimate._LONG", 0.0)
    assert len(losses(tmp_path / "auto", "fp32", "auto")) == 20
    assert read_recipe(tmp_path / "auto").training.kernels == "eager"


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-4), ("bf16", 0.02)])
def test_the_losses_of_20_updates_differ_by_rounding(tmp_path, precision, rounding):
    eager, compiled = (losses(tmp_path / kernels, precision, kernels) for kernels in ("eager", "compiled"))
    assert len(eager) == 20
    assert compiled == pytest.approx(eager, abs=rounding)
    assert compiled != eager
