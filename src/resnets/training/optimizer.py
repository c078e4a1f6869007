"""SGD with momentum over named groups of parameters."""

import torch
from torch import Tensor, nn

from ..recipe import Training


def optimizer(model: nn.Module, classifier: str, training: Training) -> torch.optim.SGD:
    """SGD for MODEL: groups by decay, and by rate where the body learns more slowly than the classifier.

    "all" decays every parameter, "no-norm-bias" neither BN nor biases (correctness point 25). Every group carries
    `scale`, its factor of the scheduled rate.
    """
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        head = name.startswith(f"{classifier}.")
        decays = training.decay == "all" or parameter.dim() > 1
        groups.setdefault((head, training.weight_decay if decays else 0.0), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": params,
                "weight_decay": decay,
                "scale": 1.0 if head else training.body_lr,
                "form": training.momentum,
            }
            for (head, decay), params in groups.items()
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
