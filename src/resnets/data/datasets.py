"""Data sets: a name or a folder becomes classes and parts."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, UsageError, safe_text, unknown
from .cifar import find_cifar, read_cifar
from .fetch import ARCHIVES
from .layouts import IMAGENET, is_list, read_layout
from .sources import Arrays, Files, Source
from .splits import apply_split, hold_out


@dataclass(frozen=True, eq=False)
class Dataset:
    """Classes in label order and up to three parts; `split` says how the parts came about."""

    name: str
    classes: tuple[str, ...]
    train: Source
    val: Source | None
    test: Source | None
    split: str
    notes: tuple[str, ...] = ()
    whole: Source | None = None  # every image, where the parts are our own split

    @property
    def parts(self) -> dict[str, Source]:
        """The parts that exist and are not empty, by name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in found.items() if part is not None and len(part)}


@dataclass(frozen=True)
class Holdout:
    """How data is divided and its classes are counted.

    val, test: fractions of every class to hold out where the data has no such part; None is the data set's own habit.
    group_by, class_order: of pictures in files, as `layouts.read_layout` takes them.
    """

    val: float | None = None
    test: float | None = None
    seed: int = 0
    group_by: str = ""
    class_order: str = "string"


def digits(name: str, rule: Holdout) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8×8 gray, 17 levels; a fixed fifth is the test, a tenth validates."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    everything = Arrays(images, bunch.target.astype(np.int64), "digits")
    classes = tuple(str(c) for c in bunch.target_names)
    return _fixed_test("digits", classes, everything, 0.2, replace(rule, val=_or(rule.val, 0.1)))


def synthetic(name: str, rule: Holdout) -> Dataset:
    """Random pictures of ten classes for benchmarks: `synthetic` is 32×32, `synthetic-224` 224×224."""
    size = int(name.partition("-")[2] or 32)
    generator = np.random.default_rng(0)
    count = 2048 if size <= 64 else 512
    images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 10
    everything = Arrays(images, labels, name)
    classes = tuple(f"class{c}" for c in range(10))
    return _fixed_test(name, classes, everything, 0.25, replace(rule, val=_or(rule.val, 0.0)))


def cifar(folder: Path, rule: Holdout) -> Dataset:
    """CIFAR-10 or CIFAR-100 from a folder of the publisher's files; it has a test part of its own."""
    data = read_cifar(folder)
    train, test = Arrays(*data.train, "train"), Arrays(*data.test, "test")
    if not rule.val:
        return Dataset(data.name, data.classes, train, None, test, "train and test as published, no validation part")
    val, rest = hold_out(train, [rule.val], rule.seed)
    split = f"test as published; {len(val)} of {len(train)} training images validate (seed {rule.seed})"
    return Dataset(data.name, data.classes, train.subset(rest), train.subset(val), test, split)


def pictures(place: Path, rule: Holdout) -> Dataset:
    """Pictures in files: class folders with or without parts, or lists (see `layouts`). Raises DataError."""
    found = read_layout(place, rule.group_by, rule.class_order)
    train, val, test = (found.parts.get(part) for part in ("train", "val", "test"))
    assert train is not None
    dataset = Dataset(found.name, found.classes, train, val, test, found.split, tuple(found.notes))
    if found.split == IMAGENET:
        dataset = replace(dataset, val=None, test=val)
        rule = replace(rule, val=_or(rule.val, 0.0))
    return _complete(dataset, rule)


def resplit(dataset: Dataset, path: Path) -> Dataset:
    """DATASET with the parts that a run's split.csv tells. Raises DataError unless it is of the same files."""
    if not isinstance(dataset.whole, Files):
        raise UsageError(f"{dataset.name} is divided already; a split is for a folder or a list without parts")
    parts = apply_split(dataset.whole, path)
    if "train" not in parts:
        raise DataError(f"{safe_text(str(path))} has no train part")
    split = f"split of {safe_text(str(path))}"
    return replace(dataset, train=parts["train"], val=parts.get("val"), test=parts.get("test"), split=split)


