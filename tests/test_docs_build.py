"""The documents: what they name exists, both languages say the same, the tutorial works, and the pages build."""

import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from resnets.cli.main import VERBS, main
from resnets.experiments.catalogue import EXPERIMENTS
from resnets.families import network

ROOT = Path(__file__).parent.parent
DOCS, PACKAGE = ROOT / "docs", ROOT / "src" / "resnets"
PAIRS = [(DOCS / f"{name}.md", DOCS / f"{name}.zh.md") for name in ("index", "paper", "tutorial")]
BOTH = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].stem)
MAPS = pytest.mark.parametrize("page", PAIRS[1], ids=lambda page: page.name)


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """Every command of a page that begins with `resnets`, split as a shell does it."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    inline = re.findall(r"`(resnets [^`]+)`", page.read_text())
    return [shlex.split(line, comments=True) for line in (*lines, *inline) if line.startswith("resnets ")]


@BOTH
def test_both_languages_hold_the_same_commands_code_and_tables(pair):
    english, chinese = (page.read_text() for page in pair)
    assert commands(pair[0]) == commands(pair[1])
    assert sorted(re.findall(r"`[^`\n]+`", english)) == sorted(re.findall(r"`[^`\n]+`", chinese))
    for mark in (r"^#+ ", r"^\|", r"^```"):
        assert len(re.findall(mark, english, re.MULTILINE)) == len(re.findall(mark, chinese, re.MULTILINE)), mark


@BOTH
def test_every_link_leads_to_a_file(pair):
    for page in pair:
        links = re.findall(r"\]\(([^)#:]+)\)|^\[`[^`]+`\]: (\S+)", page.read_text(), re.MULTILINE)
        assert links
        assert [link for link in map("".join, links) if not (DOCS / link).is_file()] == []


@MAPS
def test_the_map_of_the_papers_names_what_is_there(page):
    text = page.read_text()
    named = re.findall(r"\[`([\w/]+\.py)`\]: ((?:`\w+`(?:, )?)+)", text)
    assert len(named) > 30
    for file, names in named:
        code = (PACKAGE / file).read_text()
        assert [name for name in re.findall(r"\w+", names) if not re.search(rf"\b{name}\b", code)] == [], file
    defined = re.findall(r"^\[(`[\w/]+\.py`)\]:", text, re.MULTILINE)
    assert set(defined) == set(re.findall(r"\[(`[\w/]+\.py`)\]", text))
    (excerpt,) = blocks(page, "python")
    unit = (PACKAGE / "models" / "unit.py").read_text()
    assert [line for line in excerpt.splitlines() if line not in unit] == []


@MAPS
def test_the_map_of_the_papers_names_networks_and_fields_that_are_there(page):
    from resnets.evaluation.protocol import Protocol
    from resnets.recipe import Augmentation, Training
    from resnets.spec import Unit

    text = page.read_text()
    networks = re.findall(r"`((?:cifar_|pre)?(?:resnet|plain|highway|preresnet)\d+\w*)`", text)
    assert len(networks) > 20
    assert all(network(name).layers for name in networks)
    owners = {owner.__name__: owner for owner in (Protocol, Augmentation, Training, Unit)}
    fields = re.findall(r"`(Unit|Training|Augmentation|Protocol)\.(\w+)`", text)
    assert len(fields) > 10
    assert [(owner, name) for owner, name in fields if not hasattr(owners[owner], name)] == []


@MAPS
def test_the_map_of_the_papers_is_whole(page):
    """Every figure and table of he2015 and he2016, as a column of numbers."""
    first, second = page.read_text().split("\n## ")[1:3]
    for part, tables, figures in ((first, range(1, 7), range(1, 8)), (second, range(1, 6), range(1, 7))):
        rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("|")]
        found = " ".join(rows).replace("表 ", "table ").replace("图 ", "figure ")
        assert [n for n in tables if f"table {n}" not in found] == []
        assert [n for n in figures if f"figure {n}" not in found] == []


@pytest.mark.parametrize("page", [*PAIRS[0], *PAIRS[2], *PAIRS[1]], ids=lambda page: page.name)
def test_every_command_has_a_verb(page):
    assert [command for command in commands(page) if command[1] not in VERBS] == []


@MAPS
def test_the_map_of_the_papers_names_every_experiment(page):
    text = page.read_text()
    named = re.findall(r"`resnets reproduce ([\w-]+)[^`]*`(?:, `([\w-]+)`)?", text)
    assert {name for pair in named for name in pair if name} - {"NAME", "all"} == set(EXPERIMENTS)


def test_popular_misstatements_stand_nowhere():
    """Of the misstatements those that can be told by their words; docs/theory.md says of all what holds."""
    for page in (*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "README.zh-CN.md"):
        text = page.read_text()
        assert ("73,728" in text) <= ("69,632" in text), page.name
        if page.name != "theory.md":
            assert not re.search(r"curse of dimension|维数灾难|as well as highway", text), page.name


def serve(command):
    """The command starts a server, whose page answers."""
    pytest.importorskip("uvicorn")
    call = [sys.executable, "-m", *command, "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = next(line for line in process.stdout if "http://" in line)
            with urlopen(re.search(r"http://\S+", said)[0]) as page:
                assert b"<title>" in page.read()
        finally:
            process.terminate()


@pytest.mark.slow
def test_every_command_of_the_tutorial_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for folder, count in (("photos/cat", 20), ("photos/dog", 20), ("new", 2)):
        Path(folder).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (36, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"{folder}/{number}.png")
    for block in blocks(PAIRS[2][0], "bash"):
        for line in (line for line in block.splitlines() if line.startswith("resnets ")):
            command = shlex.split(line, comments=True)
            if command[1] == "serve":
                serve(command)
            else:
                short = ["--epochs", "1"] if command[1] == "train" else []
                assert main([*command[1:], *short]) == 0, command
    assert Path("sheet.png").is_file()
    assert len(Path("answers.csv").read_text().splitlines()) == 3
    (script,) = blocks(PAIRS[2][0], "python")
    Path("script.py").write_text(script)
    capsys.readouterr()
    runpy.run_path("script.py")
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"cat", "dog"}


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
    reason="sphinx, myst-parser and furo are not installed; pip install 'resnets[docs]'",
)
def test_the_pages_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", str(DOCS), str(tmp_path / "out")]
    done = subprocess.run([*command, "-d", str(tmp_path / "trees")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in DOCS.glob("*.md"):
        html = (tmp_path / "out" / f"{page.stem}.html").read_text()
        assert "<h1>" in html, page.name
    assert 'href="tutorial.zh.html"' in (tmp_path / "out" / "index.zh.html").read_text()
    assert len(list((tmp_path / "out" / "_downloads").rglob("unit.py"))) == 1
