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
from .folders import Scan, folders_beside, is_imagenet, natural_order, part_folders, scan, scan_kaggle_val
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


def class_folders(folder: Path, rule: Holdout) -> Dataset:
    """A folder with one subfolder a class, or with train/val/test folders of such. Raises DataError."""
    parts = part_folders(folder)
    scans = {part: _scan_part(part, path, folder) for part, path in parts.items()} or {"train": scan(folder)}
    classes = _classes(scans["train"], folder)
    notes = folders_beside(folder, parts)
    for part in ("val", "test"):
        if part in scans and not any(scans[part].classes.values()):
            notes.append(_without_classes(part, scans.pop(part), folder))
    for part, found in scans.items():
        _same_classes(part, found, classes, folder)
        notes += [f"{part}: {note}" for note in found.notes] if parts else found.notes
    sources = {part: found.source(classes) for part, found in scans.items()}
    dataset = Dataset(
        folder.resolve().name, classes, sources["train"], sources.get("val"), sources.get("test"), "", tuple(notes)
    )
    if parts and is_imagenet(parts["train"]) and "val" in scans and "test" not in scans:
        split = "ImageNet's folders; its validation set is the test part"
        dataset = replace(dataset, val=None, test=dataset.val, split=split)
        rule = replace(rule, val=_or(rule.val, 0.0))
    return _complete(dataset, rule)


def _scan_part(part: str, path: Path, root: Path) -> Scan:
    return (scan_kaggle_val(path, root) if part == "val" else None) or scan(path)


def _classes(found: Scan, folder: Path) -> tuple[str, ...]:
    classes = natural_order([name for name, rows in found.classes.items() if rows])
    if len(classes) < 2:
        what = f"pictures of one class only ({safe_text(classes[0])})" if classes else "no class folders with pictures"
        wanted = "expected a subfolder of pictures for each of at least two classes"
        raise DataError(f"{safe_text(str(folder))}: {'; '.join([what, wanted, *found.notes])}")
    return tuple(classes)


def _without_classes(part: str, found: Scan, folder: Path) -> str:
    """The note about a val or test folder that has no class folders; loose pictures in val are an error."""
    if part == "val" and found.loose:
        what = f"{found.loose} pictures of val lie in no class folder"
        raise DataError(f"{safe_text(str(folder))}: {what}; ImageNet's flat form needs LOC_val_solution.csv beside it")
    return f"{part} has no class folders with pictures and is ignored"


def _same_classes(part: str, found: Scan, classes: tuple[str, ...], folder: Path) -> None:
    extra = sorted(name for name, rows in found.classes.items() if rows and name not in classes)
    if extra:
        few = ", ".join(map(safe_text, extra[:5]))
        raise DataError(f"{safe_text(str(folder))}: {part} has classes that train lacks: {few}; add or remove them")
    missing = [name for name in classes if not found.classes.get(name)]
    if missing:
        few = ", ".join(map(safe_text, missing[:5])) + (" …" if len(missing) > 5 else "")
        found.notes.append(f"lacks {len(missing)} of {len(classes)} classes: {few}")


def _complete(dataset: Dataset, rule: Holdout) -> Dataset:
    given = [part for part in ("val", "test") if part in dataset.parts]
    if not given:
        wanted = replace(rule, val=_or(rule.val, 0.15), test=_or(rule.test, 0.15))
        return replace(_split(dataset.name, dataset.classes, dataset.train, wanted), notes=dataset.notes)
    split = dataset.split or f"folders train, {' and '.join(given)}"
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
    how = f"stratified split of {len(everything)} images, seed {rule.seed}"
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
    folder = Path(data)
    if re.fullmatch(r"synthetic(-[1-9]\d{0,2})?", data):
        return synthetic(data, rule)
    if data in NAMED:
        return NAMED[data](data, rule)
    if data in ARCHIVES:
        return cifar(_find_named(data), rule)
    if not os.path.exists(data):  # noqa: PTH110 - Path.exists raises for a name that is too long
        if "/" in data or "." in data:
            raise DataError(f"{safe_text(data)} does not exist; give a folder of class folders, or a name: {_known()}")
        raise unknown("data set or folder", data, [*NAMED, *ARCHIVES])
    if not folder.is_dir():
        raise DataError(f"{safe_text(data)} is not a folder; give a folder with one subfolder of pictures per class")
    published = find_cifar(folder)
    return cifar(published, rule) if published else class_folders(folder, rule)


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
        f"{name} is not in {' or '.join(map(str, places))}; give the folder that holds {archive.folder}, or add "
        f"--download to fetch {archive.bytes / 1e6:.0f} MB from {archive.url}"
    )
