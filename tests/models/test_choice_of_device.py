"""Which device a name means, on machines with so many cards."""

import pytest
import torch

from resnets import run, testing
from resnets.cli.doctor import examine
from resnets.cli.main import main
from resnets.errors import EnvironmentProblem, UsageError
from resnets.models.device import device_called, kind_of
from resnets.start import Machine
from resnets.training import distributed


@pytest.fixture
def cards(monkeypatch):
    """Make a machine with so many cards, and answer which one became the current one."""
    current = []
    for name in ("RESNETS_DEVICE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def make(count, **environment):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return current

    return make


@pytest.mark.parametrize(
    ("count", "environment", "name", "expected"),
    [
        (0, {}, "auto", "cpu"),
        (2, {}, "auto", "cuda:0"),
        (2, {}, "cpu", "cpu"),
        (2, {}, "cuda", "cuda:0"),
        (2, {}, "cuda:1", "cuda:1"),
        (2, {"RESNETS_DEVICE": "cuda:1"}, "auto", "cuda:1"),
        (2, {"RESNETS_DEVICE": "cpu"}, "auto", "cpu"),
        (2, {"RESNETS_DEVICE": "cpu"}, "cuda", "cuda:0"),
        (2, {"RESNETS_DEVICE": ""}, "auto", "cuda:0"),
        (4, {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}, "auto", "cuda:3"),
        (2, {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}, "cpu", "cpu"),
    ],
)
def test_what_a_name_means(cards, count, environment, name, expected):
    current = cards(count, **environment)
    found = device_called(name)
    assert str(found) == expected
    assert current == ([] if expected == "cpu" else [found])
    assert torch.backends.cudnn.allow_tf32 == (expected == "cpu")  # fp32 is fp32


@pytest.mark.parametrize(
    ("count", "environment", "name", "error", "words"),
    [
        (0, {}, "cuda", EnvironmentProblem, ["PyTorch sees no card", "RESNETS_DEVICE=cpu"]),
        (0, {"RESNETS_DEVICE": "cuda"}, "auto", EnvironmentProblem, ["PyTorch sees no card"]),
        (2, {}, "cuda:2", EnvironmentProblem, ["no card cuda:2", "the last one is cuda:1"]),
        (2, {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"}, "auto", EnvironmentProblem, ["3 processes", "2 cards"]),
        (2, {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, "cuda:0", UsageError, ["cuda:0", "2 processes"]),
        (2, {"LOCAL_RANK": "2"}, "cuda", EnvironmentProblem, ["no card cuda:2"]),
        (2, {}, "gpu\n", UsageError, ["'gpu\\n'", "cuda:0"]),
        (2, {}, "cuda:", UsageError, ["cuda:"]),
    ],
)
def test_a_device_that_is_not_there(cards, count, environment, name, error, words):
    current = cards(count, **environment)
    with pytest.raises(error) as raised:
        device_called(name)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)
    assert current == []


def test_nothing_is_begun_on_a_device_that_is_not_there(cards, tmp_path):
    cards(0)
    with pytest.raises(EnvironmentProblem, match="no card"):
        list(run.events(None, tmp_path / "run", Machine(device="cuda")))
    with pytest.raises(EnvironmentProblem, match="no card"):
        testing.evaluate("nowhere", "digits", device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate", ".", "--data", "digits", "--device", "cuda"], 5, "PyTorch sees no card"),
        (["evaluate", ".", "--data", "digits", "--device", "tpu"], 2, "no device 'tpu'"),
        (["predict", ".", "x.jpg", "--device", "cuda", "--engine", "openvino"], 2, "--engine openvino computes on the"),
        (["train", "digits"], 5, "PyTorch sees no card"),
    ],
)
def test_the_command_says_so_in_one_line(cards, capsys, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    cards(0, **({"RESNETS_DEVICE": "cuda"} if arguments[0] == "train" else {}))
    assert main(arguments) == code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert words in said[0]


def test_doctor_tells_the_choice(cards):
    cards(0)
    assert examine()["device"] == "cpu"
    cards(0, RESNETS_DEVICE="cuda")
    facts = examine()
    assert (facts["ok"], facts["device"]) == (False, None)
    assert "PyTorch sees no card" in facts["verdict"]


def test_what_carries_tensors_between_processes(cards, monkeypatch):
    cards(0)
    assert distributed._backends() == "gloo"
    cards(2)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    assert distributed._backends() == "cpu:gloo,cuda:nccl"


def test_names_of_devices(monkeypatch):
    assert kind_of(torch.device("cpu")) == "cpu"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert kind_of(torch.device("cuda:1")) == "card 1"
