"""Everything of an update, of a test and of a run is where the model is, shown without a card: see fake_card.py."""

import dataclasses

import numpy as np
import pytest
import torch
from fake_card import Card
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from resnets import bundle, families, outcome, run, start, testing
from resnets.classification import Classification
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.evaluation.ensemble import weights_hash
from resnets.evaluation.protocol import parse
from resnets.models.device import device_of
from resnets.recipe import change
from resnets.recipes import quick
from resnets.spec import VGG
from resnets.start import Machine
from resnets.training import checkpoint
from resnets.training.distributed import Processes
from resnets.training.statistics import average_statistics
from resnets.training.train import Step, train

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
SOURCE = Arrays(PIXELS, np.array([0] * 9 + [1] * 4 + [2] * 3), "train")
SEEN = Preprocessing(32, mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0)
SMALL_VGG = VGG((1, 1, 1, 1, 1), True, 3, size=32, widths=(4, 4, 4, 4, 4), hidden=8)
EVERYTHING = {"balance": "loss", "ghost_batch": 3, "micro_batch": 8, "ema": 0.9, "mixup": 0.4}
CARD = "cuda:0"
needs_a_build = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="PyTorch is built without CUDA")
pytestmark = [
    pytest.mark.filterwarnings("ignore:CUDA is not available"),
    pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter"),
]


