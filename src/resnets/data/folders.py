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
    """The subfolders of ROOT that are called train, val or test or one of their usual other names."""
    found: dict[str, Path] = {}
    for entry in sorted(_folders(root)):
        for part, names in PARTS.items():
            if entry.name.lower() in names:
                if part in found:
                    raise DataError(
                        f"{root}: both '{found[part].name}' and '{entry.name}' are {part} folders; keep one"
                    )
                found[part] = entry
    return found if "train" in found else {}


def is_imagenet(folder: Path) -> bool:
    """Whether every class folder is named by a WordNet id, as ImageNet's are."""
    names = [entry.name for entry in _folders(folder)]
    return bool(names) and all(_WNID.fullmatch(name) for name in names)


def scan(folder: Path) -> Scan:
    """The class folders below FOLDER. Hidden entries are ignored; links that leave the folder are refused."""
    result = Scan(folder)
    home = folder.resolve()
    stray = sum(1 for entry in _visible(folder) if entry.is_file())
    for entry in _folders(folder):
        result.classes[entry.name] = list(_pictures(entry, folder, home, result.notes))
    empty = [name for name, rows in result.classes.items() if not rows]
    if empty:
        result.notes.append(f"{len(empty)} empty class folders: {_few(empty)}")
    if stray:
        result.notes.append(f"{stray} files beside the class folders ignored")
    return result


def pictures_in(folder: Path) -> list[str]:
    """The pictures anywhere below FOLDER, relative to it, sorted by bytes."""
    return sorted((name for name, _ in _pictures(folder, folder, folder.resolve(), [])), key=os.fsencode)


def scan_kaggle_val(folder: Path, root: Path) -> Scan | None:
    """ImageNet's flat validation folder with Kaggle's list of its classes, or None."""
    listing = next((path for path in (root / _KAGGLE_LIST, folder / _KAGGLE_LIST) if path.is_file()), None)
    if listing is None:
        return None
    result = Scan(folder)
    with listing.open(newline="") as rows:
        for row in csv.DictReader(rows):
            wnid, name = row["PredictionString"].split()[0], f"{row['ImageId']}.JPEG"
            path = folder / name
            if _WNID.fullmatch(wnid) and path.is_file() and "/" not in name:
                result.classes.setdefault(wnid, []).append((name, path.stat().st_size))
    result.notes.append(f"classes of {folder.name}/ from {listing.name}")
    return result


def natural_order(names: list[str]) -> list[str]:
    """Class names in string order of their bytes, as torchvision sorts them."""
    return sorted(names, key=os.fsencode)


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _pictures(folder: Path, root: Path, home: Path, notes: list[str]) -> Iterator[tuple[str, int]]:
    seen: set[tuple[int, int]] = set()
    waiting, skipped = [folder], 0
    while waiting:
        current = waiting.pop()
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:
            notes.append(f"link loop at {safe_text(str(current.relative_to(root)))} ignored")
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _visible(current):
            if entry.is_symlink() and not entry.resolve().is_relative_to(home):
                notes.append(f"link out of the folder ignored: {safe_text(str(entry.relative_to(root)))}")
            elif entry.is_dir():
                waiting.append(entry)
            elif entry.suffix.lower() in EXTENSIONS:
                yield str(entry.relative_to(root)), entry.lstat().st_size
            else:
                skipped += 1
    if skipped:
        notes.append(f"{skipped} files in {safe_text(folder.name)}/ that are no pictures ignored")


def _few(names: list[str]) -> str:
    shown = ", ".join(safe_text(name) for name in sorted(names)[:5])
    return shown + (" …" if len(names) > 5 else "")
