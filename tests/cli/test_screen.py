"""What a run looks like on a terminal and elsewhere."""

import io
import re
import shlex

import pytest
from rich.console import Console

from resnets import api
from resnets.cli import screen
from resnets.cli.main import main
from resnets.cli.screen import Screen
from resnets.record import Result
from resnets.report.tables import duration


def shown(monkeypatch, tmp_path, terminal):
    """Everything that a short run prints."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=110, markup=False, highlight=False)
    monkeypatch.setattr(screen, "console", lambda to_stderr: console)
    recipe = api.plan("digits", network="cifar_resnet8", epochs=2)
    with Screen() as view:
        for event in api.followed(recipe, tmp_path / "run"):
            view.show(event)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_a_live_table_on_a_terminal(monkeypatch, tmp_path):
    text = shown(monkeypatch, tmp_path, terminal=True)
    assert re.search(r"epoch +loss +train error +val error +images/s +left", text)
    assert re.search(r"loss \d\.\d{3} +error \d+\.\d\d % +\d+ images/s +\d+ s left", text)
    assert re.search(r"measured +\d+ s more, at \d+ images/s over 20 updates", text)


def test_one_line_per_epoch_elsewhere(monkeypatch, tmp_path):
    text = shown(monkeypatch, tmp_path, terminal=False)
    lines = text.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    for name in ("data", "images", "split", "input", "network", "recipe", "training", "run", "expected"):
        assert sum(line.startswith(f"{name:<9}") for line in lines) == 1, name
    assert "train 1259 · val 179 · test 359" in text
    assert re.search(r"test accuracy \d+\.\d\d % .*359 images that chose nothing", text)
    assert f"resnets predict {tmp_path / 'run'}" in text
    page = (tmp_path / "run/report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", page)


def test_the_commands_are_for_a_shell(capsys):
    run = "runs/it's mine; \x1b$HOME"
    result = Result(
        run=run, network="cifar_resnet8", data="digits", recipe="quick", seed=0, updates=1, epochs=1, model="last",
        val_error=None, test_error=None, test_images=0, test_mistakes=None, worst_class=None, bad_files=1, seconds=1.0,
        images_per_second=1.0,
    )  # fmt: skip
    Screen().show(result)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("  resnets ")]
    assert [words[:3] for words in commands] == [
        ["resnets", verb, run.replace("\x1b", "\\x1b")] for verb in ("predict", "serve", "evaluate", "describe")
    ]


def test_durations():
    assert [duration(s) for s in (-1, 7.6, 59.6, 185, 3599.6, 7800)] == [
        "0 s", "8 s", "1 min 00 s", "3 min 05 s", "1 h 00 min", "2 h 10 min",
    ]  # fmt: skip
    assert [duration(s, "zh") for s in (7.6, 185, 7800)] == ["8 秒", "3 分 05 秒", "2 小时 10 分"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_reaches_98_percent(tmp_path, capsys, seed):
    """`make demo` runs `resnets train digits`: at least 98 % on the test part, whatever the seed."""
    import json

    assert main(["train", "digits", "--seed", str(seed), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_error"] <= 2.0
