"""Groups that stay together, classes in order, splits of before."""

import csv
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import many, plant

from resnets.data.datasets import Holdout, open_dataset, resplit
from resnets.data.sources import Files
from resnets.data.splits import apply_split, hold_out, path_text
from resnets.errors import DataError, UsageError


def grouped(rows):
    """A source of (group, label) rows."""
    names = tuple(f"{group}/{i}.jpg" for i, (group, _) in enumerate(rows))
    labels = np.array([label for _, label in rows], np.int64)
    return Files(os.curdir, names, (1,) * len(rows), labels, tuple(group for group, _ in rows))


def parts_of_groups(source, parts):
    found = {}
    for number, part in enumerate(parts):
        for i in part:
            found.setdefault(source.groups[i], set()).add(number)
    return found


ROWS = st.lists(st.tuples(st.integers(0, 25).map(str), st.integers(0, 3)), min_size=1, max_size=150)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 5))
def test_no_group_is_in_two_parts(rows, test, val, seed):
    source = grouped(rows)
    parts = hold_out(source, [test, val], seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    assert all(len(places) == 1 for places in parts_of_groups(source, parts).values())
    for fraction, part in zip((test, val), parts, strict=False):
        assert fraction or not len(part)
    assert len(parts[2])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_fractions_and_classes_within_reason(seed):
    """Sixty series of up to nine pictures, three classes, the rarest in a third of them."""
    dice = np.random.default_rng(seed)
    rows = [(f"s{s}", int(c)) for s in range(60) for c in dice.choice(3, dice.integers(1, 10), p=[0.7, 0.24, 0.06])]
    source = grouped(rows)
    parts = hold_out(source, [0.15, 0.15], seed)
    for label in range(3):
        counts = [int((source.labels[part] == label).sum()) for part in parts]
        groups = len({source.groups[i] for i in np.flatnonzero(source.labels == label)})
        assert groups < 3 or all(counts), (label, counts)
        if label == 0:
            assert all(abs(count / sum(counts) - 0.15) < 0.09 for count in counts[:2]), counts


def test_a_group_of_each_class_by_hand():
    """Four series of one class each: of every class one series goes to the test, three are left."""
    source = grouped([(f"{label}{series}", label) for label in (0, 1) for series in "abcd" for _ in range(5)])
    test, rest = hold_out(source, [0.25], 0)
    assert np.bincount(source.labels[test]).tolist() == [5, 5]
    assert len({source.groups[i] for i in test}) == 2
    assert np.bincount(source.labels[rest]).tolist() == [15, 15]


def test_large_groups_still_reach_every_part():
    source = grouped([(series, 0) for series in ("a", "b", "c") for _ in range({"a": 12, "b": 10, "c": 11}[series])])
    parts = hold_out(source, [0.1, 0.1], 0)
    assert [len(part) for part in parts] == [10, 11, 12]  # the smallest, where even half a group is too much


def test_the_split_is_of_keys_and_seed_alone():
    rows = [(f"g{i % 40}", i % 3 % 2) for i in range(400)]
    source, backwards = grouped(rows), grouped(rows[::-1])
    first, second = (
        {s.groups[i]: n for n, p in enumerate(hold_out(s, [0.2, 0.2], 7)) for i in p} for s in (source, backwards)
    )
    assert first == second
    other = {source.groups[i]: n for n, p in enumerate(hold_out(source, [0.2, 0.2], 8)) for i in p}
    assert other != first


def test_new_pictures_move_few_groups():
    rows = [(f"g{i % 80}", i % 3 % 2) for i in range(800)]
    before, after = grouped(rows), grouped([*rows, ("g5", 1), ("new", 0), ("new", 1)])
    first, second = (
        {s.groups[i]: n for n, p in enumerate(hold_out(s, [0.2, 0.2], 0)) for i in p} for s in (before, after)
    )
    assert sum(first[group] != second[group] for group in first) <= 6


def test_group_by_a_regular_expression(tmp_path):
    plant(tmp_path, *(f"{c}/photo{p:02}_{n}.png" for c in "ab" for p in range(20) for n in range(3)))
    dataset = open_dataset(str(tmp_path), Holdout(group_by=r"(photo\d+)_"))
    groups = [set(source.groups) for source in dataset.parts.values()]
    assert set.union(*groups) == {f"photo{p:02}" for p in range(20)}
    assert sum(map(len, groups)) == 20
    assert dataset.split == "stratified split of 120 images in 20 groups, seed 0"
    whole = open_dataset(str(tmp_path), Holdout(group_by=r"photo\d+"))
    assert [source.names for source in whole.parts.values()] == [source.names for source in dataset.parts.values()]


def test_groups_in_given_parts_are_noted(tmp_path):
    plant(
        tmp_path,
        *(f"{part}/{c}/p{p}.png" for part, ps in (("train", "0123"), ("test", "34")) for c in "ab" for p in ps),
    )
    dataset = open_dataset(str(tmp_path), Holdout(val=0.25, group_by=r"p\d"))
    assert dataset.notes[-2:] == (
        "5 groups by p\\d, each kept in one part of a split made here",
        "1 groups lie in several parts of the data: p3",
    )
    assert not set(dataset.train.groups) & set(dataset.val.groups)


@pytest.mark.parametrize(
    ("group_by", "error", "said"),
    [
        (
            "patient",
            DataError,
            "group_by 'patient' is no column and is not found in a/0.jpg; give a regular expression",
        ),
        ("a/", DataError, "is not found in b/0.jpg"),
        ("(", UsageError, "group_by '(' is no column, and no regular expression: missing )"),
    ],
)
def test_groups_that_are_not_there(tmp_path, group_by, error, said):
    plant(tmp_path, *many("a", "b"))
    with pytest.raises(error) as caught:
        open_dataset(str(tmp_path), Holdout(group_by=group_by))
    assert said in str(caught.value)


@pytest.mark.parametrize("rule", [Holdout(group_by="x"), Holdout(class_order="natural")])
def test_pictures_in_memory_have_no_groups(rule):
    with pytest.raises(UsageError, match="digits has its own order of classes and no groups"):
        open_dataset("digits", rule)


def test_orders_of_classes(tmp_path):
    names = ["1", "10", "2", "b", "B", "a10", "a9"]
    plant(tmp_path / "data", *many(*names, count=3))
    orders = {"string": ["1", "10", "2", "B", "a10", "a9", "b"], "natural": ["1", "2", "10", "a9", "a10", "B", "b"]}
    mine = tmp_path / "order.txt"
    mine.write_text("\ufeff" + "\n".join(names) + "\n\n")
    for order, expected in (*orders.items(), (str(mine), names)):
        dataset = open_dataset(str(tmp_path / "data"), Holdout(class_order=order))
        assert list(dataset.classes) == expected
        whole = dataset.whole
        assert all(whole.name(i).split("/")[0] == dataset.classes[whole.labels[i]] for i in range(len(whole)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", "order.txt lacks c"),
        ("a\nb\nc\nd\n", "order.txt has, but the data has not: d"),
        ("a\nb\nx\x1b\n", "order.txt lacks c; has, but the data has not: x\\x1b"),
        ("a\nb\nc\nb\n", "order.txt names twice b"),
        (None, "the order of classes is string, natural or a file of names; cannot read"),
    ],
)
def test_an_order_of_other_classes(tmp_path, text, said):
    plant(tmp_path / "data", *many("a", "b", "c", count=3))
    if text is not None:
        (tmp_path / "order.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / "data"), Holdout(class_order=str(tmp_path / "order.txt")))
    assert said in str(caught.value)


def write_split(path, parts, more=()):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["file", "bytes", "part"], *((path_text(n), 1, p) for p, s in parts.items() for n in s), *more]
        )
    return path


