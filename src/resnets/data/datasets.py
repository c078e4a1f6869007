"""Data sets: a name or a folder becomes classes and parts."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, safe_text, unknown
from .cifar import find_cifar, read_cifar
from .fetch import ARCHIVES
from .folders import Scan, is_imagenet, natural_order, part_folders, scan, scan_kaggle_val
from .sources import Arrays, Source, hold_out


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
    """Fractions of every class to hold out where the data has no such part; None is the data set's own habit."""

    val: float | None = None
    test: float | None = None
    seed: int = 0


def digits(name: str, rule: Holdout) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8×8 gray, 16 levels; a fifth is the test part, a tenth validates."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    everything = Arrays(images, bunch.target.astype(np.int64), "digits")
    classes = tuple(str(c) for c in bunch.target_names)
    return _split("digits", classes, everything, replace(rule, val=_or(rule.val, 0.1), test=_or(rule.test, 0.2)))


def synthetic(name: str, rule: Holdout) -> Dataset:
    """Random pictures of ten classes for benchmarks: `synthetic` is 32×32, `synthetic-224` 224×224."""
    size = int(name.partition("-")[2] or 32)
    generator = np.random.default_rng(0)
    count = 2048 if size <= 64 else 512
    images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 10
    everything = Arrays(images, labels, name)
    classes = tuple(f"class{c}" for c in range(10))
    return _split(name, classes, everything, replace(rule, val=_or(rule.val, 0.0), test=_or(rule.test, 0.25)))


def cifar(folder: Path, rule: Holdout) -> Dataset:
    """CIFAR-10 or CIFAR-100 from a folder of the publisher's files; it has a test part of its own."""
    data = read_cifar(folder)
    train, test = Arrays(*data.train, "train"), Arrays(*data.test, "test")
    if not rule.val:
        return Dataset(data.name, data.classes, train, None, test, "train and test as published, no validation part")
    val, rest = hold_out(train, [rule.val], rule.seed)
    split = f"test as published; {len(val)} of {len(train)} training images validate (seed {rule.seed})"
    return Dataset(data.name, data.classes, train.subset(rest), train.subset(val), test, split)


def class_folders(folder: Path, rule: Holdout) -> Dataset:
    """A folder with one subfolder a class, or with train/val/test folders of such. Raises DataError."""
    parts = part_folders(folder)
    scans = {part: _scan_part(part, path, folder) for part, path in parts.items()} or {"train": scan(folder)}
    classes = _classes(scans["train"], folder)
    for part, found in scans.items():
        _same_classes(part, found, classes, folder)
    sources = {part: found.source(classes) for part, found in scans.items()}
    notes = tuple(note for found in scans.values() for note in found.notes)
    dataset = Dataset(
        folder.resolve().name, classes, sources["train"], sources.get("val"), sources.get("test"), "", notes
    )
    if parts and is_imagenet(parts["train"]) and "test" not in parts:
        return replace(
            dataset,
            val=None,
            test=dataset.val,
            split="ImageNet's folders; its validation set is the test part",
        )
    return _complete(dataset, rule)


def _scan_part(part: str, path: Path, root: Path) -> Scan:
    return (scan_kaggle_val(path, root) if part == "val" else None) or scan(path)


def _classes(found: Scan, folder: Path) -> tuple[str, ...]:
    classes = natural_order([name for name, rows in found.classes.items() if rows])
    if len(classes) < 2:
        what = f"pictures of one class only ({safe_text(classes[0])})" if classes else "no class folders with pictures"
        raise DataError(
            f"{safe_text(str(folder))}: {what}; expected a subfolder of pictures for each of at least two classes"
        )
    return tuple(classes)


def _same_classes(part: str, found: Scan, classes: tuple[str, ...], folder: Path) -> None:
    extra = sorted(name for name, rows in found.classes.items() if rows and name not in classes)
    if extra:
        few = ", ".join(map(safe_text, extra[:5]))
        raise DataError(f"{safe_text(str(folder))}: {part} has classes that train lacks: {few}; add or remove them")
    missing = [name for name in classes if not found.classes.get(name)]
    if missing:
        found.notes.append(
            f"{part} lacks {len(missing)} of {len(classes)} classes: {', '.join(map(safe_text, missing[:5]))}"
        )


def _complete(dataset: Dataset, rule: Holdout) -> Dataset:
    given = [part for part in ("val", "test") if part in dataset.parts]
    if not given:
        wanted = replace(rule, val=_or(rule.val, 0.15), test=_or(rule.test, 0.15))
        return replace(_split(dataset.name, dataset.classes, dataset.train, wanted), notes=dataset.notes)
    split = f"folders train, {' and '.join(given)}"
    if given == ["test"] and _or(rule.val, 0.15):
        val, rest = hold_out(dataset.train, [_or(rule.val, 0.15)], rule.seed)
        split += f"; {len(val)} of {len(dataset.train)} training images validate (seed {rule.seed})"
        return replace(dataset, train=dataset.train.subset(rest), val=dataset.train.subset(val), split=split)
    if given == ["val"]:
        split += "; without a test part, the reported error is that of the part that chose the model"
    return replace(dataset, split=split)


def _split(name: str, classes: tuple[str, ...], everything: Source, rule: Holdout) -> Dataset:
    test, val, train = hold_out(everything, [_or(rule.test, 0.0), _or(rule.val, 0.0)], rule.seed)
    how = f"stratified split of {len(everything)} images, seed {rule.seed}"
    parts = [everything.subset(part) if len(part) else None for part in (train, val, test)]
    if parts[0] is None:
        raise DataError(f"{name}: no image is left to train on; hold out less than {rule.test} and {rule.val}")
    return Dataset(name, classes, parts[0], parts[1], parts[2], how, whole=everything)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


NAMED: dict[str, Callable[[str, Holdout], Dataset]] = {"digits": digits, "synthetic": synthetic}


def open_dataset(data: str, rule: Holdout | None = None) -> Dataset:
    """The data set called DATA (digits, cifar10, cifar100, synthetic) or in the folder DATA.

    Raises DataError for a folder that holds no data set, UsageError for an unknown name.
    """
    rule = rule or Holdout()
    folder = Path(data)
    if re.fullmatch(r"synthetic(-\d+)?", data):
        return synthetic(data, rule)
    if data in NAMED:
        return NAMED[data](data, rule)
    if data in ARCHIVES:
        return cifar(_find_named(data), rule)
    if not folder.exists():
        if "/" in data or "." in data:
            raise DataError(f"{safe_text(data)} does not exist; give a folder of class folders, or a name: {_known()}")
        raise unknown("data set or folder", data, [*NAMED, *ARCHIVES])
    if not folder.is_dir():
        raise DataError(f"{safe_text(data)} is not a folder; give a folder with one subfolder of pictures per class")
    published = find_cifar(folder)
    return cifar(published, rule) if published else class_folders(folder, rule)


def _known() -> str:
    return ", ".join([*NAMED, *ARCHIVES])


def _find_named(name: str) -> Path:
    archive = ARCHIVES[name]
    places = [Path(p) for p in (os.environ.get("RESNETS_DATA"), "data") if p]
    for place in places:
        for folder in (place / archive.folder, place / archive.folder.replace("-bin", "-batches-bin")):
            if folder.is_dir():
                return folder
    raise DataError(
        f"{name} is not in {' or '.join(map(str, places))}; give the folder that holds {archive.folder}, or add "
        f"--download to fetch {archive.bytes / 1e6:.0f} MB from {archive.url}"
    )
