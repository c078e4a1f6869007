"""Parameters, multiply-adds, activations and time, measured on the built network, as a whole and by stage."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..errors import UsageError
from ..models import ResidualNetwork, VGGNetwork, build
from ..models.device import CPU, wait_for
from ..spec import AnyNetwork
from .pictures import panels, svg


@dataclass(frozen=True)
class Complexity:
    """Counts for one image: scalars of parameters, multiply-adds and outputs of convolutions and linear layers."""

    parameters: int
    multiply_adds: int
    activations: int


class _Counter(TorchDispatchMode):
    """Adds up what convolutions and linear layers compute and put out."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0
        self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.addmm.default):
            self.multiply_adds += flop_registry[func.overloadpacket](*args, out_val=out) // 2
            self.activations += out.numel()
        return out


@cache
def complexity(spec: AnyNetwork) -> Complexity:
    """The counts of a network value for one image of its own size; nothing is allocated (meta device).

    One multiply-add counts once; convolutions and linear layers only, as in the papers (correctness point 17).
    """
    with torch.device("meta"):
        model = build(spec).eval()
        image = torch.empty(1, spec.channels, spec.size, spec.size)
    parameters = sum(p.numel() for p in model.parameters())
    with torch.no_grad(), _Counter() as counter:
        model(image)
    return Complexity(parameters, counter.multiply_adds, counter.activations)


@dataclass(frozen=True)
class Part:
    """A stage: the (channels, height, width) that it puts out, its counts, and its seconds for one image."""

    name: str
    output: tuple[int, ...]
    counts: Complexity
    seconds: float


@dataclass(frozen=True)
class Stages:
    """A network by stage: stem, stages and head in eval mode, timed on batches of so many images on `threads`."""

    images: int
    threads: int
    parts: tuple[Part, ...]

    @property
    def whole(self) -> Complexity:
        """The sum of all parts."""
        counts = [(p.counts.parameters, p.counts.multiply_adds, p.counts.activations) for p in self.parts]
        return Complexity(*map(sum, zip(*counts, strict=True)))

    @property
    def seconds(self) -> float:
        """For one image."""
        return sum(part.seconds for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze complexity --json` documents."""
        rows = [{"name": p.name, "output": list(p.output), **vars(p.counts), "seconds": p.seconds} for p in self.parts]
        facts = {"batch_size": self.images, "threads": self.threads, **vars(self.whole), "seconds": self.seconds}
        return {**facts, "stages": rows}

    def lines(self) -> list[str]:
        """What a person reads."""
        heads = f"  {'stage':<8}{'output':>14}{'parameters':>14}{'multiply-adds':>16}{'activations':>14}{'ms':>10}"
        rows = [(p.name, "×".join(map(str, p.output)), p.counts, p.seconds) for p in self.parts]
        return [
            f"per image; time: median of several batches of {self.images} images, {self.threads} threads",
            heads,
            *(
                f"  {name:<8}{output:>14}{c.parameters:>14,}{c.multiply_adds:>16,}{c.activations:>14,}{1e3 * s:10.3f}"
                for name, output, c, s in [*rows, ("whole", "", self.whole, self.seconds)]
            ),
        ]


def parts(model: ResidualNetwork | VGGNetwork) -> dict[str, nn.Sequential]:
    """The network in pieces that follow each other: stem, stages (of a VGG its pooled groups) and head, by name."""
    if isinstance(model, VGGNetwork):
        groups = [nn.Sequential()]
        for layer in model.features:
            groups[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                groups.append(nn.Sequential())
        named = {f"group{i}": group for i, group in enumerate(groups[:-1], 1)}
        return {**named, "head": nn.Sequential(model.avgpool, nn.Flatten(), model.classifier)}
    head = nn.Sequential(model.bn_last, model.relu_last, model.avgpool, nn.Flatten(), model.fc)
    stages = {f"layer{i}": stage for i, stage in enumerate(model.stages, 1)}
    return {"stem": nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool), **stages, "head": head}


@cache
def by_stage(spec: AnyNetwork) -> tuple[tuple[str, tuple[int, ...], Complexity], ...]:
    """Name, output (channels, height, width) and counts of each stage for one image; nothing is allocated."""
    with torch.device("meta"):
        model = build(spec).eval()
        x = torch.empty(1, spec.channels, spec.size, spec.size)
    found = []
    for name, part in parts(model).items():
        with torch.no_grad(), _Counter() as counter:
            x = part(x)
        weights = sum(p.numel() for p in part.parameters())
        found.append((name, tuple(x.shape[1:]), Complexity(weights, counter.multiply_adds, counter.activations)))
    return tuple(found)


@torch.no_grad()
def stages(spec: AnyNetwork, *, images: int = 8, rounds: int = 5, device: torch.device = CPU) -> Stages:
    """Counts and time of each stage, with random weights, on batches of so many IMAGES; the median of ROUNDS."""
    if images < 1 or rounds < 1:
        raise UsageError(f"images is {images} and rounds {rounds}; they must be at least 1")
    model, found = build(spec).eval().to(device), []
    x = torch.randn(images, spec.channels, spec.size, spec.size, device=device)
    for (name, output, counts), part in zip(by_stage(spec), parts(model).values(), strict=True):
        out, spent = part(x), []  # the first pass warms up
        for _ in range(rounds):
            wait_for(device)
            began = time.perf_counter()
            part(x)
            wait_for(device)
            spent.append(time.perf_counter() - began)
        found.append(Part(name, output, counts, statistics.median(spent) / images))
        x = out
    return Stages(images, torch.get_num_threads(), tuple(found))


def picture(found: Mapping[str, Stages]) -> str:
    """Multiply-adds and time of every network as SVG, a bar each, stage upon stage."""
    figure, axes = panels(1, 2, (4.5, 3.0))
    for axis, title, value in (
        (axes[0], "multiply-adds per image", lambda part: part.counts.multiply_adds),
        (axes[1], "ms per image", lambda part: 1e3 * part.seconds),
    ):
        for row, result in enumerate(found.values()):
            left = 0.0
            for i, part in enumerate(result.parts):
                axis.barh(row, value(part), left=left, color=f"C{i}", edgecolor="white")
                left += value(part)
        axis.set_yticks(range(len(found)), list(found))
        axis.set_xlabel(title)
    return svg(figure)
