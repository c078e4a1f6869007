import re
import subprocess
import sys
from dataclasses import fields, replace
from itertools import product

import pytest

from resnets import families
from resnets.errors import UsageError
from resnets.families import FAMILIES, SUFFIXES, name_of, names, network
from resnets.spec import (
    BASIC,
    BN_AFTER_ADDITION,
    BOTTLENECK,
    ONE_LAYER,
    ORIGINAL,
    PRE_ACTIVATION,
    RELU_BEFORE_ADDITION,
    RELU_PRE_ACTIVATION,
    Network,
    Stage,
    Stem,
    Unit,
)

NAMES = names()

# Written out from he2015 section 4.1 and 4.2, he2016 and the project's decisions 1, 2, 4 and 5.
UNITS = {
    "resnet18": Unit(BASIC),
    "resnet18_a": Unit(BASIC, shortcut="A"),
    "resnet18_a_end": Unit(BASIC, shortcut="A", option_a="end"),
    "resnet34_c": Unit(BASIC, shortcut="C"),
    "resnet50": Unit(BOTTLENECK, strided=1),
    "resnet50_v1": Unit(BOTTLENECK, strided=0),
    "resnet50_v1_c": Unit(BOTTLENECK, strided=0, shortcut="C"),
    "resnet200_v1": Unit(BOTTLENECK, strided=0),
    "plain34": Unit(BASIC, shortcut="A", merge="none"),
    "preresnet200": Unit(BOTTLENECK, PRE_ACTIVATION, strided=1),
    "cifar_resnet20": Unit(BASIC, ORIGINAL, shortcut="A", option_a="symmetric"),
    "cifar_resnet20_a_end": Unit(BASIC, shortcut="A", option_a="end"),
    "cifar_resnet20_b": Unit(BASIC, shortcut="B"),
    "cifar_resnet20_one_layer": Unit(ONE_LAYER, shortcut="A"),
    "cifar_resnet164": Unit(BOTTLENECK, shortcut="B", strided=0),
    "cifar_resnet1001": Unit(BOTTLENECK, shortcut="B", strided=0),
    "cifar_preresnet110": Unit(BASIC, PRE_ACTIVATION, shortcut="A"),
    "cifar_preresnet1001": Unit(BOTTLENECK, PRE_ACTIVATION, shortcut="B", strided=0),
    "cifar_plain20": Unit(BASIC, shortcut="A", merge="none"),
    "cifar_highway32": Unit(BASIC, shortcut="A", merge="gate", gate_bias=-6.0),
    "cifar_resnet110_bn_after_addition": Unit(BASIC, BN_AFTER_ADDITION, shortcut="A"),
    "cifar_resnet110_relu_before_addition": Unit(BASIC, RELU_BEFORE_ADDITION, shortcut="A"),
    "cifar_resnet110_relu_pre_activation": Unit(BASIC, RELU_PRE_ACTIVATION, shortcut="A"),
    "cifar_resnet110_scaled": Unit(BASIC, shortcut="A", merge="scale", scale=(0.5, 0.5)),
    "cifar_resnet110_shortcut_scaled": Unit(BASIC, shortcut="A", merge="scale", scale=(0.5, 1.0)),
    "cifar_resnet110_shortcut_gate": Unit(BASIC, shortcut="A", merge="shortcut-gate"),
    "cifar_resnet110_shortcut_dropout": Unit(BASIC, shortcut="A", merge="dropout", dropout=0.5),
    "cifar_resnet110_stochastic_depth": Unit(BASIC, shortcut="A", stochastic_depth=0.5),
}


@pytest.mark.parametrize("name", UNITS)
def test_name_means_this_unit(name):
    assert network(name).unit == UNITS[name]


def test_imagenet_network_is_table_1():
    basic, deep = network("resnet34"), network("resnet50")
    assert basic.stem == deep.stem == Stem(7, 64, stride=2, pool=True)
    assert basic.stages == (Stage(3, 64, 1), Stage(4, 128, 2), Stage(6, 256, 2), Stage(3, 512, 2))
    assert deep.stages == (Stage(3, 256, 1), Stage(4, 512, 2), Stage(6, 1024, 2), Stage(3, 2048, 2))
    assert (deep.classes, deep.channels, deep.size, deep.features) == (1000, 3, 224, 2048)