def test_a_split_of_before(tmp_path):
    plant(tmp_path / "data", *many("a", "b"), "b/odd\n\udcff.jpg")
    first = open_dataset(str(tmp_path / "data"), Holdout(seed=3))
    path = write_split(tmp_path / "split.csv", {part: source.names for part, source in first.parts.items()})
    second = resplit(open_dataset(str(tmp_path / "data")), path)
    assert {part: source.names for part, source in second.parts.items()} == {
        part: source.names for part, source in first.parts.items()
    }
    assert [source.fingerprint() for source in second.parts.values()] == [s.fingerprint() for s in first.parts.values()]
    assert second.split == f"split of {path}"


@pytest.mark.parametrize(
    ("parts", "more", "said"),
    [
        ({"train": ["a/0.jpg"]}, [], "other pictures: 3 pictures are not in it, 0 of it are not here (a/1.jpg,"),
        (
            {"train": ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"]},
            [["gone.jpg", 1, "val"]],
            "0 pictures are not in it, 1 of it are not here (gone.jpg)",
        ),
        ({"train": []}, [["a/0.jpg", 1, "hold"]], "part 'hold' is none of train, val and test"),
        ({"test": ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"]}, [], "has no train part"),
    ],
)  # fmt: skip
def test_a_split_of_other_pictures(tmp_path, parts, more, said):
    plant(tmp_path / "data", *many("a", "b", count=2))
    with pytest.raises(DataError) as caught:
        resplit(open_dataset(str(tmp_path / "data")), write_split(tmp_path / "split.csv", parts, more))
    assert said in str(caught.value)


def test_what_is_no_split(tmp_path):
    (tmp_path / "split.csv").write_text("name\nx\n")
    with pytest.raises(DataError, match=r"split.csv is no split: it must be a CSV file with the columns file and part"):
        apply_split(grouped([("a", 0)]), tmp_path / "split.csv")
    with pytest.raises(UsageError, match="digits is divided already"):
        resplit(open_dataset("digits"), tmp_path / "split.csv")


def test_part_folders_that_are_links_out(tmp_path):
    plant(tmp_path / "data", *many("train/a", "train/b"))
    plant(tmp_path / "far", *many("a", "b"))
    (tmp_path / "data" / "test").symlink_to(tmp_path / "far")
    dataset = open_dataset(str(tmp_path / "data"))
    assert set(dataset.parts) == {"train", "val", "test"}
    assert dataset.test.root == tmp_path / "data" / "train"
    assert dataset.notes == ("1 links out of the folder ignored: test",)
