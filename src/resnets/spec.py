"""A network as a value: frozen data, no torch.

Names follow "Deep Residual Learning for Image Recognition" (he2015) and "Identity Mappings in Deep Residual
Networks" (he2016). `families.py` holds the published rows, `models/` turns a value into layers.
"""

from dataclasses import dataclass
from typing import Literal

Layer = Literal["bn", "relu"]


@dataclass(frozen=True)
class Conv:
    """A convolution of a unit: kernel size, and output channels as a fraction of the unit's."""

    kernel: int
    width: float = 1.0


BASIC = (Conv(3), Conv(3))
BOTTLENECK = (Conv(1, 1 / 4), Conv(3, 1 / 4), Conv(1))
ONE_LAYER = (Conv(3),)


@dataclass(frozen=True)
class Order:
    """Where BN and ReLU stand (he2016 figure 4): before, between and after the convolutions, after the sum."""

    before: tuple[Layer, ...] = ()
    between: tuple[Layer, ...] = ("bn", "relu")
    last: tuple[Layer, ...] = ("bn",)
    after: tuple[Layer, ...] = ("relu",)


ORIGINAL = Order()
BN_AFTER_ADDITION = Order(last=(), after=("bn", "relu"))
RELU_BEFORE_ADDITION = Order(last=("bn", "relu"), after=())
RELU_PRE_ACTIVATION = Order(before=("relu",), after=())
PRE_ACTIVATION = Order(before=("bn", "relu"), last=(), after=())


@dataclass(frozen=True)
class Unit:
    """x → f(merge(h(x), F(x))): the residual branch F, its order, the shortcut h and how the two meet.

    shortcut: how x gets the size of F(x) (he2015 section 4.1). A pads zero channels, B projects where the size
        changes, C projects everywhere (the "1×1 conv shortcut" of he2016 table 1).
    merge: "add"; "none" (a plain net: F alone); "scale" (scale[0]·h + scale[1]·F, he2016 section 3.1);
        "gate" (exclusive gating, the highway unit: (1−g)·h + g·F); "shortcut-gate" ((1−g)·h + F);
        "dropout" (h times a random 0/1 mask that keeps the fraction 1 − dropout).
    strided: which convolution carries the stride of the stage.
    stochastic_depth: probability that the last unit's F is dropped for a mini-batch; it grows linearly from the
        first unit (Huang et al. 2016, section 3).
    """

    convs: tuple[Conv, ...]
    order: Order = ORIGINAL
    shortcut: Literal["A", "B", "C"] = "B"
    merge: Literal["add", "none", "scale", "gate", "shortcut-gate", "dropout"] = "add"
    strided: int = 0
    option_a: Literal["symmetric", "end"] = "symmetric"
    scale: tuple[float, float] = (1.0, 1.0)
    gate_bias: float = -6.0
    dropout: float = 0.5
    shortcut_bn: bool = True
    stochastic_depth: float = 0.0


@dataclass(frozen=True)
class Stem:
    """The first convolution, with BN and ReLU, and a 3×3/2 max pooling where `pool` is set."""

    kernel: int
    width: int
    stride: int = 1
    pool: bool = False


@dataclass(frozen=True)
class Stage:
    """Units of one output size: how many, their output channels, the stride of the first."""

    units: int
    width: int
    stride: int


@dataclass(frozen=True)
class Network:
    """Stem, stages of one kind of unit, global average pooling and a linear classifier."""

    stem: Stem
    stages: tuple[Stage, ...]
    unit: Unit
    classes: int
    channels: int = 3
    size: int = 224

    @property
    def layers(self) -> int:
        """Weighted layers as the papers count them: main-path convolutions and the classifier."""
        return 2 + sum(stage.units for stage in self.stages) * len(self.unit.convs)

    @property
    def features(self) -> int:
        """Channels that reach the classifier."""
        return self.stages[-1].width


@dataclass(frozen=True)
class VGG:
    """A network of Simonyan & Zisserman (arXiv:1409.1556): 3×3 convolutions in pooled groups, three linear layers."""

    convs: tuple[int, ...]
    bn: bool
    classes: int
    channels: int = 3
    size: int = 224
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    dropout: float = 0.5

    @property
    def layers(self) -> int:
        """Weighted layers: convolutions and the three linear layers."""
        return sum(self.convs) + 3

    @property
    def features(self) -> int:
        """Channels that reach the classifier."""
        return self.hidden


AnyNetwork = Network | VGG


@dataclass(frozen=True)
class Detector:
    """Faster R-CNN on the layers of a network (arXiv:1506.01497; he2015 appendix A).

    classes: without background, which is label 0 inside.
    design: "C4" shares all stages but the last: RPN stands on them, and every region passes the last stage on its own
        (a VGG shares its convolutions, and every region passes its two hidden layers); "FPN" is the feature pyramid of
        arXiv:1612.03144 with two hidden layers for every region.
    anchors: sides in pixels of the scaled image, each in three ratios of height to width; in an FPN one a level, the
        last for a level above the last stage.
    pooling: "pool" is RoIPool with its rounding, the paper's; "align" is RoIAlign with the half-pixel shift.
    bn: "frozen" keeps all four quantities of every BN (he2015 appendix A); "live" trains them, for a new start.
    context: every region also sees the pooled whole image (he2015 appendix B).
    masks: Mask R-CNN's branch (arXiv:1703.06870).
    """

    network: AnyNetwork
    classes: int
    design: Literal["C4", "FPN"] = "C4"
    anchors: tuple[int, ...] = (128, 256, 512)
    pooling: Literal["pool", "align"] = "pool"
    bn: Literal["frozen", "live"] = "frozen"
    context: bool = False
    masks: bool = False
