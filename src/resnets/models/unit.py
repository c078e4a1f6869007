"""The one unit of all residual networks: x → f(merge(h(x), F(x)))."""

import torch
from torch import Tensor, nn

from ..spec import Unit
from .shortcuts import MERGES, carry


class ResidualUnit(nn.Module):
    """A unit as its value describes it: he2015 equation 2, he2016 equations 1 and 2.

    (N, in_width, H, W) → (N, width, ceil(H / stride), ceil(W / stride)). `activated` says that x has already been
    through the unit's first BN and ReLU (the first unit of a pre-activation net, he2016 appendix). `drop` is the
    probability that F is dropped for a whole mini-batch in training (stochastic depth); testing scales F by 1 − drop.
    Convolutions and BNs are numbered in the order of the forward pass: conv1, bn1, conv2 …
    """

    def __init__(self, unit: Unit, widths: tuple[int, int], stride: int, activated: bool, drop: float) -> None:
        super().__init__()
        in_width, width = widths
        self.activated = activated
        self.drop = drop
        self.relu = nn.ReLU()
        self._bns = 0
        self._before = self._layers(unit.order.before, in_width, skip=activated)
        self._branch: list[str] = []
        channels = in_width
        for i, conv in enumerate(unit.convs):
            out = round(width * conv.width)
            name = f"conv{i + 1}"
            step = stride if i == unit.strided else 1
            bias = "bn" not in (*unit.order.before, *unit.order.between, *unit.order.last, *unit.order.after)
            self.add_module(name, nn.Conv2d(channels, out, conv.kernel, step, conv.kernel // 2, bias=bias))
            follow = unit.order.last if i == len(unit.convs) - 1 else unit.order.between
            self._branch += [name, *self._layers(follow, out)]
            channels = out
        self._after = self._layers(unit.order.after, width)
        self.downsample = carry(unit, in_width, width, stride)
        self.shortcut = MERGES[unit.merge](unit, widths, stride)

    def _layers(self, layers: tuple[str, ...], width: int, skip: bool = False) -> list[str]:
        names: list[str] = []
        for layer in layers:
            if layer == "bn":
                self._bns += 1
                layer = f"bn{self._bns}"
                if not skip:
                    self.add_module(layer, nn.BatchNorm2d(width))
            names.append(layer)
        return [] if skip else names

    def _run(self, layers: list[str], x: Tensor) -> Tensor:
        for layer in layers:
            x = getattr(self, layer)(x)
        return x

    @property
    def last_bn(self) -> nn.BatchNorm2d | None:
        """The BN that ends the residual branch; None where a convolution or a ReLU ends it."""
        last = self._branch[-1]
        return getattr(self, last) if last.startswith("bn") else None

    def residual(self, activated: Tensor) -> Tensor:
        """F: the residual branch, from the (pre-activated) input."""
        return self._run(self._branch, activated)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output."""
        activated = self._run(self._before, x)
        # A projection sees what F sees; the identity and option A see x itself (he2016 appendix).
        source = activated if isinstance(self.downsample, nn.Sequential) else x
        merged = self.shortcut(x, self.downsample(source), self._kept(self.residual(activated)))
        return self._run(self._after, merged)

    def _kept(self, residual: Tensor) -> Tensor:
        if not self.drop:
            return residual
        keep = 1 - self.drop
        return residual * (torch.rand((), device=residual.device) < keep if self.training else keep)
