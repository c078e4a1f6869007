"""A network value as a module: stem, stages, head, with torchvision's parameter names."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from .. import families
from ..spec import VGG, AnyNetwork, Network
from .layers import BatchNorm, recomputed
from .shortcuts import Gate, ResidualOnly
from .unit import ResidualUnit
from .vgg import VGGNetwork


class ResidualNetwork(nn.Module):
    """Plain, residual, pre-activation and highway networks: conv1, bn1, layer1 … layer4, fc.

    (N, channels, H, W) → logits (N, classes), of any H and W that the stem and the stages can halve.
    A pre-activation network has one more BN, `bn_last`, after the last addition. With `recompute` above 0 training
    keeps the activations between about so many segments of units and computes those inside again when it needs them.
    """

    def __init__(self, spec: Network) -> None:
        super().__init__()
        self.spec = spec
        self.recompute = 0
        stem, order = spec.stem, spec.unit.order
        self.conv1 = nn.Conv2d(spec.channels, stem.width, stem.kernel, stem.stride, stem.kernel // 2, bias=False)
        self.bn1 = BatchNorm(stem.width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem.pool else nn.Identity()
        count, done, width = sum(stage.units for stage in spec.stages), 0, stem.width
        for number, stage in enumerate(spec.stages, 1):
            units = nn.Sequential()
            for i in range(stage.units):
                drop = spec.unit.stochastic_depth * (done + 1) / count
                stride = stage.stride if i == 0 else 1
                units.append(ResidualUnit(spec.unit, (width, stage.width), stride, done == 0, drop))
                width, done = stage.width, done + 1
            self.add_module(f"layer{number}", units)
        self.bn_last = BatchNorm(width) if "bn" in order.before else nn.Identity()
        self.relu_last = nn.ReLU() if "relu" in order.before else nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, spec.classes)

    @property
    def stages(self) -> list[nn.Sequential]:
        """layer1, layer2 …"""
        return [module for name, module in self.named_children() if name.startswith("layer")]  # type: ignore[misc]

    @property
    def classifier_name(self) -> str:
        """The name of the linear layer that gives the logits."""
        return "fc"

    def staged(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The outputs of the stem and of every stage by name, each computed when it is asked for, the last activated.

        They are called "stem", "layer1", "layer2" …
        """
        x = self.conv1(x)
        x = self.maxpool(self.bn1.activated(x) if self.bn1.fuses else self.relu(self.bn1(x)))
        yield "stem", x
        for number, stage in enumerate(self.stages[:-1], 1):
            yield f"layer{number}", (x := self._passed(stage, x))
        yield f"layer{len(self.stages)}", self.last_stage(x)

    def last_stage(self, x: Tensor) -> Tensor:
        """The last stage's output, activated, of the output of the stage before."""
        return self.relu_last(self.bn_last(self._passed(self.stages[-1], x)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """What `staged` gives: {"stem": …, "layer1": …}."""
        return dict(self.staged(x))

    def _passed(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        return self._in_segments(stage, x) if self.recompute and self.training and x.requires_grad else stage(x)

    def _in_segments(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        """A stage of so many segments as fall to its units."""
        units = sum(len(each) for each in self.stages)
        count = max(1, round(self.recompute * len(stage) / units))
        size = -(-len(stage) // count)
        for start in range(0, len(stage), size):
            x = recomputed(stage[start : start + size], x)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, (N, features, h, w)."""
        last = x
        for _, last in self.staged(x):  # noqa: B007 - the maps before are let go one by one
            pass
        return last

    def forward_head(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of a feature map: global average pooling and the classifier."""
        return self.fc(torch.flatten(self.avgpool(x), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.forward_head(self.forward_features(x))


def build(spec: AnyNetwork) -> ResidualNetwork | VGGNetwork:
    """The module of a network value, with PyTorch's default initial weights (`initialise` gives the paper's)."""
    return VGGNetwork(spec) if isinstance(spec, VGG) else ResidualNetwork(spec)


Fan = Literal["fan_in", "fan_out"]


def initialise(model: nn.Module, fan: Fan = "fan_in", zero_last_scale: bool = False) -> None:
    """He initialisation: normal, variance 2 / fan (arXiv:1502.01852 section 2.2), biases 0, BN at 1 and 0.

    fan: "fan_in" is the paper's mode, "fan_out" that of torchvision and fb.resnet.torch. zero_last_scale: the last
    BN of every residual branch starts at scale 0 (arXiv:1706.02677, in neither ResNet paper). A unit that does not end
    in a BN, as in pre-activation nets, is left as it is; so are plain nets, through which nothing would pass.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, Gate) and module.gate.bias is not None:
            nn.init.constant_(module.gate.bias, module.initial_bias)
    if zero_last_scale:
        _zero_last_scales(model)


def _zero_last_scales(model: nn.Module) -> None:
    for unit in model.modules():
        if isinstance(unit, ResidualUnit) and unit.last_bn is not None and not isinstance(unit.shortcut, ResidualOnly):
            nn.init.zeros_(unit.last_bn.weight)


def create_model(
    name: str | AnyNetwork,
    num_classes: int | None = None,
    *,
    in_channels: int | None = None,
    fan: Fan = "fan_in",
    zero_last_scale: bool = False,
) -> ResidualNetwork | VGGNetwork:
    """The network called NAME (or a value) with He's initial weights, from torch's global random state.

    num_classes: default 1000 for ImageNet names, 10 for CIFAR names. Raises UsageError for an unknown name.
    """
    spec = families.network(name) if isinstance(name, str) else name
    model = build(replace(spec, classes=num_classes or spec.classes, channels=in_channels or spec.channels))
    initialise(model, fan, zero_last_scale)
    return model
