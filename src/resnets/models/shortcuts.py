"""Shortcuts: how x gets the size of F(x), and how the two meet (he2015 section 3.3, he2016 section 3)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec import Unit
from .layers import BatchNorm


class ZeroPadding(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the new channels, on both sides or at the end.

    (N, C, H, W) → (N, C + sum(extra), ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, extra: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad x."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.extra))


def projection(in_width: int, width: int, stride: int, bn: bool) -> nn.Sequential:
    """W_s of he2015 equation 2: a 1×1 convolution, and BN but in pre-activation nets."""
    conv = nn.Conv2d(in_width, width, 1, stride, bias=False)
    return nn.Sequential(conv, BatchNorm(width)) if bn else nn.Sequential(conv)


def carry(unit: Unit, in_width: int, width: int, stride: int) -> nn.Module:
    """h: the identity, option A, or a projection (options B and C)."""
    if unit.merge == "none":
        return nn.Identity()
    changes = stride != 1 or in_width != width
    if unit.shortcut == "C" or (unit.shortcut == "B" and changes):
        return projection(in_width, width, stride, unit.shortcut_bn and "bn" not in unit.order.before)
    if not changes:
        return nn.Identity()
    new = width - in_width
    return ZeroPadding((new // 2, new - new // 2) if unit.option_a == "symmetric" else (0, new), stride)


class Add(nn.Module):
    """h(x) + F(x): he2015 equation 1."""

    def forward(self, x: Tensor, carried: Tensor, residual: Tensor) -> Tensor:
        """The sum."""
        return carried + residual


class ResidualOnly(nn.Module):
    """F(x): a plain net."""

    def forward(self, x: Tensor, carried: Tensor, residual: Tensor) -> Tensor:
        """The residual branch alone."""
        return residual


class Scale(nn.Module):
    """λ·h(x) + ρ·F(x): constant scaling, he2016 section 3.1."""

    def __init__(self, shortcut: float, residual: float) -> None:
        super().__init__()
        self.factors = (shortcut, residual)

    def forward(self, x: Tensor, carried: Tensor, residual: Tensor) -> Tensor:
        """The weighted sum."""
        return self.factors[0] * carried + self.factors[1] * residual


class Gate(nn.Module):
    """(1 − g)·h(x) + g·F(x) with g = σ(W_g x + b_g); without `exclusive`, F is not scaled (he2016 section 3.1).

    g is element-wise, computed from the block's input; `bias` is the initial b_g.
    """

    def __init__(self, widths: tuple[int, int], stride: int, bias: float, exclusive: bool) -> None:
        super().__init__()
        self.gate = nn.Conv2d(*widths, 1, stride, bias=True)
        self.initial_bias = bias
        self.exclusive = exclusive

    def forward(self, x: Tensor, carried: Tensor, residual: Tensor) -> Tensor:
        """The gated sum."""
        g = torch.sigmoid(self.gate(x))
        return (1 - g) * carried + (g * residual if self.exclusive else residual)


class Dropout(nn.Module):
    """m·h(x) + F(x): m is a random 0/1 mask in training and its expectation 1 − p in testing (he2016 section 3.1)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, carried: Tensor, residual: Tensor) -> Tensor:
        """The sum with the masked shortcut."""
        keep = 1 - self.p
        return residual + (carried * torch.empty_like(carried).bernoulli_(keep) if self.training else carried * keep)


MERGES: dict[str, Callable[[Unit, tuple[int, int], int], nn.Module]] = {
    "add": lambda unit, widths, stride: Add(),
    "none": lambda unit, widths, stride: ResidualOnly(),
    "scale": lambda unit, widths, stride: Scale(*unit.scale),
    "gate": lambda unit, widths, stride: Gate(widths, stride, unit.gate_bias, exclusive=True),
    "shortcut-gate": lambda unit, widths, stride: Gate(widths, stride, unit.gate_bias, exclusive=False),
    "dropout": lambda unit, widths, stride: Dropout(unit.dropout),
}
