"""Exact counts of every family. `python tests/test_counts.py --write` measures the golden file anew."""

import json
import re
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as theirs

from resnets.analysis.complexity import complexity
from resnets.families import FAMILIES, names, network
from resnets.models import build
from resnets.models.unit import ResidualUnit
from resnets.spec import BASIC, BOTTLENECK, Unit

GOLDEN = Path(__file__).parent / "golden" / "counts.json"
PUBLISHED = tomllib.loads((GOLDEN.parent / "published_counts.toml").read_text())
BASES = [f"{family.prefix}{depth}" for family in FAMILIES for depth in family.depths]


def suffixes_of(base):
    return [name.removeprefix(base) for name in names() if name.startswith(f"{base}_")]


# Beside every base name the golden file holds every suffix of a family, on its shallowest networks.
SUFFIXED = (
    "resnet18",
    "resnet50",
    "preresnet50",
    "slim_resnet18",
    "cifar_resnet20",
    "cifar_plain20",
    "cifar_highway20",
)
CHOSEN = [
    *(name for name in names() if name in BASES or name.startswith("vgg")),
    *(base + suffix for base in SUFFIXED for suffix in suffixes_of(base)),
    *("cifar_resnet164_a", "cifar_preresnet164_a"),
    *("cifar_preresnet20" + suffix for suffix in ("", *suffixes_of("cifar_preresnet110"))),
]


@cache
def counted(name):
    spec = network(name)
    counts = complexity(spec)
    return {
        "layers": spec.layers,
        "parameters": counts.parameters,
        "multiply_adds": counts.multiply_adds,
        "activations": counts.activations,
    }


@cache
def empty(name, **changes):
    """The module without memory for its weights."""
    with torch.device("meta"):
        return build(replace(network(name), **changes))


def parameters(name, **changes):
    return sum(p.numel() for p in empty(name, **changes).parameters())


def units(model):
    return [module for module in model.modules() if isinstance(module, ResidualUnit)]


def projections(model):
    return sum(isinstance(unit.downsample, nn.Sequential) for unit in units(model))


def norms(model):
    return sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())


@pytest.mark.parametrize("name", CHOSEN)
def test_counts_are_those_of_the_golden_file(name):
    assert counted(name) == json.loads(GOLDEN.read_text())[name]


def test_golden_file_holds_every_base_name_and_every_suffix():
    golden = json.loads(GOLDEN.read_text())
    assert list(golden) == CHOSEN
    for family in FAMILIES:
        wanted = {suffix for depth in family.depths for suffix in suffixes_of(f"{family.prefix}{depth}")}
        found = {re.sub(r"^[a-z_]+\d+", "", name) for name in golden if re.match(rf"{family.prefix}\d", name)}
        assert wanted <= found, family.prefix


def slow_if_deep(rows):
    return [pytest.param(row, id=row["name"], marks=pytest.mark.slow if row["layers"] > 1000 else ()) for row in rows]


@pytest.mark.parametrize("row", PUBLISHED["cifar_basic"], ids=lambda row: row["name"])
def test_cifar_networks_have_the_published_counts(row):
    found = counted(row["name"])
    assert (found["layers"], found["parameters"]) == (row["layers"], row["params_A"])
    assert found["multiply_adds"] == row["macs_A"]


@pytest.mark.parametrize("row", slow_if_deep(PUBLISHED["cifar_basic"]))
def test_cifar_options_have_the_published_counts(row):
    b, c = empty(f"{row['name']}_b"), empty(f"{row['name']}_c")
    assert parameters(f"{row['name']}_b") == row["params_B"]
    assert parameters(f"{row['name']}_c") == row["params_C"]
    assert (projections(b), projections(c)) == (row["proj_B"], row["shortcuts"])
    assert len(units(b)) == row["shortcuts"]


@pytest.mark.parametrize("row", PUBLISHED["cifar_bottleneck"], ids=lambda row: row["depth"])
def test_cifar_bottleneck_networks_have_the_published_counts(row):
    before, after = counted(f"cifar_preresnet{row['depth']}"), counted(f"cifar_resnet{row['depth']}")
    assert (before["parameters"], after["parameters"]) == (row["params_preact"], row["params_postact"])
    assert before["multiply_adds"] == after["multiply_adds"] == row["macs"]
    assert before["layers"] == row["depth"] == 3 * row["units"] + 2
    # 100 classes change nothing but the classifier.
    assert (
        before["parameters"] + 90 * (network(f"cifar_preresnet{row['depth']}").features + 1) == (row["params_cifar100"])
    )


