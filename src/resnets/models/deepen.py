"""he2015's solution by construction (section 1): a trained network made deeper by units that are identities."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..spec import Unit
from .layers import BatchNorm
from .network import ResidualNetwork, initialise
from .unit import ResidualUnit


@torch.no_grad()
def deepen(model: nn.Module, units: int | tuple[int, ...], images: Tensor | None = None) -> ResidualNetwork:
    """A new network with all weights of MODEL and UNITS more, identities, at the end of every stage (or of each).

    In eval mode its outputs are those of MODEL. Units that add begin with F = 0: their last BN has scale 0, or their
    last convolution is 0. That is the identity in training too, which goes on from there. Units without a sum (plain
    and highway nets) begin with Dirac kernels and with BNs that undo themselves: for the mean and variance that IMAGES
    (N, C, H, W) have in MODEL, so that training begins where MODEL was as nearly as batches are alike; without IMAGES
    for 0 and 1, and training begins from what each BN standardises. The other weights are He's initial ones, from
    torch's global random state. Raises UsageError where no unit of this kind is an identity that can learn.
    """
    if not isinstance(model, ResidualNetwork):
        raise UsageError("only a network of units can be deepened, not a VGG net; take a residual or a plain one")
    spec = model.spec
    more = (units,) * len(spec.stages) if isinstance(units, int) else units
    if len(more) != len(spec.stages) or min(more) < 0:
        raise UsageError(f"units is {units}; give a number, or one for each of {len(spec.stages)} stages, from 0 on")
    if obstacle := _obstacle(spec.unit):
        raise UsageError(f"this network cannot be deepened: {obstacle}")
    stages = tuple(replace(stage, units=stage.units + n) for stage, n in zip(spec.stages, more, strict=True))
    deeper = ResidualNetwork(replace(spec, stages=stages))
    initialise(deeper)
    deeper.load_state_dict({**deeper.state_dict(), **model.state_dict()})
    seen = _seen(model, images)
    for number, (old, new) in enumerate(zip(model.stages, deeper.stages, strict=True), 1):
        for unit in new[len(old) :]:
            _BEGINS[spec.unit.merge](unit, *seen(f"layer{number}"))
    return deeper.to(model.fc.weight.device).train(model.training)


def _obstacle(unit: Unit) -> str | None:
    """Why no unit of this kind is an identity that can learn; None where one is."""
    order, adds = unit.order, unit.merge == "add"
    obstacles = {
        f"units that merge by '{unit.merge}' are no identities": unit.merge not in _BEGINS,
        "option C projects in every unit": unit.shortcut == "C" and unit.merge != "none",
        "what stochastic depth scales depends on the number of units": unit.stochastic_depth > 0,
        "BN after the addition changes what the shortcut carries": adds and "bn" in order.after,
        "behind the ReLU that ends its branch a 0 would never learn": adds and order.last[-1:] == ("relu",),
        "where no ReLU follows, negative values do not pass a unit": not adds and order.after[-1:] != ("relu",),
        "a bottleneck without a sum does not let every channel pass": not adds and min(c.width for c in unit.convs) < 1,
    }
    return next((why for why, holds in obstacles.items() if holds), None)


def _seen(model: ResidualNetwork, images: Tensor | None) -> Callable[[str], tuple[Tensor, Tensor]]:
    """Mean and variance per channel at the end of a stage."""
    if images is None:
        return lambda stage: (torch.tensor(0.0), torch.tensor(1.0))
    training = model.training
    maps = model.eval().feature_maps(images)
    model.train(training)
    return lambda stage: (maps[stage].mean((0, 2, 3)), maps[stage].var((0, 2, 3), correction=0))


def _begin_with_zero(unit: nn.Module, mean: Tensor, variance: Tensor) -> None:
    """F(x) = 0."""
    assert isinstance(unit, ResidualUnit)
    convs = [layer for layer in unit.children() if isinstance(layer, nn.Conv2d)]
    nn.init.zeros_((unit.last_bn or convs[-1]).weight)


def _begin_with_identity(unit: nn.Module, mean: Tensor, variance: Tensor) -> None:
    """F(x) = x for x that is nowhere negative."""
    for layer in unit.children():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
        elif isinstance(layer, BatchNorm):
            layer.running_mean.copy_(mean)  # type: ignore[union-attr]
            layer.running_var.copy_(variance)  # type: ignore[union-attr]
            layer.weight.copy_((variance + layer.eps).sqrt())
            layer.bias.copy_(mean)


_BEGINS = {"add": _begin_with_zero, "none": _begin_with_identity, "gate": _begin_with_identity}
