"""The one unit of all residual networks: x → f(merge(h(x), F(x)))."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..spec import Unit
from .layers import BatchNorm
from .shortcuts import MERGES, Add, ResidualOnly, carry


class ResidualUnit(nn.Module):
    """A unit as its value describes it: he2015 equation 2, he2016 equations 1 and 2.

    (N, in_width, H, W) → (N, width, ceil(H / stride), ceil(W / stride)). `activated` says that x has already been
    through the unit's first BN and ReLU (the first unit of a pre-activation net, he2016 appendix). `drop` is the
    probability that F is dropped for a whole mini-batch in training (stochastic depth): it is not computed and its BN
    statistics do not move. Testing scales F by 1 − drop.
    Convolutions and BNs are numbered in the order of the forward pass: conv1, bn1, conv2 …
    """

    def __init__(self, unit: Unit, widths: tuple[int, int], stride: int, activated: bool, drop: float) -> None:
        super().__init__()
        in_width, width = widths
        self.activated = activated
        self.keeps_shape = stride == 1 and in_width == width
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
                    self.add_module(layer, BatchNorm(width))
            names.append(layer)
        return [] if skip else names

    def _run(self, names: list[str], x: Tensor) -> Tensor:
        layers, done = [getattr(self, name) for name in names], 0
        while done < len(layers):
            match layers[done : done + 3]:
                case [BatchNorm(fuses=True) as bn, nn.ReLU(), nn.Conv2d(bias=None) as conv]:
                    x, done = bn.activated_for(conv, x), done + 3
                case [BatchNorm(fuses=True) as bn, nn.ReLU(), *_]:
                    x, done = bn.activated(x), done + 2
                case [layer, *_]:
                    x, done = layer(x), done + 1
        return x

    @property
    def last_bn(self) -> BatchNorm | None:
        """The BN that ends the residual branch; None where a convolution or a ReLU ends it."""
        last = self._branch[-1]
        return getattr(self, last) if last.startswith("bn") else None

    @property
    def last_layer(self) -> str:
        """The name of the last convolution or BN of F; F is proportional to its weight and bias."""
        return next(name for name in reversed(self._branch) if name != "relu")

    @property
    def responses(self) -> dict[str, str]:
        """For each convolution of F the module that puts out its response: the BN right after it, else itself."""
        pairs = zip(self._branch, [*self._branch[1:], ""], strict=True)
        return {name: after if after.startswith("bn") else name for name, after in pairs if name.startswith("conv")}

    def _fused_end(self) -> BatchNorm | None:
        """The last BN, where it, the addition and ReLU are computed together."""
        joins = self._after == ["relu"] and isinstance(self.shortcut, Add | ResidualOnly)
        return self.last_bn if joins and self.last_bn and self.last_bn.fuses else None

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output."""
        dropped = self.training and self.drop > 0 and float(torch.rand(())) >= 1 - self.drop
        activated, branch, carried = self._entered(x)
        last = self._fused_end()
        if last and not dropped:
            summed = carried if isinstance(self.shortcut, Add) else None
            return last.activated(self._run(branch[:-1], activated), summed)
        residual = self._dropped(carried) if dropped else self._scaled(self._run(branch, activated))
        return self._run(self._after, self.shortcut(x, carried, residual))

    def bypassed(self, x: Tensor) -> Tensor:
        """The output with F(x) = 0, which is not computed: the shortcut, and what follows the merge."""
        carried = self._entered(x)[2]
        residual = self._dropped(carried) if self.training else torch.zeros_like(carried)
        return self._run(self._after, self.shortcut(x, carried, residual))

    def routed(self, x: Tensor, way: Literal["shortcut", "residual"]) -> Tensor:
        """The output, whose gradient goes back through h or F only, each with its factor of the merge."""
        activated, branch, carried = self._entered(x)
        residual = self._scaled(self._run(branch, activated))
        nothing = torch.zeros_like(residual)
        through, added = self.shortcut(x, carried, nothing), self.shortcut(x, nothing, residual)
        summed = through + added.detach() if way == "shortcut" else through.detach() + added
        return self._run(self._after, summed)

    def _entered(self, x: Tensor) -> tuple[Tensor, list[str], Tensor]:
        """What F sees, the layers that it has from there, and h(x).

        A projection sees what F sees; the identity and option A see x itself (he2016 appendix).
        """
        projects = isinstance(self.downsample, nn.Sequential)
        activated = self._run(self._before, x) if projects else x
        return activated, self._branch if projects else [*self._before, *self._branch], self.downsample(activated)

    def _scaled(self, residual: Tensor) -> Tensor:
        return residual * (1 - self.drop) if self.drop and not self.training else residual

    def _dropped(self, carried: Tensor) -> Tensor:
        """Zeros in place of F, of which nothing is computed; its gradients are 0, so that its weights decay on."""
        layers = [getattr(self, name) for name in (*self._before, *self._branch)]
        return torch.zeros_like(carried) + 0 * sum(p.sum() for layer in layers for p in layer.parameters())
