"""Where a network computes: on a card where there is one, else on the CPU."""

import os
import re

import torch
from torch import Tensor, nn

from ..errors import EnvironmentProblem, UsageError, safe_text

CPU = torch.device("cpu")


def device_called(name: str = "auto") -> torch.device:
    """The device called NAME: "cpu", "cuda", "cuda:N", or "auto": what RESNETS_DEVICE says, else a card if any.

    "cuda" is the first card, under torchrun that of LOCAL_RANK. A card becomes PyTorch's current one, and fp32 on it is
    that of IEEE 754, not TF32. Raises UsageError for another name, EnvironmentProblem where the card is not there or
    two processes would have to share one.
    """
    if name == "auto":
        name = os.environ.get("RESNETS_DEVICE") or "auto"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"there is no device '{safe_text(name)}'; there are auto, cpu, cuda, cuda:0, cuda:1 …")
    if name == "cpu":
        return CPU
    card = torch.device("cuda", _card(name.partition(":")[2]))
    torch.cuda.set_device(card)
    torch.backends.cudnn.allow_tf32 = False
    return card


def _card(number: str) -> int:
    """The card with a NUMBER; without one the card of this process."""
    cards, processes = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not cards:
        raise EnvironmentProblem(
            "PyTorch sees no card here: there is none, its driver is missing, or PyTorch is built without CUDA; "
            "take the device cpu, or set RESNETS_DEVICE=cpu"
        )
    if number and processes > 1:
        raise UsageError(f"cuda:{number} is one card for {processes} processes; take cuda, which is one for each")
    if processes > cards:
        raise EnvironmentProblem(
            f"{processes} processes on a machine with {cards} cards; start one for each card, or set RESNETS_DEVICE=cpu"
        )
    index = int(number or os.environ.get("LOCAL_RANK", "0"))
    if index >= cards:
        raise EnvironmentProblem(f"there is no card cuda:{index}; the last one is cuda:{cards - 1}")
    return index


def device_of(model: nn.Module) -> torch.device:
    """Where the weights of MODEL are; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), CPU)


def kind_of(device: torch.device) -> str:
    """ "cpu", or the name of a card's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """TENSOR on DEVICE; to a card from pinned memory, without waiting for it to arrive."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def wait_for(device: torch.device) -> None:
    """Go on when DEVICE has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
