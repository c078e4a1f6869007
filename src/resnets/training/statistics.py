"""BN statistics after training: true averages over training images instead of moving ones (correctness point 14)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..models.device import device_of, moved


@torch.no_grad()
def average_statistics(model: nn.Module, batches: Iterable[Tensor], images: int) -> int:
    """Give every BN of MODEL the mean of its batch statistics over at least IMAGES images; how many there were.

    batches: images (N, C, H, W); each counts by its size. Weights and modes stay as they are. All layers are averaged
    in one pass, each behind the batch statistics of those before it, as in training.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    device = device_of(model)
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64, device=device) for norm in norms]
    seen = 0
    try:
        model.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # the running statistics are those of the last batch
        for batch in batches:
            if seen >= images:
                break
            model(moved(batch, device))
            seen += len(batch)
            for norm, (mean, var) in zip(norms, sums, strict=True):
                mean.add_(norm.running_mean, alpha=len(batch))  # type: ignore[arg-type]
                var.add_(norm.running_var, alpha=len(batch))  # type: ignore[arg-type]
    finally:
        for norm, momentum, (mean, var) in zip(norms, momenta, sums, strict=True):
            norm.momentum = momentum
            if seen and norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.copy_(mean / seen)
                norm.running_var.copy_(var / seen)
        for module, mode in modes:
            module.training = mode
    return seen
