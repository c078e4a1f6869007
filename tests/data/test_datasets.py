"""Data sets by name and by folder: what is in them, how they are divided, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from resnets.data.datasets import Holdout, open_dataset
from resnets.data.fetch import ARCHIVES
from resnets.data.sources import Arrays, Files
from resnets.data.splits import hold_out
from resnets.errors import DataError, UsageError


def sizes(dataset):
    return {name: len(part) for name, part in dataset.parts.items()}


def names(part):
    return {part.name(i) for i in range(len(part))}


def refused(data, error, *words):
    with pytest.raises(error) as caught:
        open_dataset(str(data))
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in words), said


def test_digits_are_scikit_learns():
    dataset, published = open_dataset("digits"), load_digits()
    whole = dataset.whole
    assert isinstance(whole, Arrays)
    assert (whole.images.shape, whole.images.dtype, whole.labels.dtype) == ((1797, 8, 8, 1), np.uint8, np.int64)
    assert np.array_equal(whole.images[..., 0], np.rint(published.images * 255 / 16))
    assert (whole.images.min(), whole.images.max(), len(np.unique(whole.images))) == (0, 255, 17)
    assert np.array_equal(whole.labels, published.target)
    assert dataset.classes == tuple("0123456789")
    assert np.array_equal(np.asarray(whole.picture(5)), whole.images[5, ..., 0])
    assert whole.picture(5).mode == "L"


def test_digits_are_divided_once():
    dataset = open_dataset("digits")
    assert sizes(dataset) == {"train": 1259, "val": 179, "test": 359}
    parts = [names(part) for part in dataset.parts.values()]
    assert set.union(*parts) == names(dataset.whole)
    assert sum(map(len, parts)) == 1797
    assert {"359 are the fixed test part", "179 validate"} <= {w.strip() for w in _phrases(dataset.split)}
    for part in dataset.parts.values():
        shares = np.bincount(part.labels) / np.bincount(dataset.whole.labels)
        assert np.ptp(shares) < 0.01
        for i in (0, 77):  # a picture keeps its number in the whole
            number = int(part.name(i).removeprefix("digits/"))
            assert np.array_equal(part.images[i], dataset.whole.images[number])
            assert part.labels[i] == dataset.whole.labels[number]


def _phrases(text):
    return text.replace(" images ", ",").replace("(", ",").split(",")


@pytest.mark.parametrize("rule", [Holdout(seed=5), Holdout(val=0.0), Holdout(val=0.3, seed=2), Holdout(test=0.4)])
@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_no_rule_changes_the_test_part(name, rule):
    usual, other = open_dataset(name), open_dataset(name, rule)
    assert other.test.fingerprint() == usual.test.fingerprint()
    assert not names(other.test) & (names(other.train) | (names(other.val) if other.val else set()))
    if rule.val is not None:
        assert abs(len(other.val or ()) - rule.val * len(other.whole)) <= 10


def test_the_seed_chooses_the_validation_part():
    parts = [names(open_dataset("digits", Holdout(seed=seed)).val) for seed in (0, 0, 1)]
    assert parts[0] == parts[1]
    assert len(parts[0] & parts[2]) < 60


def test_synthetic():
    dataset = open_dataset("synthetic")
    assert sizes(dataset) == {"train": 1538, "test": 510}
    assert dataset.whole.images.shape == (2048, 32, 32, 3)
    assert np.bincount(dataset.whole.labels).tolist() == [205] * 8 + [204] * 2
    assert dataset.whole.fingerprint() == open_dataset("synthetic-32").whole.fingerprint()
    assert open_dataset("synthetic-70").whole.images.shape == (512, 70, 70, 3)


@pytest.mark.parametrize("name", ["synthetic-0", "synthetic-99999", "synthetic-", "synthetic-x"])
def test_synthetic_of_no_size(name):
    refused(name, UsageError, "synthetic")


def test_a_fingerprint_sees_every_pixel_and_label():
    whole = open_dataset("digits").whole
    images, labels = whole.images.copy(), whole.labels.copy()
    images[-1, -1, -1] ^= 1
    labels[0] += 1
    found = {Arrays(a, b).fingerprint() for a in (whole.images, images) for b in (whole.labels, labels)}
    assert len(found) == 4
    assert Arrays(whole.images.copy(), whole.labels.copy(), "other").fingerprint() == whole.fingerprint()


def test_a_fingerprint_of_files_sees_paths_sizes_and_labels():
    one = Files(Path("here"), ("a/1.jpg", "b/2.jpg"), (10, 20), np.array([0, 1]))
    same = Files(Path("there"), ("b/2.jpg", "a/1.jpg"), (20, 10), np.array([1, 0]))
    others = [
        Files(one.root, ("a/1.jpg", "b/3.jpg"), one.sizes, one.labels),
        Files(one.root, one.names, (10, 21), one.labels),
        one.relabel(np.array([1, 1])),
        one.subset(np.array([0])),
    ]
    assert one.fingerprint() == same.fingerprint()
    assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_subsets_keep_order_numbers_and_labels():
    whole = Arrays(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.arange(6), "train")
    twice = whole.subset(np.array([5, 1, 3])).subset(np.array([2, 0]))
    assert [twice.name(i) for i in range(2)] == ["train/3", "train/5"]
    assert twice.images.ravel().tolist() == twice.labels.tolist() == [3, 5]
    assert twice.relabel(np.array([1, 0])).labels.tolist() == [1, 0]
    assert hold_out(whole, [], 0)[0].tolist() == list(range(6))


def fake_cifar(folder, per_file=20):
    """The binary form with a few images a file: image i of a file is filled with i, its label is i mod 10."""
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        records = [
            bytes([i % 10]) + bytes([i]) * 1024 + bytes([i + 50]) * 1024 + bytes([9]) * 1024 for i in range(per_file)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("airplane automobile bird cat deer dog frog horse ship truck")
    return folder


@pytest.mark.parametrize("given", ["cifar-10-batches-bin", "."])
def test_cifar_in_a_folder(tmp_path, given):
    fake_cifar(tmp_path / "cifar-10-batches-bin")
    dataset = open_dataset(str(tmp_path / given))
    assert (dataset.name, sizes(dataset)) == ("cifar10", {"train": 100, "test": 20})
    assert "no validation part" in dataset.split
    assert dataset.train.images.shape == (100, 32, 32, 3)
    assert dataset.test.images[7, 0, 0].tolist() == [7, 57, 9]
    assert dataset.test.name(7) == "test/7"
    held = open_dataset(str(tmp_path / given), Holdout(val=0.1, seed=3))
    assert sizes(held) == {"train": 90, "val": 10, "test": 20}
    assert sorted(held.val.labels.tolist()) == list(range(10))
    assert names(held.val) | names(held.train) == names(dataset.train)


def test_cifar_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESNETS_DATA", str(tmp_path / "mine"))
    refused("cifar10", DataError, "--download", ARCHIVES["cifar10"].url, "mine")
    fake_cifar(tmp_path / "data" / "cifar-10-batches-bin", 10)
    assert sizes(open_dataset("cifar10")) == {"train": 50, "test": 10}
    fake_cifar(tmp_path / "mine" / "cifar-10-batches-bin")
    assert sizes(open_dataset("cifar10")) == {"train": 100, "test": 20}


@pytest.mark.data
@pytest.mark.skipif("RESNETS_DATA" not in os.environ, reason="needs RESNETS_DATA")
def test_real_cifar():
    dataset = open_dataset("cifar10", Holdout(val=0.1))
    assert sizes(dataset) == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert np.bincount(dataset.train.labels).tolist() == [4500] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("digit", "digits"),
        ("cifar", "cifar10, cifar100"),
        ("CIFAR10", "cifar10"),
        ("sythetic", "synthetic"),
        ("", "digits"),
    ],
)
def test_an_unknown_name_lists_the_nearest(tmp_path, monkeypatch, name, nearest):
    monkeypatch.chdir(tmp_path)
    refused(name, UsageError, "unknown data set or folder", nearest)


@pytest.mark.parametrize("name", ["./nowhere", "far/away", "photos.zip", "no\x1b[31m/where"])
def test_a_folder_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    refused(name, DataError, "does not exist", "digits", "cifar100")


@pytest.mark.parametrize("name", ["x" * 5000, "y" * 300, "nul\0"])
def test_a_name_that_no_file_can_have(name):
    refused(name, UsageError, "nearest")


def test_a_file_is_no_folder(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "cat.png")
    refused(tmp_path / "cat.png", DataError, "cat.png is not a folder")
