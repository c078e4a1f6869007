"""Layer responses: how far a residual net moves its signal, layer by layer (he2015 section 4.2, figure 7)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.batches import Batch
from ..errors import UsageError
from ..evaluation.scoring import evaluating
from ..models import ResidualNetwork, VGGNetwork
from ..models.device import device_of, moved
from .capture import captured, convolutions
from .pictures import legend, panels, svg

Moments = tuple[int, float, float]  # how many numbers, their mean and variance


@dataclass(frozen=True)
class Response:
    """The standard deviation of a convolution's output over images, channels and places.

    after_bn: taken after the BN that follows it, before ReLU and addition; else the convolution's own output.
    """

    layer: str
    kernel: int
    after_bn: bool
    deviation: float


@dataclass(frozen=True)
class Responses:
    """The responses of a network in eval mode, in layer order, on so many images."""

    images: int
    layers: tuple[Response, ...]

    @property
    def deviations(self) -> list[float]:
        """In layer order."""
        return [layer.deviation for layer in self.layers]

    @property
    def ranked(self) -> list[float]:
        """The largest first."""
        return sorted(self.deviations, reverse=True)

    @property
    def mean(self) -> float:
        """Of all layers."""
        return math.fsum(self.deviations) / len(self.layers)

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze responses --json` documents."""
        layers = [vars(layer) | {"deviation": round(layer.deviation, 6)} for layer in self.layers]
        return {"images": self.images, "mean": round(self.mean, 6), "layers": layers}

    def lines(self) -> list[str]:
        """What a person reads."""
        rows = [f"  {layer.layer:<18}{layer.deviation:8.4f}{_taken(layer)}" for layer in self.layers]
        return [f"standard deviation of each layer's response, on {self.images} images; mean {self.mean:.4f}", *rows]


def _taken(layer: Response) -> str:
    return "" if layer.after_bn else "   of the convolution itself: no BN follows it"


def responses(
    model: ResidualNetwork | VGGNetwork, batches: Iterable[Batch], *, kernels: tuple[int, ...] = (3,)
) -> Responses:
    """The response of every convolution of the main path whose kernel has a side of KERNELS.

    It is the output of the BN after the convolution, before ReLU and addition, in eval mode; where no BN follows, as in
    pre-activation units, the output of the convolution. Projections do not count. A network that is not trained to the
    end shows another trend than the paper's. Raises UsageError where no convolution has such a kernel.
    """
    layers = [layer for layer in convolutions(model) if layer.kernel in kernels]
    if not layers:
        raise UsageError(f"the network has no convolution with a kernel of {' or '.join(map(str, kernels))}")
    images, device = 0, device_of(model)
    names = [layer.response for layer in layers]
    with torch.inference_mode(), evaluating([model]), captured(model, names, _moments) as found:
        for batch in batches:
            model(moved(batch.images, device))
            images += len(batch)
    rows = (Response(x.name, x.kernel, x.after_bn, math.sqrt(_variance(found[x.response]))) for x in layers)
    return Responses(images, tuple(rows))


def _moments(values: Tensor) -> Moments:
    variance, mean = torch.var_mean(values.double(), correction=0)
    return values.numel(), float(mean), float(variance)


def _variance(parts: Iterable[Moments]) -> float:
    """The variance of all numbers of which the PARTS are known."""
    parts = list(parts)
    count = sum(n for n, _, _ in parts)
    mean = math.fsum(n * m for n, m, _ in parts) / count
    return math.fsum(n * (v + (m - mean) ** 2) for n, m, v in parts) / count


def picture(found: Mapping[str, Responses]) -> str:
    """Figure 7 as SVG: the deviations of every network in layer order, and ranked."""
    figure, (ordered, ranked) = panels(2, 1, (6.5, 2.8))
    for name, result in found.items():
        ordered.plot(range(1, len(result.layers) + 1), result.deviations, marker=".", linewidth=1, label=name)
        ranked.plot(range(1, len(result.layers) + 1), result.ranked, marker=".", linewidth=1, label=name)
    ordered.set(xlabel="layer, in order", ylabel="std")
    ranked.set(xlabel="layer, the largest response first", ylabel="std")
    legend(ordered, found)
    return svg(figure)
