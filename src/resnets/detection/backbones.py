"""The layers that all regions share and those that each region passes on its own: C4, VGG's, and the pyramid's.

Shared maps are float32, whatever they were computed in: boxes are cut out of them.
"""

from collections import OrderedDict
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign, roi_align, roi_pool
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from ..errors import UsageError
from ..families import name_of
from ..models.network import ResidualNetwork
from ..models.vgg import VGGNetwork
from ..spec import Detector, Network

_HIDDEN = 4  # units of a region's two layers for each channel of the pyramid: 1024 for 256


class Pool(nn.Module):
    """Regions of one map as maps of side × side: RoIPool, or RoIAlign with the half-pixel shift that detectron2 has.

    features {"0": (N, C, h, w)}, boxes a tensor (R, 4) an image, in pixels of the scaled image → (ΣR, C, side, side).
    """

    def __init__(self, side: int, stride: int, kind: str) -> None:
        super().__init__()
        self.side, self.scale, self.kind = side, 1 / stride, kind

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
        """The pooled regions, image by image."""
        if self.kind == "pool":
            return roi_pool(features["0"], boxes, self.side, self.scale)
        return roi_align(features["0"], boxes, self.side, self.scale, sampling_ratio=2, aligned=True)


class C4(nn.Module):
    """A residual network cut before its last stage (he2015 appendix A): 14×14 regions, of which that stage makes 7×7.

    (N, channels, H, W) → {"0": (N, out_channels, H / stride, W / stride)}.
    """

    side = 14

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        network.fc, network.avgpool = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.network, spec = network, network.spec
        self.out_channels, self.region_channels = spec.stages[-2].width, spec.features
        self.map_channels = spec.features
        self.stride = _stride(spec)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The map that all regions share."""
        *_, (_, shared) = islice(self.network.staged(x), len(self.network.stages))
        return {"0": shared.float()}

    def region_map(self, pooled: Tensor) -> Tensor:
        """Regions (R, out_channels, 14, 14) after the last stage, (R, map_channels, 7, 7)."""
        return self.network.last_stage(pooled)

    def region(self, made: Tensor) -> Tensor:
        """What the two sibling layers see of the regions that `region_map` made, (R, region_channels)."""
        return made.mean((2, 3))

    def shared(self) -> list[nn.Module]:
        """The modules whose layers all regions share."""
        own = self.network.stages[-1]
        return [
            module for module in self.network.children() if module is not own and module is not self.network.bn_last
        ]


class VGGShared(nn.Module):
    """A VGG without its last pooling; a region of 7×7 passes its two hidden layers (arXiv:1506.01497)."""

    side = 7

    def __init__(self, network: VGGNetwork) -> None:
        super().__init__()
        network.classifier = network.classifier[:-1]  # type: ignore[assignment]
        self.network = network
        self.out_channels = self.map_channels = network.spec.widths[-1]
        self.region_channels = network.spec.hidden
        self.stride = 2 ** (len(network.spec.convs) - 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The last convolution's map."""
        return {"0": self.network.features[:-1](x).float()}

    def region_map(self, pooled: Tensor) -> Tensor:
        """The pooled regions as they are."""
        return pooled

    def region(self, made: Tensor) -> Tensor:
        """What the two sibling layers see of each region, (R, 4096)."""
        return self.network.classifier(made.flatten(1))

    def shared(self) -> list[nn.Module]:
        """The modules whose layers all regions share."""
        return [self.network.features]


class Pyramid(nn.Module):
    """A feature pyramid on every stage (arXiv:1612.03144): 7×7 regions of the level that fits their size.

    Every level has 256 channels, on narrow networks half of those of the last stage.
    """

    side = 7

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        network.fc, network.avgpool = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.network = network
        widths = [stage.width for stage in network.spec.stages]
        channels = min(256, max(64, widths[-1] // 2))
        self.region_channels, self.stride = _HIDDEN * channels, _stride(network.spec)
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelMaxPool())
        self.hidden = TwoMLPHead(channels * self.side**2, self.region_channels)
        self.out_channels = self.map_channels = channels
        self.levels = [str(level) for level in range(len(widths))]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """A map a level, the finest first, and a coarser one for RPN alone."""
        maps = [found for _, found in islice(self.network.staged(x), 1, None)]
        made = self.fpn(OrderedDict(zip(self.levels, maps, strict=True)))
        return {name: found.float() for name, found in made.items()}

    def region_map(self, pooled: Tensor) -> Tensor:
        """The pooled regions as they are."""
        return pooled

    def region(self, made: Tensor) -> Tensor:
        """What the two sibling layers see of each region, (R, region_channels)."""
        return self.hidden(made)

    def shared(self) -> list[nn.Module]:
        """The modules whose layers all regions share."""
        return [self.network, self.fpn]


Body = C4 | VGGShared | Pyramid


def body(spec: Detector, network: ResidualNetwork | VGGNetwork) -> Body:
    """The layers of NETWORK as SPEC shares them. Raises UsageError for a network that the design does not take."""
    if isinstance(network, VGGNetwork):
        if spec.design == "FPN":
            raise UsageError("the feature pyramid stands on residual networks; choose --design c4 for a VGG")
        return VGGShared(network)
    if spec.design == "C4":
        return C4(network)
    if len(spec.anchors) != len(network.stages) + 1:
        name = name_of(network.spec)
        raise UsageError(f"a pyramid on {name} has {len(network.stages) + 1} levels; give as many anchor sizes")
    return Pyramid(network)


FROZEN = {"none": 0, "stem": 1, "stem+stage1": 2}  # groups of layers, from the input on


def early(shared: Body, frozen: str) -> list[nn.Module]:
    """The modules of SHARED that stay as they are: conv1 and conv2_x of a residual network, two groups of a VGG."""
    network = shared.network
    if isinstance(network, VGGNetwork):
        pools = [number for number, layer in enumerate(network.features) if isinstance(layer, nn.MaxPool2d)]
        groups = [list(network.features[: pools[0]]), list(network.features[pools[0] : pools[1]])]
    else:
        groups = [[network.conv1, network.bn1], [network.stages[0]]]
    return [module for group in groups[: FROZEN[frozen]] for module in group]


def pool(spec: Detector, shared: Body, side: int = 0) -> Any:
    """What cuts regions out of the maps of SHARED."""
    side = side or shared.side
    if isinstance(shared, Pyramid):
        return MultiScaleRoIAlign(shared.levels, side, sampling_ratio=2)
    return Pool(side, shared.stride, spec.pooling)


def _stride(spec: Network) -> int:
    """Pixels of the picture between neighbours of the map before the last stage."""
    stride = spec.stem.stride * (2 if spec.stem.pool else 1)
    for stage in spec.stages[:-1]:
        stride *= stage.stride
    return stride
