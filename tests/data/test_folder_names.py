"""Names that nobody would choose (F-34), links (F-35) and what only looks like a file (F-31)."""

import csv
import io
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.data.batches import testing_batches as batches_of
from resnets.data.datasets import open_dataset
from resnets.data.folders import pictures_in
from resnets.data.preprocessing import Preprocessing
from resnets.errors import DataError
from resnets.evaluation.records import csv_text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
PLAIN = Preprocessing(2, 3, mean=(0.0,) * 3, std=(1 / 255,) * 3)
NAMES = [
    *(f"{stem}.png".encode() for stem in ("été", "日本", "emoji😀", "עברית", "a b", " lead", "-rf", "--help", "a\nb")),
    *(f"{stem}.png".encode() for stem in ("a\tb", "a\rb", "a\x1b[31mb", "a\x7fb", "a\u202eb", "a\u2028b", "\u200b")),
    *(f"{stem}.png".encode() for stem in ("=1+1", "+1", "@x", "a'b", 'a"b', "a,b", "a;b", "<script>", "%41", "a\\nb")),
    *(f"{stem}.png".encode() for stem in ("A", "a", "10", "9", "~", "$HOME", "*", "a.b", "nul", "x" * 251, "\0"[1:])),
    *(unicodedata.normalize(form, "Å").encode() + b".png" for form in ("NFC", "NFD")),
    b"\xff.png",
    b"a\x80\xfe.PnG",
    b"\xed\xa0\x80.png",
]
NAMES = [name for name in NAMES if name != b".png"]


def picture(path: bytes | Path, value: int) -> None:
    os.makedirs(os.path.dirname(os.fsencode(path)), exist_ok=True)
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (value, 255 - value, 7)).save(file, "PNG")
    with open(path, "wb") as target:
        target.write(file.getvalue())


@pytest.fixture
def root(tmp_path):
    """Two classes of three pictures each; class a has the values 1 to 3, class b 11 to 13."""
    for label, name in enumerate("ab"):
        for i in range(1, 4):
            picture(tmp_path / f"data/{name}/{i}.png", 10 * label + i)
    return tmp_path / "data"


def listed(root):
    whole = open_dataset(str(root)).whole
    return [whole.name(i) for i in range(len(whole))]


def test_forty_names_map_one_to_one(tmp_path):
    assert len(set(NAMES)) == len(NAMES) >= 40
    home = os.fsencode(tmp_path)
    for folder in (b"plain", b"\xffclass\n"):
        for value, name in enumerate(NAMES):
            picture(b"/".join((home, folder, name)), value)
    dataset = open_dataset(str(tmp_path))
    assert list(map(os.fsencode, dataset.classes)) == [b"plain", b"\xffclass\n"]
    names = [os.fsencode(dataset.whole.name(i)) for i in range(len(dataset.whole))]
    assert names == [f + b"/" + n for f in (b"plain", b"\xffclass\n") for n in sorted(NAMES)]
    assert sorted(name for part in dataset.parts.values() for name in map(os.fsencode, part.names)) == sorted(names)
    seen = [
        (names[i].split(b"/")[1], round(float(image[0, 0, 0])), int(label))
        for batch in batches_of(dataset.whole, PLAIN, 7)
        for i, image, label in zip(batch.indices, batch.images, batch.labels, strict=True)
    ]
    assert seen == [(name, NAMES.index(name), label) for label in (0, 1) for name in sorted(NAMES)]


def test_names_stay_apart_in_csv(tmp_path):
    for value, name in enumerate(NAMES):
        picture(os.fsencode(tmp_path) + b"/" + name, value)
    found = pictures_in(tmp_path)
    assert list(map(os.fsencode, found)) == sorted(NAMES)
    text = csv_text(["file"], [[name] for name in found])
    assert text.isascii() or all(c.isprintable() or c == "\n" for c in text)
    assert len(list(csv.reader(io.StringIO(text)))) == len(NAMES) + 1


def test_case_twins_are_two_classes_and_two_files(root):
    picture(root / "A" / "x.png", 1)
    picture(root / "A" / "X.png", 2)
    dataset = open_dataset(str(root))
    assert dataset.classes == ("A", "a", "b")
    assert listed(root)[:2] == ["A/X.png", "A/x.png"]


def loop(root):
    (root / "a" / "again").symlink_to(root / "a")
    (root / "b" / "up").symlink_to("../..")
    (root / "b" / "top").symlink_to("..")


