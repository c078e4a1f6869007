"""What `check` finds in a folder of pictures with every fault, what it says of good ones, and what it costs."""

import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from image_corpus import odd_modes, save
from PIL import Image
from trees import tree_hash

from resnets.data.check import KINDS, check, fit_for, imbalance, pictures, report
from resnets.data.contact import contact_sheet
from resnets.data.datasets import Dataset, Holdout, open_dataset
from resnets.data.images import decode
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays


def scene(seed, size=(64, 48)):
    """A picture of large shapes, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write(path, picture, kind="PNG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture if isinstance(picture, bytes) else save(picture, kind, **options))


@pytest.fixture
def root(tmp_path):
    """Good pictures of classes a and b, 12 each."""
    for seed in range(24):
        write(tmp_path / "data" / "ab"[seed % 2] / f"{seed:02}.png", scene(seed))
    return tmp_path / "data"


def found(report):
    return {f.kind: [(tuple(item["pictures"]), item["why"]) for item in f.items] for f in report.findings}


def test_good_pictures(root):
    before = tree_hash(root)
    report = check(str(root))
    assert tree_hash(root) == before
    assert report.findings == ()
    assert (report.data, report.pictures, report.readable, report.usable) == ("data", 24, 24, True)
    assert report.classes == {"a": 12, "b": 12}
    assert report.parts == {"train": 16, "val": 4, "test": 4}
    assert report.formats == {"PNG": 24}
    assert report.sizes == {
        "width": {"min": 64, "median": 64.0, "max": 64},
        "height": {"min": 48, "median": 48.0, "max": 48},
    }
    assert (report.fit, report.beyond_4_3) == ("crop", 0.0)  # 64 x 48 is 4:3, not beyond


def test_every_fault_of_single_pictures(root):
    whole = save(scene(90), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    write(root / "a/empty.jpg", b"")
    write(root / "a/text.jpg", b"hello")
    write(root / "a/cut.jpg", whole[: len(whole) // 2])
    write(root / "a/named.png", whole)
    write(root / "b/turned.jpg", scene(91), "JPEG", exif=exif)
    write(root / "b/small.png", scene(92, (40, 31)))
    write(root / "b/long.png", scene(93, (200, 49)))
    write(root / "b/exactly.png", scene(94, (196, 49)))
    report = check(str(root))
    assert found(report) == {
        "unreadable": [
            (("a/empty.jpg",), "empty file"),
            (("a/text.jpg",), "not JPEG, PNG, WebP, BMP or GIF: unknown"),
        ],
        "truncated": [(("a/cut.jpg",), "truncated")],
        "misnamed": [(("a/named.png",), "is JPEG")],
        "rotated": [(("b/turned.jpg",), "")],
        "tiny": [(("b/small.png",), "40 x 31")],
        "long": [(("b/long.png",), "200 x 49")],
    }
    assert (report.pictures, report.readable) == (32, 29)
    assert report.classes == {"a": 13, "b": 16}
    assert report.sizes["height"]["max"] == 64  # of the turned one


ODD = {
    "PNG 1-bit": ["1-bit"], "PNG 2-bit, transparent": ["transparent"], "PNG 16-bit gray": ["16-bit"],
    "PNG 16-bit gray, transparent": ["16-bit", "transparent"], "PNG 16-bit colour": ["16-bit"],
    "PNG 16-bit gray with alpha": ["16-bit", "transparent"], "PNG gray with alpha": ["transparent"],
    "PNG palette with alpha": ["palette", "transparent"], "PNG colour with alpha": ["transparent"],
    "PNG animation": ["animated"], "JPEG gray": [], "JPEG CMYK": ["CMYK"], "WEBP with alpha": ["transparent"],
    "WEBP animation": ["animated"], "GIF gray": [], "GIF palette": ["palette"], "BMP 1-bit": ["1-bit"],
    "GIF transparent animation": ["palette", "transparent", "animated"], "JPEG with a profile": [],
}  # fmt: skip


def test_odd_modes(root):
    corpus = odd_modes()
    for name in ODD:
        write(root / "a" / f"{name}.{name.split()[0].lower()}", corpus[name][0])
    report = check(str(root))
    told = {name: [] for name in ODD}
    for kind, items in found(report).items():
        for (picture, *_), _ in items:
            if kind not in ("tiny", "identical pixels", "near duplicates", "leaks"):
                told[picture.split("/")[1].rsplit(".", 1)[0]].append(kind)
    assert told == {name: sorted(kinds, key=list(KINDS).index) for name, kinds in ODD.items()}
    assert {f.kind: f.meaning for f in report.findings}["16-bit"] == "divided by 257"


def test_copies_leaks_and_conflicts(tmp_path):
    root = tmp_path / "data"
    for seed in range(16):
        write(root / ("train", "test")[seed % 4 == 3] / "ab"[seed % 2] / f"{seed:02}.png", scene(seed))
    write(root / "train/a/again.png", scene(0))
    write(root / "test/a/pixels.bmp", scene(2), "BMP")
    write(root / "train/b/near.jpg", scene(4), "JPEG", quality=50)
    write(root / "test/b/near.jpg", scene(5), "JPEG", quality=50)
    write(root / "test/a/plain.png", Image.new("RGB", (64, 64), "gray"))
    write(root / "train/b/plain2.png", Image.new("RGB", (64, 64), "white"))
    report = check(str(root), Holdout(val=0.0))
    assert found(report) == {
        "identical files": [(("train/a/00.png", "train/a/again.png"), "")],
        "identical pixels": [(("train/a/02.png", "test/a/pixels.bmp"), "")],
        "near duplicates": [
            (("train/a/04.png", "train/b/near.jpg"), ""),
            (("train/b/05.png", "test/b/near.jpg"), ""),
        ],
        "leaks": [
            (("train/b/05.png (train)", "test/b/near.jpg (test)"), "near duplicates"),
            (("train/a/02.png (train)", "test/a/pixels.bmp (test)"), "identical pixels"),
        ],
        "conflicts": [(("train/a/04.png", "train/b/near.jpg"), "near duplicates")],
    }
    assert {f.kind: (f.count, f.pictures) for f in report.findings}["near duplicates"] == (2, 4)


def test_a_leak_is_told_once(tmp_path):
    for seed in range(8):
        write(tmp_path / "train" / "ab"[seed % 2] / f"{seed}.png", scene(seed))
    write(tmp_path / "test/a/copy.png", scene(0))
    write(tmp_path / "test/a/near.jpg", scene(0), "JPEG", quality=50)
    report = check(str(tmp_path), Holdout(val=0.0))
    assert found(report) == {
        "identical files": [(("train/a/0.png", "test/a/copy.png"), "")],
        "near duplicates": [(("train/a/0.png", "test/a/copy.png", "test/a/near.jpg"), "")],
        "leaks": [
            (("train/a/0.png (train)", "test/a/copy.png (test)", "test/a/near.jpg (test)"), "near duplicates"),
        ],
    }


def test_groups_in_several_parts(tmp_path):
    for seed, part in enumerate(["train"] * 8 + ["test"] * 4):
        write(tmp_path / part / "ab"[seed % 2] / f"p{seed // 3}_{seed}.png", scene(seed))
    report = check(str(tmp_path), Holdout(val=0.0, group_by=r"p\d+"))
    assert found(report)["group leaks"] == [(("p2",), "in test, train")]


def test_imbalance_and_empty_classes(root):
    for seed in range(100, 210):
        write(root / "a" / f"{seed}.png", scene(seed, (40, 40)))
    for i in range(3):
        write(root / "c" / f"{i}.jpg", b"none")
    (root / "d").mkdir()
    report = check(str(root))
    assert report.classes == {"a": 122, "b": 12, "c": 0}
    assert found(report)["empty classes"] == [(("c",), "")]
    assert found(report)["imbalance"] == [((), imbalance("abc", [0] * 122 + [1] * 12))]
    assert any("empty class folders: d" in note for note in report.notes)


@pytest.mark.parametrize(
    ("sizes", "rule"),
    [
        ([(4, 3)] * 10, "crop"),
        ([(41, 30)] * 2 + [(1, 1)] * 6, "crop"),  # a quarter is not more than a quarter
        ([(30, 41)] * 3 + [(1, 1)] * 6, "pad"),
        ([], "crop"),
    ],
)
def test_the_rule_for_fit(sizes, rule):
    assert fit_for(sizes)[0] == rule


def test_what_cannot_be_used(root):
    for i in range(12):
        os.truncate(root / "b" / f"{2 * i + 1:02}.png", 50)
    report = check(str(root))
    assert not report.usable
    assert report.classes == {"a": 12, "b": 0}


@pytest.mark.parametrize("name", ["digits", "synthetic-40"])
def test_data_in_memory(name):
    report = check(name)
    dataset = open_dataset(name)
    assert report.pictures == report.readable == sum(map(len, dataset.parts.values()))
    assert report.classes == dict(Counter(dataset.classes[label] for label in dataset.whole.labels))
    assert set(found(report)) <= {"tiny"}


def test_a_list_and_hostile_names(root):
    odd = ["=1+1.png", "a\x1b[31mb.png", "a\nb.png", "\udcff.png", "<script>.png", "-rf.png", "é.png"]
    for seed, name in enumerate(odd):
        write(root / "a" / name, scene(300 + seed))
        write(root / "b\x1b[1m" / name, b"none")
    report = check(str(root))
    assert report.pictures == 38
    assert {item["pictures"][0] for f in report.findings if f.kind == "unreadable" for item in f.items} == {
        f"b\x1b[1m/{name}" for name in odd
    }
    lines = [f"a/{seed:02}.png,x" for seed in range(0, 24, 2)] + [f"b/{seed:02}.png,y" for seed in range(1, 24, 2)]
    (root / "list.csv").write_text("file,label\n" + "\n".join(lines))
    report = check(str(root / "list.csv"))
    assert (report.data, report.pictures, report.classes) == ("list", 24, {"x": 12, "y": 12})


class Noise(Arrays):
    """As many different pictures of 230 kB as there are labels, made when asked for."""

    def picture(self, index):
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (240, 320, 3), dtype=np.uint8))


def test_memory_hardly_grows_with_the_pictures():
    def peak(count):
        dataset = Dataset("many", ("a", "b"), Noise(np.zeros(0), np.arange(count) % 2), None, None, "")
        tracemalloc.start()
        report(dataset, pictures(dataset))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(4)
    assert peak(240) - peak(40) < 200 * 1000


def sheet_of(dataset, preprocessing):
    return np.asarray(decode(contact_sheet(dataset, preprocessing)))


def test_the_sheet_shows_what_the_network_sees(root):
    dataset = open_dataset(str(root), Holdout(val=0.0, test=0.0))
    for fit in ("crop", "pad", "squash"):
        seen = Preprocessing(80, fit=fit)
        sheet = sheet_of(dataset, seen)
        assert sheet.shape == (4 + 2 * (80 + 4 + 16), 4 + 8 * 84, 3)
        cells = [sheet[4 + 16 + 100 * row :, 4 + 84 * column :][:80, :80] for row in range(2) for column in range(8)]
        views = {seen.view(dataset.train.picture(i)).tobytes(): divmod(i, 12) for i in range(24)}
        assert [views[cell.tobytes()] for cell in cells] == [
            (label, i)
            for label in (0, 1)
            for i in (0, 4, 8, 1, 5, 9, 2, 6)  # spread over the 12 of a class
        ]
        assert (sheet[4:20, 4:60] < 128).any()  # the label


def test_a_sheet_of_anything(tmp_path):
    """Many classes, few pictures, unreadable ones, odd names, small, gray and multi-channel ones."""
    odd = ["日本", "a" * 400, "x\x1b\n", "\udcff", "é", "<b>", *(f"c{n:02}" for n in range(20))]
    names = [name[:200] for name in odd]
    for seed, name in enumerate(names):
        write(tmp_path / name / "1.png", scene(seed))
        write(tmp_path / name / "2.png", b"none")
    assert sheet_of(open_dataset(str(tmp_path)), Preprocessing(32)).shape[0] == 4 + 8 * (64 + 4 + 16)
    gray = Preprocessing(8, 1, crop_pct=1.0, mean=(0.5,), std=(1.0,))
    assert sheet_of(open_dataset("digits"), gray).shape[1] == 4 + 8 * 68
    five = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 5), dtype=np.uint8)

    class Channels(Arrays):
        def picture(self, index):
            return self.images[index]

    source = Channels(five, np.arange(4) % 2)
    seen = Preprocessing(64, 5, mean=(0.5,) * 5, std=(1.0,) * 5)
    assert sheet_of(Dataset("five", ("a", "b"), source, None, None, ""), seen).shape[0] == 4 + 2 * 84
