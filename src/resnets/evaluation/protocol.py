"""Test protocols: which views of an image are scored, and how scores become one answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Protocol:
    """A test protocol by name; "1-crop" scores the one view that the model's preprocessing gives."""

    name: str = "1-crop"


PROTOCOLS = {"1-crop": Protocol()}


@torch.inference_mode()
def scores(models: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Scores (N, classes) whose softmax is the answer: the logits of one model, or of several the logarithm of the
    averaged softmax (correctness point 31).
    """
    if len(models) == 1:
        return models[0](images).float()
    logs = torch.stack([model(images).float().log_softmax(1) for model in models])
    return logs.logsumexp(0) - math.log(len(models))