def aliases(root):
    (root / "c").symlink_to("a")
    (root / "b" / "others").symlink_to("../a")


def outside(root):
    picture(root.parent / "elsewhere" / "secret.png", 99)
    (root / "a" / "out.png").symlink_to("../../elsewhere/secret.png")
    (root / "b" / "out").symlink_to(root.parent / "elsewhere")
    (root / "c").symlink_to("../elsewhere")
    (root / "d.png").symlink_to("../elsewhere/secret.png")


def itself(root):
    (root / "a" / "self.png").symlink_to("self.png")
    (root / "b" / "nothing.png").symlink_to("gone.png")


LINKS = {
    "loops": (loop, [], ["1 links out of the folder ignored: b/up", "2 links to folders ignored: a/again, b/top"]),
    "second names of a folder": (aliases, [], ["2 links to folders ignored: b/others, c"]),
    "out of the root": (
        outside,
        [],
        ["1 files beside the class folders ignored: d.png", "3 links out of the folder ignored: a/out.png, b/out, c"],
    ),
    "to itself and to nothing": (itself, ["a/self.png", "b/nothing.png"], []),
    "to a file inside": (lambda root: (root / "b" / "link.png").symlink_to("../a/1.png"), ["b/link.png"], []),
    "hard links": (lambda root: os.link(root / "a" / "1.png", root / "a" / "twin.png"), ["a/twin.png"], []),
}


@pytest.mark.timeout(5)
@pytest.mark.parametrize(("make", "more", "notes"), LINKS.values(), ids=list(LINKS))
def test_links(root, make, more, notes):
    usual = listed(root)
    make(root)
    dataset = open_dataset(str(root))
    assert listed(root) == sorted([*usual, *more])
    assert list(dataset.notes) == notes
    assert dataset.classes == ("a", "b")
    batch = next(iter(batches_of(dataset.whole, PLAIN)))
    values = {
        dataset.whole.name(i): round(float(image[0, 0, 0]))
        for i, image in zip(batch.indices, batch.images, strict=True)
    }
    assert 99 not in values.values()
    assert [name for name, _ in batch.bad] == [name for name in more if "self" in name or "nothing" in name]
    assert values.get("b/link.png", 1) == 1


def test_a_root_that_is_a_link_is_followed(root):
    (root.parent / "way").symlink_to(root)
    assert listed(root.parent / "way") == listed(root)


def test_the_only_classes_are_links_out(tmp_path):
    picture(tmp_path / "far" / "x.png", 1)
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / name).symlink_to(tmp_path / "far")
    with pytest.raises(DataError, match=r"no class folders with pictures; .*2 links out of the folder ignored: a, b"):
        open_dataset(str(tmp_path / "data"))


@pytest.mark.timeout(5)
def test_what_is_no_file_is_named_and_never_waited_for(root):
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "folder.png").mkdir()
    picture(root / "a" / "folder.png" / "inner.png", 4)
    (root / "b" / "empty.png").touch()
    (root / "b" / "text.png").write_text("no picture")
    dataset = open_dataset(str(root))
    assert listed(root) == [
        *("a/1.png", "a/2.png", "a/3.png", "a/folder.png/inner.png", "a/pipe.png"),
        *("b/1.png", "b/2.png", "b/3.png", "b/empty.png", "b/text.png"),
    ]
    (batch,) = batches_of(dataset.whole, PLAIN)
    reasons = dict(batch.bad)
    assert sorted(reasons) == ["a/pipe.png", "b/empty.png", "b/text.png"]
    assert "pipe" in reasons["a/pipe.png"]
    assert np.array_equal(batch.labels, [0, 0, 0, 0, 1, 1, 1])


def test_messages_hold_no_escapes(tmp_path):
    bad = "evil\x1b[31m\nINFO forged"
    for folder in (tmp_path / bad, tmp_path / "two" / bad):
        picture(folder / "a" / "x.png", 1)
    picture(tmp_path / "two" / "ok" / "x.png", 1)
    picture(tmp_path / "two" / "also" / f"{bad}.txt", 1)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / bad))
    said = [str(caught.value), *open_dataset(str(tmp_path / "two")).notes]
    assert len(said) == 3
    assert all(text.isprintable() and "evil" in text for text in said[:1] + said[2:])
