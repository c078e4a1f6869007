"""Training steps of deep CIFAR networks: what recomputation costs and saves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets import families, recipes
from resnets.models import create_model
from resnets.recipe import change
from resnets.start import new_state

from .inputs import CIFAR, CIFAR_SEEN, cifar, data
from .plain import PlainResNet


def kept(layers: int, batch: int) -> Callable[[], dict[str, Any]]:
    """The network as the usual script writes it, eager fp32, every activation kept."""
    model = PlainResNet(layers)
    model.load_state_dict(_weights(layers))
    return _step(model, batch, False)


def recomputed(layers: int, batch: int, segments: int, precision: str = "fp32") -> Callable[[], dict[str, Any]]:
    """The library's network as a long run computes it, of which only what lies between so many segments is kept.

    0 segments: all is kept.
    """
    network, computed = families.network(f"cifar_resnet{layers}"), {"precision": precision, "kernels": "compiled"}
    recipe = change(recipes.recipe("quick", network, str(data(CIFAR))), recompute=segments, **computed)
    model = new_state(recipe, 50_000, fresh=True)[0].model
    model.load_state_dict(_weights(layers))
    return _step(model, batch, precision == "bf16", torch.channels_last)


def _weights(layers: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return create_model(f"cifar_resnet{layers}").state_dict()


def _step(
    model: nn.Module, batch: int, bf16: bool, layout: torch.memory_format = torch.contiguous_format
) -> Callable[[], dict[str, Any]]:
    """A step at rate 0, so that every call computes the same; the output is the first layer's gradient and the loss."""
    images, labels = cifar("train")
    inputs = torch.from_numpy(CIFAR_SEEN.normalise(images[:batch])).contiguous(memory_format=layout)
    targets, first = torch.from_numpy(labels[:batch]), next(model.parameters())
    optimizer = torch.optim.SGD(model.train().parameters(), 0.0, momentum=0.9)

    def call() -> dict[str, Any]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = model(inputs)
        loss = F.cross_entropy(logits.float(), targets)
        loss.backward()
        gradient = first.grad
        assert gradient is not None
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss.item(), "work": batch, "output": lambda: np.append(gradient.flatten(), loss.item())}

    return call
