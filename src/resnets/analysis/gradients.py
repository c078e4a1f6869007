"""How far signals get through a network, forward and backward, layer by layer (he2015 section 4.1)."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import Batch
from ..evaluation.scoring import evaluating
from ..models import ResidualNetwork, VGGNetwork
from ..models.device import device_of, moved
from ..models.layers import BatchNorm
from ..models.unit import ResidualUnit
from .capture import captured, convolutions
from .pictures import legend, panels, svg

FAINTEST = 1e-3  # standard deviation of a response
FARTHEST = 1e3  # largest norm of a gradient over the smallest
RULE = (
    f"healthy: every response varies (standard deviation of at least {FAINTEST:g}), every gradient is a finite number "
    f"above 0, and the largest norm of a layer's gradient is at most {FARTHEST:g} times the smallest"
)


@dataclass(frozen=True)
class Signal:
    """A layer in an update, the mean over batches.

    deviation: the standard deviation of its response (as in `responses`) over images and places, root mean square over
    channels. gradient: the L2 norm of the mean loss's gradient at the response; weights: that at the layer's weights.
    """

    layer: str
    deviation: float
    gradient: float
    weights: float


@dataclass(frozen=True)
class Signals:
    """Every convolution of the main path, in layer order, on so many images."""

    images: int
    layers: tuple[Signal, ...]

    @property
    def spread(self) -> float:
        """The largest norm of a gradient over the smallest; infinite where one is 0 or no number."""
        norms = [layer.gradient for layer in self.layers]
        return max(norms) / min(norms) if all(map(math.isfinite, norms)) and min(norms) > 0 else math.inf

    @property
    def faintest(self) -> float:
        """The smallest standard deviation of a response; 0 where one is no number."""
        found = [layer.deviation for layer in self.layers]
        return min(found) if all(map(math.isfinite, found)) else 0.0

    @property
    def healthy(self) -> bool:
        """By RULE."""
        return self.faintest >= FAINTEST and self.spread <= FARTHEST

    @property
    def verdict(self) -> str:
        """Healthy, or what is wrong by RULE."""
        if self.healthy:
            return "healthy"
        if self.faintest < FAINTEST:
            return "not healthy: a response hardly varies"
        if self.spread == math.inf:
            return "not healthy: a gradient is 0 or no number"
        way = "grow" if self.layers[0].gradient > self.layers[-1].gradient else "vanish"
        return f"not healthy: gradients {way} towards the input"

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze gradients --json` documents; null for what is no finite number."""
        layers = [{k: _number(v) for k, v in vars(layer).items()} for layer in self.layers]
        facts = {
            "images": self.images,
            "healthy": self.healthy,
            "verdict": self.verdict,
            "rule": RULE,
            "spread": _number(self.spread),
        }
        return {**facts, "faintest": self.faintest, "layers": layers}

    def lines(self) -> list[str]:
        """What a person reads."""
        heads = f"  {'layer':<18}{'std of response':>16}{'gradient':>12}{'of weights':>12}"
        rows = [f"  {x.layer:<18}{x.deviation:16.4f}{x.gradient:12.2e}{x.weights:12.2e}" for x in self.layers]
        return [
            *(heads, *rows),
            f"{self.verdict}; smallest deviation {self.faintest:.3g}, gradients within a factor of {self.spread:.3g}",
            RULE,
        ]


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def gradients(model: ResidualNetwork | VGGNetwork, batches: Iterable[Batch]) -> Signals:
    """The signals of an update in MODEL, at its first weights or trained: BN uses the statistics of each batch.

    Weights, statistics, gradients and modes stay as they were, so that it can be called between two updates. Units
    are not dropped at random.
    """
    layers, device = convolutions(model), device_of(model)
    weights = [model.get_submodule(layer.name).weight for layer in layers]
    rows, images = list[Tensor](), 0
    with _as_in_an_update(model), captured(model, [x.response for x in layers], lambda output: output) as found:
        for batch in batches:
            loss = F.cross_entropy(model(moved(batch.images, device)).float(), moved(batch.labels, device))
            outputs = [found[layer.response].pop() for layer in layers]
            slopes = torch.autograd.grad(loss, [*outputs, *weights])  # type: ignore[list-item]
            norms = torch.stack([slope.double().norm() for slope in slopes]).view(2, -1)
            deviations = torch.stack([_deviation(output.detach().double()) for output in outputs])
            rows.append(len(batch) * torch.cat([deviations[None], norms]).cpu())
            images += len(batch)
    means = (torch.stack(rows).sum(0) / images).T.tolist()
    return Signals(images, tuple(Signal(x.name, *row) for x, row in zip(layers, means, strict=True)))


def _deviation(response: Tensor) -> Tensor:
    return response.var((0, 2, 3), correction=0).mean().sqrt()


@contextmanager
def _as_in_an_update(model: ResidualNetwork | VGGNetwork) -> Iterator[None]:
    """MODEL in training mode with all units and every module called by itself; then everything as it was before."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    plain: list[tuple[Any, str, Any]] = [(parameter, "requires_grad", True) for parameter in model.parameters()]
    plain += [(model, "recompute", 0)] if isinstance(model, ResidualNetwork) else []
    for module in model.modules():
        plain += [(module, "compiled", False)] if isinstance(module, BatchNorm) else []
        plain += [(module, "drop", 0.0)] if isinstance(module, ResidualUnit) else []
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in plain]
    try:
        with evaluating([model]), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for owner, name, value in plain:
                setattr(owner, name, value)
            model.train()
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        model.load_state_dict(buffers, strict=False)


def picture(found: Mapping[str, Signals]) -> str:
    """Deviations of responses and norms of gradients over the depth, as SVG."""
    figure, (forward, backward) = panels(1, 2, (4.5, 3.0))
    for name, result in found.items():
        x, finite = range(1, len(result.layers) + 1), lambda value: value if 0 < value < math.inf else math.nan
        forward.plot(x, [finite(layer.deviation) for layer in result.layers], ".-", linewidth=1, label=name)
        backward.plot(x, [finite(layer.gradient) for layer in result.layers], ".-", linewidth=1)
    forward.set(xlabel="layer", ylabel="std of the response", yscale="log")
    backward.set(xlabel="layer", ylabel="norm of the gradient", yscale="log")
    legend(forward, found)
    return svg(figure)