def test_pre_activation_164_has_its_projections_and_classes():
    model = empty("cifar_preresnet164")
    assert (len(units(model)), projections(model)) == (54, 3)
    assert parameters("cifar_preresnet164", classes=100) == 1726388


def test_1001_layers_are_10_2_million_without_bn():
    model = empty("cifar_preresnet1001")
    assert norms(model) == 149216
    assert parameters("cifar_preresnet1001") - norms(model) == 10178490


@pytest.mark.parametrize("row", PUBLISHED["cifar100"], ids=lambda row: row["name"])
def test_cifar100_counts(row):
    assert parameters(row["name"], classes=100) == row["params"]


@pytest.mark.parametrize("depth", [20, 110])
def test_plain_and_pre_activation_have_the_counts_of_option_a(depth):
    twin = counted(f"cifar_resnet{depth}")
    assert counted(f"cifar_plain{depth}") == twin
    assert counted(f"cifar_preresnet{depth}") == twin


@pytest.mark.parametrize("row", PUBLISHED["imagenet"], ids=lambda row: row["name"])
def test_imagenet_networks_have_the_published_counts(row):
    found = counted(row["name"])
    assert found["parameters"] == row["params"]
    assert found["multiply_adds"] == row.get("macs", found["multiply_adds"])
    if "projections" in row:
        assert projections(empty(row["name"])) == row["projections"]


def test_stride_moves_multiply_adds_but_no_parameters():
    for depth in (50, 101, 152, 200):
        ours, paper = counted(f"resnet{depth}"), counted(f"resnet{depth}_v1")
        assert ours["parameters"] == paper["parameters"]
        assert ours["multiply_adds"] - paper["multiply_adds"] == 231_211_008


WEIGHTS = {f"resnet{d}": getattr(theirs, f"ResNet{d}_Weights") for d in (18, 34, 50, 101, 152)} | {
    f"vgg{d}{bn}": getattr(theirs, f"VGG{d}{bn.upper()}_Weights") for d in (16, 19) for bn in ("", "_bn")
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_parameters_and_operations_are_torchvisions(name):
    meta = WEIGHTS[name].IMAGENET1K_V1.meta
    found = counted(name)
    assert found["parameters"] == meta["num_params"]
    assert found["multiply_adds"] / 1e9 == pytest.approx(meta["_ops"], abs=0.0006)  # printed with three digits


# he2015 figure 5 and conv2_x of table 1: convolution weights of one unit.
BLOCKS = {
    "two 3x3, 64": (Unit(BASIC), 64, 64, 73728),
    "bottleneck, identity": (Unit(BOTTLENECK), 256, 256, 69632),
    "bottleneck, first of conv2_x": (Unit(BOTTLENECK), 64, 256, 73728),
    "bottleneck, projection of option C": (Unit(BOTTLENECK, shortcut="C"), 256, 256, 135168),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_weights_of_a_single_unit(block):
    unit, in_width, width, weights = BLOCKS[block]
    with torch.device("meta"):
        module = ResidualUnit(unit, (in_width, width), 1, activated=False, drop=0)
    assert sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d)) == weights


def test_gates_are_parameters_and_no_layers():
    gated, plain = counted("cifar_highway20"), counted("cifar_resnet20")
    by_hand = 3 * (16 * 16 + 16) + (16 * 32 + 32) + 2 * (32 * 32 + 32) + (32 * 64 + 64) + 2 * (64 * 64 + 64)
    assert gated["parameters"] - plain["parameters"] == by_hand
    assert gated["layers"] == plain["layers"] == 20


def test_activations_by_hand():
    # conv1 and every 3x3 of the three stages, then ten logits
    assert counted("cifar_resnet20")["activations"] == 7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2 + 10


def test_other_sizes_and_channels_are_counted():
    twenty = replace(network("cifar_resnet20"), channels=1, size=64, classes=7)
    stem, rest = 16 * 27 * 32**2, 40551040 - 16 * 27 * 32**2 - 640
    assert complexity(twenty).multiply_adds == stem * 4 // 3 + 4 * rest + 64 * 7


if __name__ == "__main__":
    assert sys.argv[1:] == ["--write"], __doc__
    GOLDEN.write_text(json.dumps({name: counted(name) for name in CHOSEN}, indent=1) + "\n")