def test_cifar_network_is_section_4_2():
    basic, deep = network("cifar_resnet20"), network("cifar_resnet164")
    assert basic.stem == deep.stem == Stem(3, 16)
    assert basic.stages == (Stage(3, 16, 1), Stage(3, 32, 2), Stage(3, 64, 2))
    assert deep.stages == (Stage(18, 64, 1), Stage(18, 128, 2), Stage(18, 256, 2))
    assert (basic.classes, basic.channels, basic.size, basic.features) == (10, 3, 32, 64)


def test_vgg_is_configurations_d_and_e():
    d, e = network("vgg16"), network("vgg19_bn")
    assert (d.convs, d.bn, d.widths) == ((2, 2, 3, 3, 3), False, (64, 128, 256, 512, 512))
    assert (e.convs, e.bn, e.hidden, e.dropout) == ((2, 2, 4, 4, 4), True, 4096, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_name_has_its_layers_and_comes_back(name):
    value = network(name)
    assert value.layers == int(re.findall(r"\d+", name)[0])
    assert name_of(value) == name
    assert name_of(replace(value, classes=7, channels=1, size=64)) == name


def test_names_are_all_there_once():
    assert len(NAMES) == len(set(NAMES))
    assert {f"{f.prefix}{d}" for f in FAMILIES for d in f.depths} < set(NAMES)
    assert {"vgg16", "vgg16_bn", "vgg19", "vgg19_bn"} < set(NAMES)
    values = [network(name) for name in NAMES]
    assert len(set(values)) == len(values), "two names for one network"


def combined():
    """Every choice of two or more rows that are names on their own, on the deepest network of each family."""
    for family in FAMILIES:
        base = f"{family.prefix}{family.depths[-1]}"
        groups = ([row for row in SUFFIXES[group] if f"{base}_{row}" in NAMES] for group in family.suffixes)
        for rows in product(*(("", *group) for group in groups)):
            if sum(map(bool, rows)) > 1:
                yield base + "".join(f"_{row}" for row in rows if row)


def test_combined_suffixes_come_back():
    found = list(combined())
    assert len(found) > 300
    assert [name_of(network(name)) for name in found] == found
    assert network("resnet50_v1_c_relu_before_addition_scaled_stochastic_depth").unit == Unit(
        BOTTLENECK, RELU_BEFORE_ADDITION, "C", "scale", strided=0, scale=(0.5, 0.5), stochastic_depth=0.5
    )


@pytest.mark.parametrize("name", ["cifar_resnet26", "cifar_plain8", "cifar_preresnet1202", "cifar_highway98_b"])
def test_cifar_takes_any_depth_of_its_formula(name):
    assert name_of(network(name)) == name


@pytest.mark.parametrize(
    ("depth", "unit", "near"),
    [
        (21, Unit(BASIC), "6n+2, such as 20 or 26"),
        (2, Unit(BASIC), "6n+2, such as 8 or 14"),
        (0, Unit(BASIC), "6n+2, such as 8 or 14"),
        (28, Unit(BOTTLENECK), "9n+2, such as 20 or 29"),
        (111, Unit(BOTTLENECK), "9n+2, such as 110 or 119"),
        (12, Unit(ONE_LAYER), "3n+2, such as 11 or 14"),
    ],
)
def test_depth_outside_the_formula_names_its_neighbours(depth, unit, near):
    with pytest.raises(UsageError, match=f"no CIFAR network has {depth} layers: depth is") as error:
        families.cifar(depth, unit)
    assert near in str(error.value)
    for depth in map(int, re.findall(r"\d+", near)[-2:]):
        assert families.cifar(depth, unit).layers == depth


def test_formula_error_reaches_the_name():
    with pytest.raises(UsageError, match=r"6n\+2, such as 20 or 26"):
        network("cifar_resnet21")


def test_imagenet_depths_are_table_1_only():
    with pytest.raises(UsageError, match="no ImageNet network has 20 layers; there are 18, 34, 50, 101, 152, 200"):
        families.imagenet(20, Unit(BASIC))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("resnet51", "resnet50"),
        ("ResNet50", "resnet50"),
        ("resnet50v1", "resnet50_v1"),
        ("resnet-50", "resnet50"),
        ("cifar_resnt20", "cifar_resnet20"),
        ("preresnet18", "preresnet1"),
        ("vgg17", "vgg1"),
        ("plain50", "plain"),
        ("resnet34_v1", "resnet34"),  # a basic unit has no first 1x1
        ("resnet18_b", "resnet18"),  # what it is anyway
        ("resnet50_c_v1", "resnet50_v1"),  # suffixes have an order
        ("resnet50_v1_v1", "resnet50_v1"),
        ("resnet50_v1_", "resnet50_v1"),
        ("vgg16_bn_bn", "vgg16_bn"),
        ("cifar_plain20_b", "cifar_plain20"),
    ],
)
def test_typo_is_answered_with_the_nearest_names(typo, meant):
    with pytest.raises(UsageError, match=f"^unknown network '{typo}'; nearest: ") as error:
        network(typo)
    nearest = str(error.value).partition("nearest: ")[2].split(", ")
    assert any(name.startswith(meant) for name in nearest), nearest
    assert set(nearest) <= set(NAMES)


