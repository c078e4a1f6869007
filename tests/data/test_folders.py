"""Folders of class folders: parts and their other names, splits, hostile names, links, and what is passed over."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trees import many, plant, tree_hash

from resnets.data import folders
from resnets.data.datasets import Holdout, open_dataset
from resnets.data.folders import PARTS
from resnets.data.sources import Files
from resnets.data.splits import hold_out
from resnets.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def untouched(tmp_path, request):
    """Whatever a test opens stays as it is."""
    opened = []

    def look(rule=None, root=tmp_path):
        before = tree_hash(tmp_path)
        try:
            return open_dataset(str(root), rule)
        finally:
            opened.append(tree_hash(tmp_path) == before)

    request.node.look = look
    yield
    assert all(opened)


@pytest.fixture
def look(request):
    return request.node.look


def named(part):
    return {part.name(i): int(part.labels[i]) for i in range(len(part))}


def refused(look, *words):
    with pytest.raises(DataError) as caught:
        look()
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_class_folders_without_parts_are_split(tmp_path, look):
    dataset = look(None, plant(tmp_path, *many("cat", "dog"), *many("ant", count=7)))
    assert dataset.classes == ("ant", "cat", "dog")
    assert dataset.name == tmp_path.name
    counts = {part: np.bincount(source.labels, minlength=3).tolist() for part, source in dataset.parts.items()}
    assert counts == {"train": [5, 14, 14], "val": [1, 3, 3], "test": [1, 3, 3]}
    everything = [name for part in dataset.parts.values() for name in named(part)]
    assert sorted(everything) == sorted(named(dataset.whole))
    assert len(everything) == 47
    assert all(name.split("/")[0] == dataset.classes[label] for name, label in named(dataset.whole).items())


@pytest.mark.parametrize("val", PARTS["val"])
@pytest.mark.parametrize(("train", "test"), [("train", "testing"), ("training", "test"), ("Train", "TEST")])
def test_every_other_name_of_a_part(tmp_path, look, train, val, test):
    plant(tmp_path, *many(f"{train}/a", f"{train}/b", count=4), f"{val}/b/x.png", f"{test}/a/y.gif", f"{test}/a/z.bmp")
    dataset = look()
    assert {part: named(source) for part, source in dataset.parts.items()} == {
        "train": {f"{c}/{i}.jpg": label for label, c in enumerate("ab") for i in range(4)},
        "val": {"b/x.png": 1},
        "test": {"a/y.gif": 0, "a/z.bmp": 0},
    }
    assert dataset.whole is None
    assert dataset.notes == ("val: lacks 1 of 2 classes: a", "test: lacks 1 of 2 classes: b")


@pytest.mark.parametrize("twins", [("train", "training"), ("val", "valid"), ("dev", "validation"), ("test", "testing")])
def test_two_names_of_one_part_are_an_error(tmp_path, look, twins):
    plant(tmp_path, *many("train/a", "train/b", *(f"{twin}/a" for twin in twins), count=1))
    refused(look, *twins)


def test_missing_parts_are_made_from_train(tmp_path, look):
    plant(tmp_path, *many("train/a", "train/b"), *many("test/a", "test/b", count=2))
    dataset = look()
    assert {part: len(source) for part, source in dataset.parts.items()} == {"train": 34, "val": 6, "test": 4}
    assert "6 of 40 training images are the val part" in dataset.split
    assert len(look(Holdout(val=0.0)).train) == 40
    (tmp_path / "test").rename(tmp_path / "val")
    dataset = look()
    assert {part: len(source) for part, source in dataset.parts.items()} == {"train": 40, "val": 4}
    assert "without a test part" in dataset.split
    assert {part: len(s) for part, s in look(Holdout(test=0.1)).parts.items()} == {"train": 36, "val": 4, "test": 4}


def test_folders_that_are_no_part_are_noted(tmp_path, look):
    plant(tmp_path, *many("train/a", "train/b", "val/a", "val/b", "holdout/a", count=3), *many("test", count=5))
    assert look().notes == (
        "1 folders beside train ignored: holdout",
        "test has no class folders with pictures and is ignored",
    )


def test_a_class_may_be_called_train(tmp_path, look):
    assert look(None, plant(tmp_path, *many("train", "bus", "test"))).classes == ("bus", "test", "train")


def test_parts_without_train_are_not_classes(tmp_path, look):
    plant(tmp_path, *many("val/a", "val/b", "test/a", "test/b"))
    refused(look, "no train folder", "val", "test")


def test_the_split_depends_on_names_and_seed_alone(tmp_path, look, monkeypatch):
    names = many("a", "b", count=30)
    first = look(None, plant(tmp_path / "one", *names))
    split = {part: set(named(source)) for part, source in first.parts.items()}
    shuffled = random.Random(0).sample(names, len(names))
    moved = plant(tmp_path / "elsewhere" / "two", *shuffled)  # other times, inodes, order and place
    for name in names:
        (moved / name).write_bytes((tmp_path / "one" / name).read_bytes())
        os.utime(moved / name, (1, 1))
    real = folders._visible
    monkeypatch.setattr(folders, "_visible", lambda folder: sorted(real(folder), key=lambda e: e.name, reverse=True))
    second = look(None, moved)
    assert {part: set(named(source)) for part, source in second.parts.items()} == split
    assert [s.names for s in second.parts.values()] == [s.names for s in first.parts.values()]
    assert second.train.fingerprint() == first.train.fingerprint()
    assert {part: set(named(source)) for part, source in look(Holdout(seed=1), moved).parts.items()} != split


def test_a_new_file_moves_few_old_ones(tmp_path, look):
    names = many("a", "b", count=100)
    before = {name: part for part, s in look(None, plant(tmp_path, *names)).parts.items() for name in named(s)}
    plant(tmp_path, "a/new.jpg")
    after = {name: part for part, s in look().parts.items() for name in named(s)}
    assert sum(before[name] != after[name] for name in names) <= 2


@settings(max_examples=60, deadline=None)
@example([2, 4], 0.49, 0.49, 0)
@example([10], 0.01, 0.9, 0)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0, 0.49), st.floats(0, 0.49), st.integers(0, 9))
def test_hold_out(sizes, test, val, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    source = Files(Path(), tuple(f"{i}.jpg" for i in range(len(labels))), (1,) * len(labels), labels)
    parts = hold_out(source, [test, val], seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        got = [int((labels[part] == label).sum()) for part in parts]
        assert got[2] >= 1
        for count, fraction in zip(got, (test, val), strict=False):
            assert abs(count - fraction * size) <= 1.5
            assert count or size < 3 or not fraction


@pytest.mark.parametrize("rule", [Holdout(0.5, 0.5), Holdout(1.0), Holdout(-0.1), Holdout(float("nan"))])
def test_fractions_that_leave_nothing(tmp_path, look, rule):
    plant(tmp_path, *many("a", "b"))
    with pytest.raises(UsageError, match="less than 1"):
        look(rule)


def imagenet(root: Path, *images: str, listed: str = "", test: bool = False) -> Path:
    plant(root, *many("train/n01440764", "train/n01443537", count=3), *(f"val/{name}.JPEG" for name in images))
    if listed:
        (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{listed}")
    return plant(root, *many("test", count=2)) if test else root


@pytest.mark.parametrize("test", [False, True], ids=["", "with Kaggle's unlabelled test folder"])
def test_imagenet_with_kaggles_list(tmp_path, look, test):
    listed = "v3,n01443537 1 2 3 4\nv1,n01440764 1 2 3 4 n01440764 5 6 7 8\nv9,n01440764 1 1 1 1\n../v1,n01440764 1\n"
    dataset = look(None, imagenet(tmp_path, "v1", "v2", "v3", listed=listed, test=test))
    assert named(dataset.test) == {"v1.JPEG": 0, "v3.JPEG": 1}
    assert list(dataset.parts) == ["train", "test"]
    assert len(dataset.train) == 6
    assert "validation set is the test part" in dataset.split
    notes = " | ".join(dataset.notes)
    assert "1 pictures that LOC_val_solution.csv does not list ignored: v2.JPEG" in notes
    assert "2 pictures of LOC_val_solution.csv are missing: ../v1.JPEG, v9.JPEG" in notes
    held = look(Holdout(val=0.3))
    assert {part: len(source) for part, source in held.parts.items()} == {"train": 4, "val": 2, "test": 2}


def test_imagenet_with_class_folders_in_val(tmp_path, look):
    root = imagenet(tmp_path, "n01440764/v1", "n01443537/v2", listed="v1,n01440764 1\n")
    assert named(look(None, root).test) == {"n01440764/v1.JPEG": 0, "n01443537/v2.JPEG": 1}


@pytest.mark.parametrize("listed", ["v1\n", "v1,\n", "v1,cat 1 2\n", "\0,\xff\n"])
def test_a_list_that_is_not_kaggles(tmp_path, look, listed):
    imagenet(tmp_path, "v1", listed="x")
    (tmp_path / "LOC_val_solution.csv").write_bytes(f"ImageId,PredictionString\n{listed}".encode("latin-1"))
    refused(look, "LOC_val_solution.csv")


def test_flat_validation_pictures_without_a_list(tmp_path, look):
    imagenet(tmp_path, "v1", "v2")
    refused(look, "2 pictures of val", "LOC_val_solution.csv")


TREES = {  # F-36: files, then the classes and notes, or the words of the error
    "hidden entries": (
        [*many("a", "b"), ".ipynb_checkpoints/x.jpg", "a/.thumbs/x.jpg", "b/.x.jpg", ".DS_Store"],
        (("a", "b"), ()),
    ),
    "stray files": (
        [*many("a", "b"), "labels.csv", "z.jpg", "a/notes.txt", "b/x.jpg.part"],
        (
            ("a", "b"),
            ("2 files beside the class folders ignored: labels.csv, z.jpg", "2 files that are no pictures ignored: "),
        ),
    ),
    "empty class": (
        [*many("a", "b"), "c/readme"],
        (("a", "b"), ("1 empty class folders: c", "1 files that are no pictures ignored: c/readme")),
    ),
    "one class": ([*many("a"), "b/readme"], ["pictures of one class only (a)", "1 empty class folders: b"]),
    "no class": (["z.jpg", "y.jpg"], ["no class folders with pictures", "y.jpg, z.jpg"]),
    "nothing": ([], ["no class folders with pictures"]),
    "other classes in validation": (
        many("train/a", "train/b", "val/a", "val/b", "val/cow", "val/elk"),
        ["val has classes that train lacks: cow, elk"],
    ),
    "a class that is empty in train": ([*many("train/a", "train/b", "val/c"), "train/c/readme"], ["lacks: c"]),
    "fewer classes in validation": (
        many("train/a", "train/b", "train/c", "val/b"),
        (("a", "b", "c"), ("val: lacks 2 of 3 classes: a, c",)),
    ),
    "pictures deep down": ([*many("a/2019/x", "a/2020"), *many("b")], (("a", "b"), ())),
}


@pytest.mark.parametrize(("files", "expected"), TREES.values(), ids=list(TREES))
def test_trees(tmp_path, look, files, expected):
    plant(tmp_path, *files)
    if isinstance(expected, list):
        return refused(look, *expected)
    dataset, (classes, notes) = look(), expected
    assert dataset.classes == classes
    assert len(dataset.notes) == len(notes)
    assert all(said.startswith(note) for said, note in zip(dataset.notes, notes, strict=True))
    listed = [name for part in dataset.parts.values() for name in named(part)]
    assert not any("/." in name or name.startswith(".") for name in listed)
    return None
