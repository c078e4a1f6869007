"""The published networks: one row per family, one suffix per variant, no torch."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from .errors import UsageError, unknown
from .spec import (
    BASIC,
    BN_AFTER_ADDITION,
    BOTTLENECK,
    ONE_LAYER,
    PRE_ACTIVATION,
    RELU_BEFORE_ADDITION,
    RELU_PRE_ACTIVATION,
    VGG,
    AnyNetwork,
    Network,
    Stage,
    Stem,
    Unit,
)

# he2015 table 1; 200 layers: he2016 section 5.
IMAGENET_UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
VGG_CONVS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _stages(units: tuple[int, ...], width: int, unit: Unit) -> tuple[Stage, ...]:
    expansion = round(1 / unit.convs[0].width)
    return tuple(Stage(n, width * expansion << i, 1 if i == 0 else 2) for i, n in enumerate(units))


def imagenet(depth: int, unit: Unit) -> Network:
    """A network for 224×224 images (he2015 table 1): 7×7/2 stem, max pooling, four stages."""
    if depth not in IMAGENET_UNITS:
        raise UsageError(f"no ImageNet network has {depth} layers; there are {', '.join(map(str, IMAGENET_UNITS))}")
    return Network(Stem(7, 64, stride=2, pool=True), _stages(IMAGENET_UNITS[depth], 64, unit), unit, classes=1000)


def slim(depth: int, unit: Unit) -> Network:
    """An ImageNet network of a quarter of the width: 16, 32, 64 and 128 times the unit's expansion."""
    row = imagenet(depth, unit)
    stages = tuple(replace(stage, width=stage.width // 4) for stage in row.stages)
    return replace(row, stem=replace(row.stem, width=16), stages=stages)


def cifar(depth: int, unit: Unit) -> Network:
    """A network for 32×32 images (he2015 section 4.2): 3×3 stem, three stages, depth = 3·(layers per unit)·n + 2."""
    per_unit = 3 * len(unit.convs)
    n, rest = divmod(depth - 2, per_unit)
    if rest or n < 1:
        near = [k * per_unit + 2 for k in (max(n, 1), max(n, 1) + 1)]
        raise UsageError(f"no CIFAR network has {depth} layers: depth is {per_unit}n+2, such as {near[0]} or {near[1]}")
    return Network(Stem(3, 16), _stages((n, n, n), 16, unit), unit, classes=10, size=32)


def vgg(depth: int, bn: bool) -> VGG:
    """VGG-16 or VGG-19, configurations D and E of arXiv:1409.1556 table 1."""
    return VGG(VGG_CONVS[depth], bn, classes=1000)


def _imagenet_unit(depth: int) -> Unit:
    return Unit(BASIC) if depth < 50 else Unit(BOTTLENECK, strided=1)


def _cifar_unit(depth: int) -> Unit:
    return Unit(BOTTLENECK) if depth in (164, 1001) else Unit(BASIC, shortcut="A")


@dataclass(frozen=True)
class Family:
    """A row of the catalogue: prefix of its names, published depths, unit, builder, and the suffixes it takes."""

    prefix: str
    depths: tuple[int, ...]
    unit: Callable[[int], Unit]
    build: Callable[[int, Unit], Network]
    suffixes: tuple[str, ...]
    about: str


# A suffix of a name replaces fields of the unit; of each group a name takes one, in this order.
SUFFIXES: dict[str, dict[str, dict[str, Any]]] = {
    "stride": {"v1": {"strided": 0}},
    "convs": {"one_layer": {"convs": ONE_LAYER}},
    "option": {
        "a": {"shortcut": "A"},
        "a_end": {"shortcut": "A", "option_a": "end"},
        "b": {"shortcut": "B"},
        "c": {"shortcut": "C"},
    },
    "order": {
        "bn_after_addition": {"order": BN_AFTER_ADDITION},
        "relu_before_addition": {"order": RELU_BEFORE_ADDITION},
        "relu_pre_activation": {"order": RELU_PRE_ACTIVATION},
    },
    "merge": {
        "scaled": {"merge": "scale", "scale": (0.5, 0.5)},
        "shortcut_scaled": {"merge": "scale", "scale": (0.5, 1.0)},
        "shortcut_gate": {"merge": "shortcut-gate"},
        "shortcut_dropout": {"merge": "dropout"},
    },
    "regularisation": {"stochastic_depth": {"stochastic_depth": 0.5}},
}

CIFAR_DEPTHS = (20, 32, 44, 56, 110)

FAMILIES = (
    Family(
        "resnet",
        tuple(IMAGENET_UNITS),
        _imagenet_unit,
        imagenet,
        ("stride", "option", "order", "merge", "regularisation"),
        "residual, option B (he2015 table 1); stride in the 3x3, _v1: in the first 1x1 as in the paper",
    ),
    Family(
        "plain",
        (18, 34),
        lambda d: Unit(BASIC, shortcut="A", merge="none"),
        imagenet,
        (),
        "no shortcuts (he2015 table 1)",
    ),
    Family(
        "preresnet",
        (50, 101, 152, 200),
        lambda d: replace(_imagenet_unit(d), order=PRE_ACTIVATION),
        imagenet,
        ("option", "merge", "regularisation"),
        "pre-activation (he2016)",
    ),
    Family(
        "slim_resnet",
        (18, 34),
        _imagenet_unit,
        slim,
        ("option", "order", "merge", "regularisation"),
        "a quarter of the width of resnet18 and resnet34: for detection from scratch on a CPU",
    ),
    Family(
        "slim_plain",
        (18, 34),
        lambda d: Unit(BASIC, shortcut="A", merge="none"),
        slim,
        (),
        "the same without shortcuts",
    ),
    Family(
        "cifar_resnet",
        (*CIFAR_DEPTHS, 1202, 164, 1001),
        _cifar_unit,
        cifar,
        ("convs", "option", "order", "merge", "regularisation"),
        "residual, option A (he2015 section 4.2); 164, 1001: bottleneck, option B (he2016)",
    ),
    Family(
        "cifar_plain",
        CIFAR_DEPTHS,
        lambda d: Unit(BASIC, shortcut="A", merge="none"),
        cifar,
        ("convs",),
        "no shortcuts (he2015 figure 6)",
    ),
    Family(
        "cifar_preresnet",
        (110, 164, 1001),
        lambda d: replace(_cifar_unit(d), order=PRE_ACTIVATION),
        cifar,
        ("convs", "option", "merge", "regularisation"),
        "pre-activation (he2016)",
    ),
    Family(
        "cifar_highway",
        CIFAR_DEPTHS,
        lambda d: Unit(BASIC, shortcut="A", merge="gate"),
        cifar,
        ("convs", "option", "regularisation"),
        "exclusive gates, initial gate bias -6 (he2016 section 3.1, highway2015)",
    ),
)

_NAME = re.compile(r"([a-z_]*?)([1-9][0-9]{0,4})((?:_[a-z0-9_]+)?)")


def network(name: str) -> AnyNetwork:
    """The network called NAME, for 1000 classes (ImageNet names) or 10 (CIFAR names).

    CIFAR families take any depth their formula allows. Raises UsageError with the nearest known names.
    """
    match = _NAME.fullmatch(name)
    if match:
        prefix, depth, suffix = match[1], int(match[2]), match[3]
        if prefix == "vgg" and depth in VGG_CONVS and suffix in ("", "_bn"):
            return vgg(depth, bn=suffix == "_bn")
        for family in FAMILIES:
            if family.prefix == prefix and (family.build is cifar or depth in family.depths):
                unit = _with_suffix(family, family.unit(depth), suffix)
                if unit is not None:
                    return family.build(depth, unit)
    raise unknown("network", name, names())


def _with_suffix(family: Family, unit: Unit, suffix: str) -> Unit | None:
    for group in family.suffixes:
        for row in sorted(SUFFIXES[group], key=len, reverse=True):
            if suffix == f"_{row}" or suffix.startswith(f"_{row}_"):
                varied: Unit = replace(unit, **SUFFIXES[group][row])
                if varied == unit:  # a second name for the same network is no name
                    return None
                unit, suffix = varied, suffix[len(row) + 1 :]
                break
    return None if suffix else unit


def _variants(family: Family, depth: int) -> Iterator[str]:
    base = f"{family.prefix}{depth}"
    yield base
    for group in family.suffixes:
        for row in SUFFIXES[group]:
            if _with_suffix(family, family.unit(depth), f"_{row}") is not None:
                yield f"{base}_{row}"


def names() -> list[str]:
    """Every published network and each of them with one suffix; suffixes of several groups combine in Python order."""
    residual = [name for family in FAMILIES for depth in family.depths for name in _variants(family, depth)]
    return residual + [f"vgg{depth}{bn}" for depth in VGG_CONVS for bn in ("", "_bn")]


def name_of(value: AnyNetwork) -> str:
    """The name of a network, whatever its classes, channels and image size; "custom" where it has none."""
    if isinstance(value, VGG):
        rows = {f"vgg{depth}{'_bn' if bn else ''}": vgg(depth, bn) for depth in VGG_CONVS for bn in (False, True)}
        found = (name for name, row in rows.items() if _same_shape(row, value))
    else:
        found = (name for family in FAMILIES for name in _names_in(family, value))
    return next(found, "custom")


def _same_shape(row: AnyNetwork, value: AnyNetwork) -> bool:
    return replace(row, classes=value.classes, channels=value.channels, size=value.size) == value


def _names_in(family: Family, value: Network) -> Iterator[str]:
    depth, unit = value.layers, value.unit
    if family.build is not cifar and depth not in family.depths:
        return
    try:
        row = family.build(depth, unit)
    except UsageError:  # the formula of the family has no such depth
        return
    if not _same_shape(row, value):
        return
    fitting = ([row for row in SUFFIXES[group] if _has(unit, SUFFIXES[group][row])] for group in family.suffixes)
    for rows in product(*(("", *group) for group in fitting)):
        suffix = "".join(f"_{row}" for row in rows if row)
        if _with_suffix(family, family.unit(depth), suffix) == unit:
            yield f"{family.prefix}{depth}{suffix}"


def _has(unit: Unit, change: dict[str, Any]) -> bool:
    return all(getattr(unit, name) == value for name, value in change.items())
