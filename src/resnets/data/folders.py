"""Class folders: what lies in a folder of pictures, one subfolder a class, with or without parts."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DataError, safe_text
from .images import EXTENSIONS
from .sources import Files

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_WNID = re.compile(r"n\d{8}")
_KAGGLE_LIST = "LOC_val_solution.csv"


@dataclass
class Scan:
    """The pictures of one part by class name, and what was passed over."""

    root: Path
    classes: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    loose: int = 0  # pictures beside the class folders

    def source(self, classes: tuple[str, ...]) -> Files:
        """The files as a source whose labels count through CLASSES; names sorted by bytes."""
        rows = [
            (name, size, label)
            for label, c in enumerate(classes)
            for name, size in sorted(self.classes.get(c, []), key=lambda row: os.fsencode(row[0]))
        ]
        labels = np.array([label for _, _, label in rows], dtype=np.int64)
        return Files(self.root, tuple(r[0] for r in rows), tuple(r[1] for r in rows), labels)


def part_folders(root: Path) -> dict[str, Path]:
    """The subfolders of ROOT that are called train, val or test or one of their usual other names.

    None where nothing is called train, or where that is a class: it has pictures and no folders.
    """
    found: dict[str, Path] = {}
    folders = sorted(_folders(root))
    for entry in folders:
        for part, names in PARTS.items():
            if entry.name.lower() in names:
                if part in found:
                    both = f"both '{found[part].name}' and '{entry.name}' are {part} folders; keep one"
                    raise DataError(safe_text(f"{root}: {both}"))
                found[part] = entry
    if found and "train" not in found and len(found) == len(folders):
        raise DataError(safe_text(f"{root}: has {' and '.join(found)}, but no train folder"))
    if "train" not in found or not _folders(found["train"]):
        return {}
    return {part: found[part] for part in PARTS if part in found}


def folders_beside(root: Path, parts: dict[str, Path]) -> list[str]:
    """A note about the folders in ROOT that are none of PARTS, if there are any."""
    others = [entry.name for entry in _folders(root) if entry not in parts.values()]
    return [f"{len(others)} folders beside train ignored: {_few(others)}"] if parts and others else []


def is_imagenet(folder: Path) -> bool:
    """Whether every class folder is named by a WordNet id, as ImageNet's are."""
    names = [entry.name for entry in _folders(folder)]
    return bool(names) and all(_WNID.fullmatch(name) for name in names)


def scan(folder: Path) -> Scan:
    """The class folders below FOLDER.

    Hidden entries are ignored, and links to folders, which lead out, round, or to what is listed anyway; links to
    files are followed inside FOLDER.
    """
    result, passed = Scan(folder), dict[str, list[str]]()
    home = folder.resolve()
    for entry in _visible(folder):
        if entry.is_symlink() and entry.is_dir():
            passed.setdefault(_refusal(entry, home), []).append(entry.name)
        elif entry.is_dir():
            result.classes[entry.name] = list(_pictures(entry, folder, passed))
        else:
            passed.setdefault("files beside the class folders", []).append(entry.name)
            result.loose += entry.suffix.lower() in EXTENSIONS
    empty = [name for name, rows in result.classes.items() if not rows]
    if empty:
        result.notes.append(f"{len(empty)} empty class folders: {_few(empty)}")
    result.notes += _ignored(passed)
    return result


def pictures_in(folder: Path) -> list[str]:
    """The pictures anywhere below FOLDER, relative to it, sorted by bytes."""
    return sorted((name for name, _ in _pictures(folder, folder, {})), key=os.fsencode)


def scan_kaggle_val(folder: Path, root: Path) -> Scan | None:
    """ImageNet's flat validation folder with Kaggle's list of its classes, or None."""
    listing = next((path for path in (root / _KAGGLE_LIST, folder / _KAGGLE_LIST) if path.is_file()), None)
    if listing is None or _folders(folder):
        return None
    result, passed, missing = Scan(folder), dict[str, list[str]](), []
    sizes = dict(_pictures(folder, folder, passed))
    for name, wnid in _kaggle_rows(listing).items():
        if name in sizes:
            result.classes.setdefault(wnid, []).append((name, sizes.pop(name)))
        else:
            missing.append(name)
    passed.get("files that are no pictures", []).clear()  # the list itself may lie here
    passed[f"pictures that {listing.name} does not list"] = [*sizes]
    result.notes = [f"classes of {safe_text(folder.name)}/ from {listing.name}", *_ignored(passed)]
    if missing:
        result.notes.append(f"{len(missing)} pictures of {listing.name} are missing: {_few(missing)}")
    return result


def _kaggle_rows(listing: Path) -> dict[str, str]:
    """Class of every picture, from rows like `ILSVRC2012_val_00048981,n03995372 85 1 499 272`."""
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            rows = {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (OSError, ValueError, LookupError, AttributeError, csv.Error) as error:
        raise DataError(f"{safe_text(str(listing))} is not Kaggle's list of ImageId,PredictionString") from error
    if strange := [wnid for wnid in rows.values() if not _WNID.fullmatch(wnid)]:
        raise DataError(f"{safe_text(str(listing))}: {safe_text(strange[0])} is no WordNet id")
    return rows


def natural_order(names: list[str]) -> list[str]:
    """Class names in string order of their bytes, as torchvision sorts them."""
    return sorted(names, key=os.fsencode)


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read {safe_text(str(folder))}: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _pictures(folder: Path, root: Path, passed: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Path relative to ROOT and size of every picture below FOLDER; what else is there goes into PASSED."""
    home = root.resolve()
    waiting = [folder]
    while waiting:
        for entry in _visible(waiting.pop()):
            refusal = _refusal(entry, home) if entry.is_symlink() else ""
            name = str(entry.relative_to(root))
            if refusal:
                passed.setdefault(refusal, []).append(name)
            elif entry.is_dir():
                waiting.append(entry)
            elif entry.suffix.lower() in EXTENSIONS:
                yield name, _size(entry)
            else:
                passed.setdefault("files that are no pictures", []).append(name)


def _refusal(link: Path, home: Path) -> str:
    real = Path(os.path.realpath(link))  # Path.resolve raises for a link to itself
    if not real.is_relative_to(home):
        return "links out of the folder"
    return "links to folders" if real.is_dir() else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing, which reading will name
        return 0


def _ignored(passed: dict[str, list[str]]) -> list[str]:
    return [f"{len(names)} {what} ignored: {_few(names)}" for what, names in sorted(passed.items()) if names]


def _few(names: list[str]) -> str:
    shown = ", ".join(safe_text(name) for name in sorted(names, key=os.fsencode)[:5])
    return shown + (" …" if len(names) > 5 else "")
