"""Every sentence that a run keeps is known in Chinese; those who write them are asked for them here."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from run_folders import keep_run

from resnets.data import datasets
from resnets.data.check import imbalance as imbalance_of
from resnets.data.datasets import Holdout, open_dataset, resplit
from resnets.families import network
from resnets.models import create_model, load_weights
from resnets.plan import plan
from resnets.record import keep_split
from resnets.report import sentences
from resnets.report.reading import read
from resnets.report.sentences import said
from resnets.start import imbalance, picture_sizes

# What stays as it is: fields of recipes, names of folders, files, classes and options.
NAMES = """
network size epochs fit train val test ImageNet fruit x y z a b c d labels csv txt jpg png JPEG json extra note far loop
n00000001 n00000002 recipe result balance loss sampling conv1 weight split resnets resume cherry tree
Expecting property name enclosed in double quotes line column char
"""


def plant(root, *names, size=(8, 8)):
    """Pictures of one colour, no two the same; other files hold nothing."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.new("L", size, number % 256).save(path)
        else:
            path.touch()
    return root


def many(*folders, count=6):
    return [f"{folder}/{i}.png" for folder in folders for i in range(count)]


def opened(root, **rule):
    found = open_dataset(str(root), Holdout(**rule))
    return [*found.notes, found.split]


def of_folders(root):
    """Class folders with whatever is passed over in them; parts under every rule; a split of before."""
    one = plant(root / "one", *many("a", "b"), "x.txt", "a/note.txt")
    (one / "c").mkdir()
    (one / "loop").symlink_to(one / "a")
    (one / "b/far.png").symlink_to(plant(root, "far.png") / "far.png")
    yield from opened(one, group_by=r"\d")
    yield from opened(one)
    whole = open_dataset(str(one))
    keep_split(root, whole.parts, "one")
    yield resplit(whole, root / "split.csv").split
    two = plant(root / "two", *many("train/a", "train/b", "val/b", "extra/a"), "train/a/note.txt", "val/b/x.txt")
    (two / "test").mkdir()
    (two / "far").symlink_to(root)
    yield from opened(two, group_by=r"\d")
    yield from opened(two, test=0.3)
    (two / "test").rmdir()
    (two / "val").rename(two / "test")
    yield from opened(two)
    yield from opened(plant(two, *many("val/a", "val/b")))


def of_lists(root):
    """A list in a folder and one beside it; ImageNet's flat validation pictures."""
    rows = "".join(f"{i}.png,{'ab'[i % 2]},{('train', 'test')[i > 5]}\n" for i in range(8))
    plant(root / "lists", *(f"{i}.png" for i in range(9)))
    (root / "lists/labels.csv").write_text("file,label,part\n" + rows)
    yield from opened(root / "lists")
    (root / "lists/labels.csv").rename(root / "lists/x.csv")
    yield from opened(root / "lists/x.csv")
    (root / "lists/x.csv").rename(root / "lists/train.csv")
    (root / "lists/test.csv").write_text("file\n8.png\n")
    yield from opened(root / "lists")
    flat = plant(root / "flat", *many("train/n00000001", "train/n00000002"), *(f"val/{n}.png" for n in "xyz"))
    (flat / "val.txt").write_text("x.png n00000001\ny.png n00000002\nfar.png n00000001\n")
    yield from opened(flat)


def of_named(monkeypatch):
    """What is published and held in memory."""
    yield open_dataset("digits").split
    part = (np.zeros((8, 2, 2, 1), np.uint8), np.arange(8) % 2)
    known = SimpleNamespace(name="fruit", classes=("a", "b"), train=part, test=part)
    monkeypatch.setattr(datasets, "read_cifar", lambda folder: known)
    for val in (None, 0.5):
        yield datasets.cifar(None, Holdout(val=val)).split


def of_pictures(root):
    """Sizes, why fields were chosen, and a rare class."""
    for name, size in (("small", (24, 24)), ("large", (160, 80))):
        folder = plant(root / name, *many("a", "b"), size=size)
        yield from plan(str(folder)).reasons
        yield from picture_sizes(open_dataset(str(folder)).train)
    plant(folder, *many("c"), size=(30, 30))
    yield from picture_sizes(open_dataset(str(folder)).train)
    yield from imbalance(open_dataset(str(plant(root / "rare", *many("a", count=90), *many("cherry tree 1", count=3)))))


def of_weights():
    base = replace(network("cifar_resnet8"), channels=3)
    tensors = create_model(base).state_dict()
    for given in (replace(base, classes=4), replace(base, channels=1), replace(base, channels=4)):
        yield from load_weights(create_model(given), tensors).notes


def of_damage(root):
    """Files of runs."""
    for name in ("recipe.json", "result.json"):
        keep_run(root / name)
        (root / name / name).write_text("{")
        yield read(root / name).reason


@pytest.fixture
def produced(tmp_path, monkeypatch):
    found = [*of_folders(tmp_path / "f"), *of_lists(tmp_path / "l"), *of_named(monkeypatch)]
    found += [*of_pictures(tmp_path / "p"), *of_weights(), *of_damage(tmp_path / "r")]
    return [re.sub(re.escape(str(tmp_path)) + r"/[flpr]", "", text) for text in found]


def rows(text):
    """The rows of the table that TEXT and the sentences in it fall on."""
    for row, (form, kinds, _) in zip(sentences.SENTENCES, sentences._rows(), strict=True):
        if found := form.fullmatch(text):
            inner = [hole for hole, kind in zip(found.groups(), kinds, strict=True) if kind == "t"]
            return [row[0], *(deeper for hole in inner for deeper in rows(hole))]
    return []


def test_every_sentence_and_every_row(produced):
    assert len(produced) > 30
    for text in produced:
        chinese = said(text, "zh")
        assert re.search("[\u4e00-\u9fff]", chinese), text
        assert set(re.findall(r"[A-Za-z][A-Za-z0-9]*", chinese)) <= set(NAMES.split()), chinese
        assert said(text, "en") == text
    fallen = {row for text in produced for row in rows(text)}
    assert fallen == {row[0] for row in sentences.SENTENCES}, "a row that nothing falls on"


def test_by_hand():
    told = {
        "train: 2 empty class folders: a, b": "训练部分：2 个类别文件夹是空的：a, b",
        "size: 64 pixels keep most of what 99.5 show": "size：64 像素足以保留 99.5 像素所显示的大部分内容",
        imbalance_of(["a {0}", "pear tree 3"], [0] * 11 + [1]): (
            "a {0} 有 11 张图片，pear tree 3 只有 1 张：请关注平衡准确率，并可尝试 --balance loss 或 --balance sampling"
        ),
        "folders train, test; 6 of 40 training images are the val part (seed 0)": (
            "按文件夹 train 和 test 划分；40 张训练图像中的 6 张作为验证部分（种子 0）"
        ),
        "a pear is odd": "a pear is odd",
        "": "",
    }
    assert {text: said(text, "zh") for text in told} == told


def test_the_holes_of_both_languages_agree():
    for english, chinese in sentences.SENTENCES:
        assert sorted(re.findall(r"\{(\d)", english)) == sorted(re.findall(r"\{(\d)\}", chinese)), english
        assert english.isascii()
        assert not re.search(r"[\u4e00-\u9fff] ?[,;:?!.] ?[\u4e00-\u9fff]", chinese), chinese
