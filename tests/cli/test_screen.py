"""What a run looks like on a terminal and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from resnets import api
from resnets.cli import screen
from resnets.cli.main import main
from resnets.cli.screen import Screen, duration


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


def test_durations():
    assert [duration(s) for s in (7.6, 185, 7800)] == ["8 s", "3 min 05 s", "2 h 10 min"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_reaches_98_percent(tmp_path, capsys, seed):
    """`make demo` runs `resnets train digits`: at least 98 % on the test part, whatever the seed."""
    import json

    assert main(["train", "digits", "--seed", str(seed), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_error"] <= 2.0
