"""What is chosen for a folder of pictures, and what a run says it will cost."""

import numpy as np
import pytest
from PIL import Image

from resnets.choose import choose
from resnets.data.datasets import open_dataset
from resnets.errors import UsageError
from resnets.estimate import memory
from resnets.families import network
from resnets.plan import plan
from resnets.recipe import change
from resnets.recipes import quick
from resnets.start import imbalance


def pictures(root, counts, size, long=0.0):
    """Class folders of gray pictures; a share LONG of each is twice as wide as high."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            width = size * (2 if i < long * count else 1)
            pixels = np.full((size, width), 10 * i % 256, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("size", "long", "chosen"),
    [
        (24, 0.0, ("cifar_resnet20", 32, "crop")),
        (80, 0.2, ("cifar_resnet20", 64, "crop")),
        (80, 0.5, ("cifar_resnet20", 64, "pad")),
        (300, 0.5, ("resnet18", 128, "pad")),
    ],
)
def test_network_size_and_fit_follow_from_the_pictures(tmp_path, size, long, chosen):
    choice = choose(open_dataset(str(pictures(tmp_path / "p", {"a": 10, "b": 10}, size, long))), cores=2)
    assert (choice.network, choice.fields["size"], choice.fields["fit"]) == chosen
    assert choice.fields["epochs"] == 60
    assert {*choice.reasons} == {"network", "size", "epochs", "fit"}


def test_a_plan_says_why_and_what_is_given_is_not_chosen(tmp_path):
    folder = str(pictures(tmp_path / "p", {"a": 10, "b": 10}, 80, 0.5))
    recipe = plan(folder)
    assert [reason.split(":")[0] for reason in recipe.reasons] == ["network", "size", "epochs", "fit"]
    given = plan(folder, epochs=3, fit="squash")
    assert (given.training.epochs, given.fit, given.size) == (3, "squash", 64)
    assert [reason.split(":")[0] for reason in given.reasons] == ["network", "size"]
    named = plan(folder, network="resnet18")
    assert (named.size, named.fit, named.reasons[0][:3]) == (128, "pad", "fit")
    assert plan("digits").reasons == ()


def test_a_run_keeps_what_was_chosen_when_it_began(tmp_path):
    folder = pictures(tmp_path / "p", {"a": 10, "b": 10}, 80, 0.5)
    first = plan(str(folder))
    (tmp_path / "run").mkdir()
    from resnets.files import write_json
    from resnets.recipe import as_json

    write_json(tmp_path / "run" / "recipe.json", as_json(change(first, size=32, epochs=7)))
    again = plan(str(folder), out=tmp_path / "run")
    assert (again.size, again.training.epochs, again.reasons) == (32, 7, first.reasons)


def test_a_rare_class_is_named(tmp_path):
    rare = open_dataset(str(pictures(tmp_path / "rare", {"common": 60, "rare": 4}, 8)))
    assert imbalance(rare)[0].startswith("train: common has 42 pictures, rare 2: look at ")
    assert imbalance(open_dataset("digits")) == []


def test_memory_grows_with_what_passes_together_and_not_with_what_is_computed_again():
    base = change(quick(network("cifar_resnet110"), "digits"), precision="fp32")
    whole = memory(base)
    assert memory(change(base, micro_batch=32)) < 0.7 * whole
    assert memory(change(base, recompute=7)) < 0.7 * whole
    assert memory(base, processes=2) < whole


def test_as_much_is_computed_again_as_a_budget_asks_for():
    deep = {"network": "cifar_resnet110", "precision": "bf16", "batch_size": 512}
    whole, small, smaller = (plan("digits", memory=size, size=32, **deep) for size in ("", "3GB", "1.8 GiB"))
    assert whole.training.recompute == 0
    assert 0 < small.training.recompute < smaller.training.recompute
    assert memory(small) <= 3e9 < memory(change(small, recompute=small.training.recompute // 2))
    assert plan("digits", memory="64GB").training.recompute == 0
    for size, said in (
        ("4", "no amount of memory"),
        ("900MB", r"needs about 1\.. GB even with"),
        ("-1GB", "no amount"),
    ):
        with pytest.raises(UsageError, match=said):
            plan("digits", memory=size, size=32, **deep)
    with pytest.raises(UsageError, match="even with recomputation"):
        plan("digits", network="vgg16", memory="800MB", size=224)
