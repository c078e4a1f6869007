"""Parameters, multiply-adds and activations, measured on the built network."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..models import build
from ..spec import AnyNetwork


@dataclass(frozen=True)
class Complexity:
    """Counts for one image: scalars of parameters, multiply-adds and outputs of convolutions and linear layers."""

    parameters: int
    multiply_adds: int
    activations: int


class _Counter(TorchDispatchMode):
    """Adds up what convolutions and linear layers compute and put out."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0
        self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.addmm.default):
            self.multiply_adds += flop_registry[func.overloadpacket](*args, out_val=out) // 2
            self.activations += out.numel()
        return out


@cache
def complexity(spec: AnyNetwork) -> Complexity:
    """The counts of a network value for one image of its own size; nothing is allocated (meta device).

    One multiply-add counts once; convolutions and linear layers only, as in the papers (correctness point 17).
    """
    with torch.device("meta"):
        model = build(spec).eval()
        image = torch.empty(1, spec.channels, spec.size, spec.size)
    parameters = sum(p.numel() for p in model.parameters())
    with torch.no_grad(), _Counter() as counter:
        model(image)
    return Complexity(parameters, counter.multiply_adds, counter.activations)
