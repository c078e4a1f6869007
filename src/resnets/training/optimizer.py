"""SGD with momentum, or Muon, over named groups of parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..recipe import Training


class Muon(torch.optim.SGD):
    """SGD; in groups with `orthogonal`, momentum is orthogonalised first (Jordan et al. 2024, "Muon").

    Such a weight (out, …) is a matrix of `out` rows. Every update takes a step of a length that the rate alone decides,
    and the matrix is brought back to the norm √out: BN makes what follows independent of it (arXiv:2409.20325).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["orthogonal"]:
                self._turn(group)

    def _turn(self, group: dict[str, Any]) -> None:
        """Matrices of one shape together."""
        shapes: dict[torch.Size, list[Tensor]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                shapes.setdefault(weight.shape, []).append(weight)
        for weights in shapes.values():
            given = torch.stack([self._momentum(weight, group["momentum"]) for weight in weights])
            turned = orthogonal(given.flatten(2))
            for weight, direction in zip(weights, turned, strict=True):
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.sub_(direction.view(weight.shape), alpha=group["lr"])

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        """Nesterov's form."""
        assert weight.grad is not None
        kept = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
        kept.mul_(momentum).add_(weight.grad)
        return weight.grad.add(kept, alpha=momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Roughly U·Vᵀ of each matrix U·S·Vᵀ, (…, rows, columns): five steps of a quintic Newton–Schulz iteration.

    Singular values end between 0.7 and 1.2; the coefficients are Jordan's, steepest at 0.
    """
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    upright = x.shape[-2] > x.shape[-1]
    x = x.mT if upright else x
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if upright else x


def optimizer(model: nn.Module, classifier: str, training: Training) -> torch.optim.SGD:
    """The optimizer of MODEL: groups by decay, and by rate where the body learns more slowly than the classifier.

    "all" decays every parameter, "no-norm-bias" neither BN nor biases (correctness point 25). Every group carries
    `scale`, its factor of the scheduled rate. Muon takes the convolutions without a bias: those that BN goes with.
    """
    muon = training.optimizer == "muon"
    turned = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is None} if muon else set()
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        scale = 1.0 if name.startswith(f"{classifier}.") else training.body_lr
        decays = training.decay == "all" or parameter.dim() > 1
        if id(parameter) in turned:
            key = (scale * training.muon_lr / (training.lr or 1.0), 0.0, True)
        else:
            key = (scale, training.weight_decay if decays else 0.0, False)
        groups.setdefault(key, []).append(parameter)
    kind = Muon if muon else torch.optim.SGD
    return kind(
        [
            {"params": p, "scale": scale, "weight_decay": decay, "orthogonal": turns, "form": training.momentum}
            for (scale, decay, turns), p in groups.items()
        ],
        lr=training.lr,
        momentum=training.momentum,
        nesterov=training.nesterov,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float, before: float | None = None) -> None:
    """Give every group its part of RATE; BEFORE is the rate of the update before, None for PyTorch's form of momentum.

    Caffe's form, v = m·v + lr·g and w -= v, is PyTorch's with m scaled by the ratio of the two rates.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
        group["momentum"] = group["form"] * (1.0 if not before or not rate else before / rate)


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's tensors by "<parameter>:<name>", for safetensors."""
    return {
        f"{name}:{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_state(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put tensors from `named_state` back."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(":")
        own = parameters[parameter]
        optimizer.state[own][key] = torch.empty_like(own).copy_(tensor)


class Average:
    """Weights averaged over updates (EMA), BN statistics included; early decay is min(decay, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an update."""
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = model.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, weight)
            else:
                self.tensors[name].copy_(tensor)
