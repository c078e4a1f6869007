"""The command `check`: what it prints, its keys, its exit codes, and that it changes nothing."""

import io
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.cli.check import Check
from resnets.data import check
from resnets.data.images import read_image
from resnets.errors import DataError, UsageError

KEYS = {
    "data", "classes", "parts", "split", "notes", "pictures", "readable", "formats", "sizes", "beyond_4_3", "fit",
    "fit_reason", "findings", "seconds", "usable", "sheet",
}  # fmt: skip


def run(*arguments):
    return Check.parse(list(map(str, arguments))).run()


@pytest.fixture
def root(tmp_path):
    for seed in range(20):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(coarse).resize((90, 40)).save(out, "PNG")
        path = tmp_path / "photos" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(out.getvalue())
    return tmp_path / "photos"


def everything(root):
    return sorted((str(path), path.read_bytes() if path.is_file() else b"") for path in root.rglob("*"))


def test_summary(root, capsys):
    (root / "a" / "bad\x1b[31m.jpg").write_bytes(b"none")
    before = everything(root.parent)
    assert run(root) == 0
    said = capsys.readouterr().out
    assert everything(root.parent) == before
    assert "photos: 21 pictures, 20 readable, 2 classes" in said
    assert "recommended: --fit pad (100% of the pictures are longer than 4:3)" in said
    assert "unreadable: 1  (training and testing leave them out, and stop above 1 %)" in said
    assert "  a/bad\\x1b[31m.jpg: not JPEG, PNG, WebP, BMP or GIF: unknown" in said
    assert "\x1b" not in said
    last = said.splitlines()[-1]
    assert last == f"what the network will see: resnets check {root} --fit pad --sheet check-photos.png"


def test_strict_stops_at_the_first(root, capsys, monkeypatch):
    assert run(root, "--strict") == 0
    shown = capsys.readouterr().out
    for path in sorted(root.rglob("*.png"))[1::2]:
        path.write_bytes(b"none")
    seen, pictures = [], check.pictures
    monkeypatch.setattr(check, "pictures", lambda data: (seen.append(found) or found for found in pictures(data)))
    with pytest.raises(DataError, match=r"^\w/\d+\.png: not JPEG.*: unknown; without --strict all are read$") as caught:
        run(root, "--strict", "--sheet", root.parent / "x.png")
    assert caught.value.exit_code == 3
    assert [bool(found.bad) for found in seen] == [False] * (len(seen) - 1) + [True]
    assert "nothing is wrong" in shown
    assert (capsys.readouterr().out, (root.parent / "x.png").exists()) == ("", False)


def test_the_command_is_for_a_shell(root, capsys):
    place = root.rename(root.parent / "it's mine; $HOME")
    assert run(place) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("what the network will see: ")
    assert shlex.split(command)[:3] == ["resnets", "check", str(place)]


def test_json(root, capsys):
    (root / "b" / "\udcff.png").write_bytes((root / "a" / "0.png").read_bytes())
    assert run(root, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert set(value) == KEYS
    assert {finding["kind"] for finding in value["findings"]} == {"identical files", "conflicts"} | (
        {"leaks"} & {finding["kind"] for finding in value["findings"]}
    )
    for finding in value["findings"]:
        assert set(finding) == {"kind", "count", "pictures", "meaning", "items"}
        assert all(set(item) == {"pictures", "why"} for item in finding["items"])
    assert value["classes"] == {"a": 10, "b": 11}
    assert (value["usable"], value["sheet"]) == (True, None)


@pytest.mark.parametrize(("options", "side"), [((), 64), (("--size", "96", "--fit", "squash"), 96)])
def test_sheet(root, tmp_path, capsys, options, side):
    path = tmp_path / "seen.png"
    assert run(root, "--sheet", path, *options) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"what the network will see: {path}"
    assert read_image(path).size == (4 + 8 * (side + 4), 4 + 2 * (side + 20))


@pytest.mark.parametrize(
    ("sheet", "said"), [("photos/x.png", "never changed"), ("photos/a/../x.png", "never changed"), ("x.jpg", "PNG")]
)
def test_a_sheet_elsewhere(root, sheet, said):
    before = everything(root.parent)
    with pytest.raises(UsageError, match=said):
        run(root, "--sheet", root.parent / sheet)
    assert everything(root.parent) == before


def test_what_cannot_be_used(root, capsys):
    for path in (root / "b").iterdir():
        path.write_bytes(b"none")
    with pytest.raises(DataError, match="photos: fewer than two classes have pictures that can be read") as caught:
        run(root)
    assert caught.value.exit_code == 3
    assert "unreadable: 10" in capsys.readouterr().out
    with pytest.raises(DataError, match="no class folders with pictures"):
        run(root / "a")


def test_groups_and_orders(root, capsys):
    assert run(root, "--group-by", r"\d\.png", "--class-order", "natural", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert "10 groups" in value["split"]


def test_digits(capsys):
    assert run("digits") == 0
    assert "digits: 1797 pictures, 1797 readable, 10 classes" in capsys.readouterr().out


def test_torch_is_not_needed(root):
    import subprocess

    code = (
        "import sys; from resnets.cli.check import Check; "
        f"assert Check.parse([{str(root)!r}]).run() == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