def _complete(dataset: Dataset, rule: Holdout) -> Dataset:
    given = [part for part in ("val", "test") if part in dataset.parts]
    if not given:
        wanted = replace(rule, val=_or(rule.val, 0.15), test=_or(rule.test, 0.15))
        return replace(_split(dataset.name, dataset.classes, dataset.train, wanted), notes=dataset.notes)
    split = dataset.split
    part, fraction = ("val", _or(rule.val, 0.15)) if given == ["test"] else ("test", _or(rule.test, 0.0))
    if len(given) == 1 and fraction:
        held, rest = hold_out(dataset.train, [fraction], rule.seed)
        split += f"; {len(held)} of {len(dataset.train)} training images are the {part} part (seed {rule.seed})"
        parts: dict[str, Any] = {"train": dataset.train.subset(rest), part: dataset.train.subset(held)}
        return replace(dataset, split=split, **parts)
    if given == ["val"]:
        split += "; without a test part, the reported error is that of the part that chose the model"
    return replace(dataset, split=split)


def _split(name: str, classes: tuple[str, ...], everything: Source, rule: Holdout) -> Dataset:
    test, val, train = hold_out(everything, [_or(rule.test, 0.0), _or(rule.val, 0.0)], rule.seed)
    groups = len(set(everything.groups)) if isinstance(everything, Files) else 0
    how = f"stratified split of {len(everything)} images{f' in {groups} groups' if groups else ''}, seed {rule.seed}"
    val_part, test_part = (everything.subset(part) if len(part) else None for part in (val, test))
    return Dataset(name, classes, everything.subset(train), val_part, test_part, how, whole=everything)


def _fixed_test(name: str, classes: tuple[str, ...], everything: Source, share: float, rule: Holdout) -> Dataset:
    """A split whose test part no rule changes: any model of this data may be tested on it."""
    test, others = hold_out(everything, [share], 0)
    rest = everything.subset(others)
    val, train = hold_out(rest, [_or(rule.val, 0.0) / (1 - share)], rule.seed)
    how = f"of {len(everything)} images {len(test)} are the fixed test part, {len(val)} validate (seed {rule.seed})"
    held = rest.subset(val) if len(val) else None
    return Dataset(name, classes, rest.subset(train), held, everything.subset(test), how, whole=everything)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


NAMED: dict[str, Callable[[str, Holdout], Dataset]] = {"digits": digits, "synthetic": synthetic}


def open_dataset(data: str, rule: Holdout | None = None) -> Dataset:
    """The data set called DATA (digits, cifar10, cifar100, synthetic) or in the folder DATA.

    Raises DataError for a folder that holds no data set, UsageError for an unknown name.
    """
    rule = rule or Holdout()
    place = Path(data)
    if named := _named(data):
        return _in_memory(named(rule), rule)
    if not os.path.exists(data):  # noqa: PTH110 - Path.exists raises for a name that is too long
        if "/" in data or "." in data:
            raise DataError(f"{safe_text(data)} does not exist; give a folder of class folders, or a name: {_known()}")
        raise unknown("data set or folder", data, [*NAMED, *ARCHIVES])
    if not place.is_dir() and not (place.is_file() and is_list(place)):
        wanted = "a folder with one subfolder of pictures per class, or a list of file,label that ends in .csv or .tsv"
        raise DataError(f"{safe_text(data)} is not a folder; give {wanted}")
    published = find_cifar(place) if place.is_dir() else None
    return _in_memory(cifar(published, rule), rule) if published else pictures(place, rule)


def _named(data: str) -> Callable[[Holdout], Dataset] | None:
    """What opens the data set called DATA; None for no name."""
    if re.fullmatch(r"synthetic(-[1-9]\d{0,2})?", data):
        return lambda rule: synthetic(data, rule)
    if data in NAMED:
        return lambda rule: NAMED[data](data, rule)
    return (lambda rule: cifar(_find_named(data), rule)) if data in ARCHIVES else None


def _in_memory(dataset: Dataset, rule: Holdout) -> Dataset:
    """DATASET, which is no pictures in files. Raises UsageError for what only those have."""
    if rule.group_by or rule.class_order != "string":
        raise UsageError(f"{dataset.name} has its own order of classes and no groups; those are for pictures in files")
    return dataset


def _known() -> str:
    return ", ".join([*NAMED, *ARCHIVES])


_PICKLED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def _find_named(name: str) -> Path:
    archive = ARCHIVES[name]
    places = [Path(p) for p in (os.environ.get("RESNETS_DATA"), "data") if p]
    for place in places:
        for form in (archive.folder, _PICKLED[name]):
            if (place / form).is_dir():
                return place / form
    raise DataError(
        f"{name} is not in {' or '.join(map(str, places))}; give the folder that holds {archive.folder}, or fetch "
        f"{archive.bytes / 1e6:.0f} MB from {archive.url}: resnets train {name} --download"
    )