@pytest.fixture
def card(monkeypatch):
    """A fake card; there is no driver to pin memory for it."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    with Card() as card:
        yield card


def recipe(network="cifar_resnet8", **changes):
    """A short training on digits."""
    network = families.network(network) if isinstance(network, str) else network
    base = {"precision": "fp32", "batch_size": 16, "size": 32, "epochs": 1, "optimizer": "sgd", "momentum": 0.9}
    return change(quick(network, "digits"), **{**base, **changes})


def begun(device, network="cifar_resnet8", **changes):
    """The state of a training on a device, and its job."""
    chosen = recipe(network, **changes)
    chosen = dataclasses.replace(chosen, network=dataclasses.replace(chosen.network, classes=3, size=32))
    state, _ = start.new_state(chosen, len(SOURCE), True, torch.device(device))
    return state, Classification(state.model, chosen, SOURCE, SEEN, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("cifar_resnet8", {}),
        ("cifar_resnet8", EVERYTHING),
        ("cifar_resnet8", {**EVERYTHING, "mixup": 0.0, "cutmix": 1.0, "optimizer": "muon", "nesterov": True}),
        ("cifar_resnet20", {"recompute": 3, "ema": 0.9, "channels_last": True}),
        ("cifar_preresnet20", {"kernels": "compiled", "channels_last": True, "optimizer": "muon"}),
        ("cifar_resnet8_shortcut_dropout_stochastic_depth", {"label_smoothing": 0.1, "momentum_form": "caffe"}),
        ("resnet18", {"micro_batch": 4}),
        (SMALL_VGG, {"head_epochs": 1}),
    ],
)
def test_an_update(card, network, changes):
    state, job = begun("meta", network, **changes)
    (step,) = train(job, state)
    assert (step.images, step.loss) == (16, 0.0)
    momenta = checkpoint.named_state(state.optimizer, state.model)
    assert momenta
    averages = state.average.tensors if state.average else {}
    tensors = [*state.model.state_dict().values(), *momenta.values(), *averages.values()]
    assert {(type(tensor), tensor.device.type) for tensor in tensors} <= {(FakeTensor, "meta")}


@pytest.mark.parametrize("left", ["weights", "momentum", "average", "images"])
def test_what_is_left_on_the_cpu_is_refused(card, left):
    """The tests of this file can fail."""
    state, job = begun("meta", **EVERYTHING)
    if left == "weights":
        job.weights = torch.ones(3)
    elif left == "momentum":
        for parameter in state.model.parameters():
            state.optimizer.state[parameter]["momentum_buffer"] = torch.zeros(parameter.shape)
    elif left == "average":
        state.average.tensors = {name: torch.zeros(tensor.shape) for name, tensor in state.average.tensors.items()}
    else:
        job.device = torch.device("cpu")
    with pytest.raises(RuntimeError, match="device"):
        list(train(job, state))


class Two(Processes):
    """This process of two, and the devices of what it adds up; the other one has no images."""

    def sum(self, tensor):
        SUMMED.append(tensor.device.type)
        return tensor


SUMMED: list[str] = []


def test_gradients_are_added_up_on_the_device_and_figures_on_the_cpu(card):
    state, job = begun("meta")
    SUMMED.clear()
    (step,) = train(job, state, Two(0, 2))
    assert step.images == 16
    assert SUMMED == ["cpu", "meta", "meta"]  # figures; gradients and BN statistics; BN's counters


@needs_a_build
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_on_a_card(card, precision):
    _, job = begun(CARD, **{**EVERYTHING, "precision": precision})
    for part in next(job.batches(0, 0)).parts(job.micro_batch):
        loss, mistakes = job.loss(part)
        assert (str(loss.device), str(mistakes.device)) == (CARD, CARD)


@needs_a_build
@pytest.mark.parametrize("network", ["cifar_resnet8", "resnet18", SMALL_VGG])
@pytest.mark.parametrize("protocol", ["1-crop", "10-crop", "shifts", "dense", "dense:dense=iii"])
def test_scores_of_a_card_are_on_the_cpu(card, network, protocol):
    _, job = begun(CARD, network)
    tested = job.evaluate(job.model, SOURCE, parse(protocol))
    assert {type(tensor) for tensor in (tested.scores, tested.labels, tested.indices)} == {Tensor}
    assert tested.scores.shape == (16, 3)
    assert tested.counts.images == 16


@needs_a_build
def test_statistics_of_a_card(card):
    _, job = begun(CARD)
    assert average_statistics(job.model, (batch.images for batch in job.batches(0, 0)), 20) == 32


@pytest.fixture
def tested(monkeypatch):
    """Where the models are that a run tests."""
    own, found = Classification.evaluate, []

    def evaluate(job, model, *arguments):
        found.append(device_of(model).type)
        return own(job, model, *arguments)

    monkeypatch.setattr(Classification, "evaluate", evaluate)
    for module in (run, outcome):
        monkeypatch.setattr(module, "device_called", torch.device)
    return found


def sitting(folder, device, until=None):
    """The updates of a run on a device, which may end after one of them, and its last event."""
    chosen = recipe(size=8, epochs=3, batch_size=256, ema=0.9, bn_images=300, kernels="auto")
    running, updates, event = run.events(chosen, folder, Machine(0, save_every=2, device=device)), [], None
    for event in running:
        updates += [event.update] if isinstance(event, Step) else []
        if updates and updates[-1] == until:
            break
    running.close()
    return updates, event


def test_a_run_that_changes_device(tmp_path, tested, caplog):
    """Its checkpoints hold tensors of the CPU, which any device reads."""
    assert sitting(tmp_path / "run", "cpu", 7)[0] == [1, 2, 3, 4, 5, 6, 7]
    with Card():
        assert sitting(tmp_path / "run", "meta", 13)[0] == list(range(7, 14))
    assert "device was cpu, is meta: the result may differ in the last bits" in caplog.text
    updates, result = sitting(tmp_path / "run", "cpu")
    assert updates == [13, 14, 15]
    assert "device was meta, is cpu" in caplog.text
    assert result.test_images == 359
    assert tested == ["cpu", "meta", "cpu", "cpu", "cpu"]


def test_a_whole_run_and_its_model(tmp_path, tested, monkeypatch):
    """From the first estimate to the report of the test, prediction and another test of the model that is kept."""
    with Card():
        updates, result = sitting(tmp_path / "run", "meta")
        assert updates == list(range(1, 16))
        assert result.test_images == 359
        assert tested == ["meta"] * 5
        own = testing.scored
        monkeypatch.setattr(testing, "device_called", torch.device)
        monkeypatch.setattr(
            testing, "scored", lambda models, *rest: tested.append(device_of(models[0])) or own(models, *rest)
        )
        monkeypatch.setattr(bundle, "device_called", torch.device)
        again = testing.evaluate(tmp_path / "run", "digits", device="meta", cache=tmp_path / "cache")
        assert again.evaluation.counts.images == 359
        assert tested.pop() == torch.device("meta")
        model = bundle.Classifier(bundle.load(tmp_path / "run/best"), "meta")
        answers = model.predict(np.zeros((8, 8, 3), np.uint8), top=3)
        assert device_of(model.model).type == "meta"
        assert [answer.probability for answer in answers] == pytest.approx([0.1] * 3)
    kept = bundle.load(tmp_path / "run/last").tensors
    assert {(type(tensor), tensor.device.type) for tensor in kept.values()} == {(Tensor, "cpu")}


def test_tensors_of_a_device_are_compared_and_hashed(card, monkeypatch):
    state, _ = begun("meta")
    monkeypatch.setattr(Processes, "gather", lambda self, tensor: torch.cat([tensor, tensor]))
    assert Processes(0, 2).first_difference(dict(state.model.state_dict())) is None
    assert len(weights_hash(state.model.state_dict())) == 64
