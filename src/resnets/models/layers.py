"""Batch normalisation in virtual batches, and units whose activations are computed twice instead of kept."""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .fused import Normalised, normalised_relu, normalised_relu_conv, takes

_MMAP_THRESHOLD = -3  # of malloc.h
_SECOND_PASS = ContextVar("second pass", default=False)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over virtual batches of `ghost` images each, 0: over all that come together.

    (N, C, H, W) → the same. In training each virtual batch has its own statistics, as on a device of its own
    (arXiv:1705.08741; he2015 trained on 2 × 64). The running statistics move once, to the mean of where each would have
    moved them. A last batch of a single image joins the one before.
    """

    ghost: int = 0
    compiled: bool = False
    frozen: bool = False

    def train(self, mode: bool = True) -> "BatchNorm":
        """Training mode, but for a frozen BN, which stays as it is."""
        return super().train(mode and not self.frozen)

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised; in the second pass of `recomputed` the running statistics stay."""
        if not self.training:
            return super().forward(input)
        again, ghost = _SECOND_PASS.get(), min(self.ghost or len(input), len(input))
        return self._split(input, ghost, again) if again or ghost < len(input) else super().forward(input)

    @property
    def fuses(self) -> bool:
        """Whether a ReLU that follows is computed together with it, by `activated`."""
        return self.compiled and self.training

    def activated(self, x: Tensor, carried: Tensor | None = None) -> Tensor:
        """ReLU(BN(x) + carried), in one compiled kernel each way; of virtual batches one after the other."""
        if not self._whole(x):
            x = self(x)
            return torch.relu(x if carried is None else carried + x)
        return self._moved(normalised_relu(x, carried, self.weight, self.bias, self.eps), x)

    def activated_for(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """CONV of ReLU(BN(x)), which is computed twice instead of kept; CONV has no bias, groups or dilation."""
        if not self._whole(x):
            return conv(self.activated(x))
        return self._moved(normalised_relu_conv(x, self.weight, self.bias, self.eps, conv), x)

    def _whole(self, x: Tensor) -> bool:
        return not 0 < self.ghost < len(x) and takes(x)

    def _moved(self, found: Normalised, x: Tensor) -> Tensor:
        """The result; the running statistics move to those of x, but in the second pass of `recomputed`."""
        if not _SECOND_PASS.get():
            rate, count = self._counted(), x.numel() / x.shape[1]
            self.running_mean.lerp_(found.mean, rate)  # type: ignore[union-attr]
            self.running_var.lerp_(found.variance * (count / (count - 1)), rate)  # type: ignore[union-attr]
        return found.result

    def _counted(self) -> float:
        """Count a batch; the weight of its statistics among all so far."""
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum  # type: ignore[arg-type]

    def _split(self, x: Tensor, ghost: int, again: bool) -> Tensor:
        chunks = x.tensor_split(tuple(range(ghost, len(x) - (len(x) % ghost == 1), ghost)))
        assert self.running_mean is not None
        assert self.running_var is not None
        rate = 0.0 if again else self._counted()
        means, variances = (each.repeat(len(chunks), 1) for each in (self.running_mean, self.running_var))
        parts = [
            F.batch_norm(chunk, mean, variance, self.weight, self.bias, True, rate, self.eps)
            for chunk, mean, variance in zip(chunks, means, variances, strict=True)
        ]
        if not again:
            self.running_mean.copy_(means.mean(0))
            self.running_var.copy_(variances.mean(0))
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def set_compiled(model: nn.Module, compiled: bool) -> None:
    """Whether BN, addition and ReLU of MODEL are computed together in training, where they follow each other."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.compiled = compiled


def freeze_bn(model: nn.Module) -> None:
    """Make every BN of MODEL a constant affine map: mean, variance, scale and shift stay (he2015 appendix A)."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.frozen = True
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)


def set_ghost_batch(model: nn.Module, images: int) -> None:
    """Give every BN of MODEL virtual batches of so many images, 0 for none."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.ghost = images


def free_at_once() -> None:
    """Let glibc give back what a tensor of over 1 MB took as soon as it is free, for the rest of this process.

    Else gaps in its heap add up: cifar_resnet1202 with `recompute` 60 then peaks at 2.3 instead of 1.2 GiB, and a
    folder of 1,000 photographs through resnet18 at 420 to 460 instead of 316 MiB.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


def recomputed(segment: nn.Module, x: Tensor) -> Tensor:
    """SEGMENT of x, of which only x is kept; the rest is computed again in the backward pass (arXiv:1604.06174).

    Losses, gradients, running statistics and random numbers are those without.
    """
    return checkpoint(segment, x, use_reentrant=False, context_fn=_passes)


def _passes() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _second_pass()


@contextmanager
def _second_pass() -> Iterator[None]:
    token = _SECOND_PASS.set(True)
    try:
        yield
    finally:
        _SECOND_PASS.reset(token)
