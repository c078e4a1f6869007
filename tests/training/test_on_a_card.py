"""The same figures on a card as on the CPU: pytest -m gpu, where there is a card."""

import pytest
import torch
import torch.distributed as group

from resnets import families, run, testing
from resnets.bundle import Classifier, load
from resnets.classification import Classification
from resnets.evaluation.protocol import parse
from resnets.models.device import device_called
from resnets.recipe import change
from resnets.recipes import quick
from resnets.start import Machine, fit_network, new_state, opened, preprocessing_of
from resnets.training.distributed import Processes, _backends
from resnets.training.train import Step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
UPDATES = 20


def recipe(**changes):
    """A short training on digits, in fp32, in which nothing is drawn on the device."""
    base = change(
        quick(families.network("cifar_resnet8"), "digits"), size=8, epochs=3, batch_size=256, lr=0.02, pad=1,
        flip="none", precision="fp32", channels_last=False, optimizer="sgd", momentum=0.9, ema=0.9,
    )  # fmt: skip
    return change(base, **changes)


def sitting(folder, device, until=None, **changes):
    """The losses of a run on a device, which may end after an update, and its last event."""
    running, losses, event = run.events(recipe(**changes), folder, Machine(0, save_every=2, device=device)), [], None
    for event in running:
        losses += [event.loss] if isinstance(event, Step) else []
        if isinstance(event, Step) and event.update == until:
            break
    running.close()
    return losses, event


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ghost_batch": 32, "micro_batch": 64, "balance": "loss"},
        {"optimizer": "muon"},
        {"recompute": 2, "mixup": 0.4},
    ],
)
def test_losses_are_those_of_the_cpu(tmp_path, changes):
    changes = {"epochs": 4, **changes}
    here, _ = sitting(tmp_path / "cpu", "cpu", UPDATES, **changes)
    there, _ = sitting(tmp_path / "card", "cuda", UPDATES, **changes)
    assert len(here) == UPDATES
    assert there == pytest.approx(here, abs=2e-3)
    assert there[:3] == pytest.approx(here[:3], abs=1e-4)


@pytest.mark.parametrize("changes", [{"precision": "bf16", "channels_last": True}, {"kernels": "compiled"}])
def test_other_ways_to_compute(tmp_path, changes):
    losses, result = sitting(tmp_path / "run", "cuda", **changes)
    assert losses[-1] < losses[0]
    assert result.test_images == 359


@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_changes_its_device(tmp_path, first, second, caplog):
    sitting(tmp_path / "run", first, 7)
    losses, result = sitting(tmp_path / "run", second)
    whole, other = sitting(tmp_path / "whole", second)
    assert losses == pytest.approx(whole[6:], abs=2e-3)
    assert abs(result.test_error - other.test_error) < 1.5
    assert "device was" in caplog.text


def test_a_model_answers_as_on_the_cpu(tmp_path):
    sitting(tmp_path / "run", "cuda")
    found = [testing.evaluate(tmp_path / "run", "digits", device=device).evaluation for device in ("cpu", "cuda")]
    assert torch.allclose(found[0].scores, found[1].scores, atol=1e-3)
    kept, picture = load(tmp_path / "run/best"), torch.arange(64, dtype=torch.uint8).view(8, 8).numpy()
    here, there = (Classifier(kept, device).predict(picture, top=10) for device in ("cpu", "cuda"))
    assert {p.name: p.probability for p in there} == pytest.approx({p.name: p.probability for p in here}, abs=1e-3)


@pytest.mark.parametrize("protocol", ["1-crop", "10-crop", "shifts", "dense", "dense:dense=iii"])
def test_scores_under_protocols(protocol):
    found = []
    for device in (torch.device("cpu"), device_called("cuda")):
        dataset = opened(recipe(size=32))
        chosen = fit_network(recipe(size=32), dataset)
        model = new_state(chosen, 100, True, device)[0].model
        seen = preprocessing_of(chosen, dataset)
        job = Classification(model, chosen, dataset.test, seen, dataset.classes)
        found.append(job.evaluate(model, dataset.test, parse(protocol)).scores)
    assert torch.allclose(*found, atol=1e-3)


def test_nccl_adds_up_what_is_on_the_card():
    """One process that says it is one of two, the other of which has no images."""
    device = device_called("cuda")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(device)
    model(torch.randn(8, 3, 6, 6, device=device)).square().sum().backward()
    before = [p.grad.clone() for p in model.parameters()] + [buffer.clone() for buffer in model.buffers()]
    group.init_process_group(_backends(), store=group.HashStore(), rank=0, world_size=1)
    try:
        assert Processes(0, 2).add_up(model, 8, [1.5, 3.0]) == [1.5, 3.0]
    finally:
        group.destroy_process_group()
    after = [p.grad for p in model.parameters()] + list(model.buffers())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