@pytest.mark.parametrize(
    "name",
    ["", "resnet", "50", " resnet50", "resnet50\n", "resnet050", "resnet\u0665\u0660", "cifar_resnet" + "9" * 5000],
    ids=["empty", "no depth", "no family", "space", "newline", "leading zero", "foreign digits", "5000 digits"],
)
def test_strange_name_is_unknown_in_one_line(name):
    with pytest.raises(UsageError, match="unknown network") as error:
        network(name)
    assert "\n" not in str(error.value)


def custom():
    small, deep = network("cifar_resnet20"), network("resnet50")
    yield replace(small, stages=(Stage(1, 16, 1), Stage(2, 32, 2), Stage(1, 64, 2)))  # 10 layers: no 6n+2
    yield replace(small, stages=small.stages[:2])
    yield replace(small, stages=(Stage(2, 16, 1), Stage(4, 32, 2), Stage(3, 64, 2)))  # 20 layers, other stages
    yield replace(small, stem=replace(small.stem, width=32))
    yield replace(small, unit=replace(small.unit, gate_bias=-5.0))
    yield replace(deep, stages=deep.stages[:3])
    yield replace(deep, unit=replace(deep.unit, strided=2))
    yield replace(deep, unit=Unit(BASIC))
    yield replace(network("vgg16"), hidden=512)
    yield replace(network("vgg16"), convs=(1, 1, 2, 2, 2))


@pytest.mark.parametrize("value", list(custom()))
def test_value_without_a_name_is_custom(value):
    assert name_of(value) == "custom"


def test_value_with_a_name_is_found_however_it_was_made():
    unit = Unit(BOTTLENECK, PRE_ACTIVATION, strided=1)
    stages = (Stage(3, 256, 1), Stage(4, 512, 2), Stage(6, 1024, 2), Stage(3, 2048, 2))
    assert name_of(Network(Stem(7, 64, 2, True), stages, unit, classes=12, channels=4, size=96)) == "preresnet50"


def test_every_suffix_changes_fields_of_the_unit():
    known = {field.name for field in fields(Unit)}
    for rows in SUFFIXES.values():
        for change in rows.values():
            assert change
            assert set(change) <= known


CHILD = "import sys; import {module}; print([m for m in ('torch', 'torchvision', 'numpy', 'PIL') if m in sys.modules])"


@pytest.mark.parametrize("module", ["errors", "files", "spec", "families", "recipe", None])
def test_no_torch_is_imported(module):
    name = f"resnets.{module}" if module else "resnets"
    child = subprocess.run([sys.executable, "-c", CHILD.format(module=name)], capture_output=True, text=True)
    assert (child.stdout.strip(), child.returncode) == ("[]", 0), child.stderr


def test_every_network_has_a_builder_of_its_own_name():
    import resnets

    model = resnets.cifar_resnet8(num_classes=3, in_channels=1)
    assert model.fc.out_features == 3
    assert model.conv1.in_channels == 1
    assert not hasattr(resnets, "resnet51")
