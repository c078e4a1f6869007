"""The command as a person meets it: names, options, errors, exit codes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnets.cli.main import VERBS, main
from resnets.cli.train import Train
from resnets.recipes import RECIPES

NOTHING_HEAVY = (
    "import sys; from resnets.cli.main import main; main({args}); print([m for m in {heavy} if m in sys.modules])"
)


def one_line(err, *words):
    """One line of the form that users see, which holds every word."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("resnets: ")
    assert "Traceback" not in err
    for word in words:
        assert str(word) in lines[0], (word, lines[0])


@pytest.mark.parametrize("arguments", [["--help"], ["list", "networks"], ["list", "recipes", "--json"]])
def test_looking_imports_nothing_heavy(arguments):
    heavy = ["torch", "torchvision", "numpy", "sklearn", "matplotlib"]
    code = NOTHING_HEAVY.format(args=arguments, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_help_names_every_verb(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(f"  {verb}" in out for verb in VERBS)
    assert call()[0] == 2
    assert call("--version")[1].startswith("resnets 0.")


def test_help_is_the_golden_text(call):
    """Regenerate with: resnets --help > tests/golden/help.txt"""
    assert call("--help")[1] == (Path(__file__).parent.parent / "golden/help.txt").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(call, verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert f"resnets {verb}" in out
    assert "examples:" in out


def test_train_has_at_most_24_options(call):
    options = [field.name for field in dataclasses.fields(Train) if field.name != "data"]
    assert len(options) <= 24
    _, out, _ = call("train", "digits", "--help")
    assert all(f"--{name.replace('_', '-')}" in out for name in options)
    assert "(default: 0.2)" in out.replace("\n", " "), "the defaults are those of the recipe for digits"


def test_python_m_resnets():
    done = subprocess.run([sys.executable, "-m", "resnets", "lsit"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "resnets: unknown verb 'lsit'; nearest: list\n"


def test_list_as_json(call):
    code, out, _ = call("list", "networks", "--json")
    names = json.loads(out)["networks"]
    assert code == 0
    assert {"resnet18", "resnet50_v1", "plain34", "preresnet200", "vgg19_bn", "cifar_resnet1202"} <= set(names)
    assert "digits" in json.loads(call("list", "datasets", "--json")[1])["datasets"]
    assert json.loads(call("list", "recipes", "--json")[1])["recipes"] == list(RECIPES)


def test_describe(call):
    code, out, _ = call("describe", "resnet50", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["network"], facts["layers"]) == ("resnet50", 50)
    assert (facts["parameters"], facts["multiply_adds"]) == (25557032, 4089184256)
    assert facts["activations"] > 0
    assert len(facts["stages"]) == 4
    text = call("describe", "cifar_preresnet164")[1]
    assert "1,703,258" in text
    assert "bn - relu - 1×1" in text
    assert json.loads(call("describe", "cifar_resnet20", "--classes", "100", "--json")[1])["parameters"] == 275572


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["describe", "resnet51"], 2, ["resnet51", "resnet50"]),
        (["describe", "cifar_resnet21"], 2, ["6n+2", "20", "26"]),
        (["list", "nets"], 2, ["nets", "networks"]),
        (["train", "digts"], 2, ["digts", "digits"]),
        (["train", "no/such/folder"], 3, ["no/such/folder", "does not exist"]),
        (["train", "digits", "--recipe", "quik"], 2, ["quik", "quick"]),
        (["train", "digits", "--network", "resnet"], 2, ["nearest", "resnet"]),
        (["train", "digits", "--seeds", "0"], 2, ["--seeds is 0"]),
        (["train", "digits", "--class-order", "natural"], 2, ["order of classes"]),
        (["analyze", "rl", "digits"], 2, ["rl", "lr"]),
        (["analyze", "lr", "digits", "--updates", "1"], 2, ["--updates"]),
        (["check", "digts"], 2, ["digts", "digits"]),
        (["report", "nowhere"], 2, ["nowhere"]),
        (["train", "digits", "--recipe", "missing.json"], 2, ["missing.json"]),
        (["train", "digits", "--weights", "missing.pth"], 4, ["missing.pth"]),
        (["train", "digits", "--batch-size", "0"], 2, ["batch_size is 0", "at least 1"]),
        (["train", "digits", "--epochs", "0"], 2, ["--epochs"]),
        (["train", "digits", "--lr", "-1"], 2, ["lr"]),
        (["train", "digits", "--val", "1.5"], 2, ["val"]),
        (["train", "photos", "--download"], 2, ["photos"]),
        (["resume", "nowhere"], 2, ["nowhere"]),
        (["resume", "runs/latest"], 2, ["runs", "resnets train"]),
        (["evaluate", "nowhere", "--data", "digits"], 2, ["nowhere"]),
        (["evaluate", "--data", "digits"], 2, ["MODEL", "--weights"]),
        (["evaluate", "--network", "cifar_resnet20", "--data", "digits"], 2, ["--weights"]),
        (["evaluate", ".", "--data", "digits", "--protocol", "11-crop"], 2, ["11-crop", "1-crop"]),
        (["evaluate", ".", "--data", "digits"], 4, ["config.json"]),
        (["evaluate", "."], 2, ["--data"]),
        (["predict", "."], 2, ["no pictures"]),
        (["predict", ".", "x.jpg", "--top", "0"], 2, ["--top"]),
    ],
)
def test_wrong_input_is_one_line(call, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    got, _, err = call(*arguments)
    assert got == code, err
    one_line(err, *words)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in (".lock",)] == []


def test_debug_shows_where(call):
    with pytest.raises(Exception, match="resnet51"):
        main(["describe", "resnet51", "--debug"])


def test_unknown_options_end_with_usage(call):
    assert call("train", "digits", "--epoch", "3")[0] == 2
    assert call("describe")[0] == 2
    assert call("train", "digits", "--epochs", "many")[0] == 2


def test_closed_output_and_c_locale(tmp_path):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment.pop("HOME", None)
    line = f"{sys.executable} -m resnets list networks --json | head -c 10"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    plain = subprocess.run(
        [sys.executable, "-m", "resnets", "describe", "cifar_resnet20"],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr
