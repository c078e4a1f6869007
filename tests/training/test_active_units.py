"""Training with some units at a time (veit2016 section 4.3), from the loss of a mini-batch to the kept model."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from resnets import api, families
from resnets.classification import Classification
from resnets.cli.main import main
from resnets.data.batches import Batch
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.errors import UsageError
from resnets.models import create_model
from resnets.models.bypass import expected, places
from resnets.plan import plan
from resnets.recipe import as_json, change, from_json
from resnets.recipes import quick
from resnets.run import execute
from resnets.start import Machine
from resnets.training.train import _gradients

SMALL = {"network": "cifar_resnet8", "updates": 6, "kernels": "eager"}
LABELS = np.arange(16) % 3


def job(**changes):
    network = families.network("cifar_resnet14")
    recipe = change(quick(network, "digits"), precision="fp32", channels_last=False, **changes)
    torch.manual_seed(0)
    source = Arrays(np.zeros((16, 8, 8, 3), np.uint8), LABELS, "train")
    return Classification(create_model(network, 3).eval(), recipe, source, Preprocessing(8), ("a", "b", "c"))


def batch():
    images = torch.from_numpy(np.random.default_rng(1).standard_normal((16, 3, 8, 8), dtype=np.float32))
    return Batch(images, torch.from_numpy(LABELS), np.arange(16))


def learnt(task, seed):
    """The gradient of an update with this SEED, and which units it reaches."""
    task.model.zero_grad()
    torch.manual_seed(seed)
    _gradients(task, batch())
    grads = [None if p.grad is None else p.grad.flatten() for p in task.model.parameters()]
    reached = [u.conv1.weight.grad is not None and bool(u.conv1.weight.grad.any()) for _, _, u in places(task.model)]
    return torch.cat([g for g in grads if g is not None]), reached


def test_all_parts_of_an_update_have_the_same_units_and_updates_have_others():
    seen = set()
    for seed in range(8):
        gradient, reached = learnt(job(active_units=2, micro_batch=5), seed)
        whole, same = learnt(job(active_units=2), seed)
        assert sum(reached) == 2
        assert reached == same
        assert torch.allclose(gradient, whole, atol=1e-6)
        seen.add(tuple(reached))
    assert len(seen) > 3
    assert learnt(job(active_units=6), 0)[1] == learnt(job(), 0)[1] == [True] * 6


def test_the_random_numbers_of_an_update_stay_as_they_are():
    task = job(active_units=2)
    torch.manual_seed(3)
    task.loss(batch())
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(4))


@pytest.mark.parametrize(("val", "kept"), [(0.0, ["last"]), (0.2, ["best", "last"])])
def test_what_is_tested_and_kept_has_all_units(val, kept, tmp_path):
    """F of every unit with its part of the time, once: models after one epoch against the weights of the training."""
    execute(plan("digits", active_units=1, val=val, ema=0.0, **SMALL), tmp_path, Machine(save_every=6))
    trained = load_file(max((tmp_path / "checkpoints").glob("step-*")) / "model.safetensors")
    model = create_model(families.network("cifar_resnet8"), 10, in_channels=1)
    assert sorted(path.parent.name for path in tmp_path.glob("*/model.safetensors")) == kept
    for name in kept:
        found = load_file(tmp_path / name / "model.safetensors")
        made = expected(model, {tensor: trained[tensor] for tensor in found}, 1)
        assert all(torch.equal(made[tensor], found[tensor]) for tensor in found)
        assert torch.allclose(found["layer1.0.bn2.weight"], trained["layer1.0.bn2.weight"] / 3)
        assert torch.equal(found["layer1.0.conv2.weight"], trained["layer1.0.conv2.weight"])


def test_all_units_at_a_time_is_the_training_without_such_a_field(tmp_path):
    found = []
    for active in (0, 3):
        execute(plan("digits", active_units=active, **SMALL), tmp_path / str(active), Machine())
        found.append(load_file(tmp_path / str(active) / "best/model.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"active_units": 4}, r"^active_units is 4; the network has 3 units$"),
        ({"active_units": -1}, r"^active_units is -1; it must be at least 0 and below 1e\+06$"),
        ({"active_units": 1, "network": "cifar_plain8"}, r"^a network without shortcuts has one path only, .*$"),
    ],
)
def test_wrong_numbers_are_refused_before_training(changes, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        api.train("digits", out=tmp_path / "run", **{**SMALL, **changes})
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_and_its_refusal_in_one_line(tmp_path, capsys):
    recipe = plan("digits", **SMALL)
    assert "active_units" not in as_json(recipe)["training"]  # so that runs keep their names
    facts = as_json(change(recipe, active_units=4))
    assert from_json(type(recipe), facts, "x").training.active_units == 4
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(facts))
    assert main(["train", "digits", "--recipe", str(path), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith("active_units is 4; the network has 3 units")
