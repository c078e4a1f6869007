"""Recipes as values and as JSON: the paper's numbers, changes by name, and what is refused."""

import json
from dataclasses import asdict, fields, replace

import pytest

from resnets.errors import UsageError
from resnets.families import network
from resnets.recipe import Augmentation, Recipe, Training, as_json, change, from_json
from resnets.recipes import RECIPES, recipe

NETWORKS = ["cifar_resnet20", "cifar_plain20", "cifar_resnet164", "cifar_preresnet110", "cifar_highway32", "resnet18"]
NETWORKS += [
    "resnet50_v1",
    "preresnet101",
    "vgg16_bn",
    "cifar_resnet32_b_shortcut_dropout",
    "resnet34_stochastic_depth",
]


def test_the_papers_values():
    """he2015 section 4.2 and correctness points 18 to 26."""
    for depth in (20, 32, 44, 56, 110, 1202):
        value = recipe("cifar-2015", network(f"cifar_resnet{depth}"), "cifar10")
        t, a = value.training, value.augmentation
        assert (t.batch_size, t.updates, t.lr, t.schedule, t.milestones, t.drop) == (
            128, 64_000, 0.1, "steps", (32_000, 48_000), 0.1,
        )  # fmt: skip
        assert (t.weight_decay, t.decay, t.momentum, t.nesterov) == (1e-4, "all", 0.9, False)
        assert (t.label_smoothing, t.ema, t.precision, t.fan, t.zero_last_scale) == (0, 0, "fp32", "fan_in", False)
        assert (t.warmup, t.warmup_lr) == ("until-error" if depth >= 110 else "none", 0.01)
        assert a == Augmentation(crop="pad", pad=4, border="after", flip="random")
        assert (value.normalize, value.size, value.crop_pct, value.val) == ("pixel-mean", 32, 1.0, 0.0)


def test_change_finds_fields_by_their_names():
    base = recipe("quick", network("cifar_resnet20"), "cifar10")
    changed = change(base, lr=0.5, pad=2, seed=7, flip="none", size=16)
    expected = replace(
        base, seed=7, size=16, training=replace(base.training, lr=0.5),
        augmentation=replace(base.augmentation, pad=2, flip="none"),
    )  # fmt: skip
    assert changed == expected
    assert change(base) == base
    assert change(base, training=Training(lr=9.0), epochs=3).training == Training(lr=9.0, epochs=3)
    names = [f.name for kind in (Recipe, Training, Augmentation) for f in fields(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "near"), [("learning_rat", "training"), ("epoch", "epochs"), ("wieght_decay", "weight_decay")]
)
def test_change_lists_the_nearest_field(name, near):
    with pytest.raises(UsageError, match=f"unknown recipe field '{name}'; nearest: .*{near}"):
        change(recipe("quick", network("cifar_resnet20"), "cifar10"), **{name: 1})


def test_an_unknown_recipe_lists_the_nearest():
    with pytest.raises(UsageError, match="unknown recipe 'imagenet-2017'; nearest: imagenet-2016"):
        recipe("imagenet-2017", network("cifar_resnet20"), "cifar10")


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_go_through_json(name, net):
    if name.startswith("cifar-") != (network(net).size < 64) and "-20" in name:
        with pytest.raises(UsageError, match=r"recipe .* is that of the"):
            recipe(name, network(net), "cifar10")
        return
    value = change(recipe(name, network(net), "naïve 😀\n"), val=0.25, seed=2**40)
    again = from_json(Recipe, json.loads(json.dumps(as_json(value))), "recipe.json")
    assert again == value
    assert hash(again) == hash(value)
    assert asdict(again) == asdict(value)


DAMAGE = {
    "unknown key": (["sed"], 1, "unknown field 'sed'; nearest: seed"),
    "unknown inner key": (["training", "learning_rate"], 1, "unknown field 'learning_rate'; nearest: "),
    "unknown key in the network": (
        ["network", "unit", "shortcuts"],
        "B",
        "unknown field 'shortcuts'; nearest: shortcut",
    ),
    "unknown key in a list": (["network", "stages", 1, "unit"], 3, "unknown field 'unit'; nearest: units"),
    "escape in a key": (["\x1b[31m"], 1, "unknown field '\\x1b[31m'"),
    "text for a number": (["training", "batch_size"], "128", "training.batch_size: Input should be a valid integer"),
    "fraction for a count": (["training", "epochs"], 1.5, "training.epochs: Input should be a valid integer"),
    "truth for a number": (["training", "lr"], True, "training.lr: Input should be a valid number"),
    "number for truth": (["watch_test"], 1, "watch_test: Input should be a valid boolean"),
    "no such choice": (["augmentation", "flip"], "sideways", "augmentation.flip: Input should be 'none', 'random'"),
    "null": (["seed"], None, "seed: Input should be a valid integer"),
    "list for a record": (["training"], [1], "training: "),
    "record for a list": (["training", "milestones"], {}, "training.milestones: "),
}


@pytest.mark.parametrize(("place", "value", "said"), DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_recipes_are_refused(place, value, said):
    data = json.loads(json.dumps(as_json(recipe("quick", network("cifar_resnet20"), "cifar10"))))
    *way, last = place
    inner = data
    for key in way:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(UsageError) as caught:
        from_json(Recipe, data, "recipe.json")
    assert str(caught.value).startswith("recipe.json: ")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("data", [None, [], 3, "paper", {}])
def test_what_is_no_recipe(data):
    with pytest.raises(UsageError, match=r"^recipe.json: "):
        from_json(Recipe, data, "recipe.json")


def test_missing_fields_take_their_defaults():
    data = {"name": "mine", "data": "digits", "network": as_json(network("cifar_resnet20")), "training": {"epochs": 2}}
    assert from_json(Recipe, data, "x") == Recipe(
        "mine", network("cifar_resnet20"), "digits", training=Training(epochs=2)
    )
