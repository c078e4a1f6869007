"""Class folders: what lies in a folder of pictures, one subfolder a class, with or without parts."""

import os
import re
from collections.abc import Iterable, Iterator
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
WNID = re.compile(r"n\d{8}")
_OUT = "links out of the folder"


@dataclass
class Scan:
    """The pictures of one part by class name, and what was passed over; `groups` is what keeps pictures together."""

    root: Path
    classes: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    loose: int = 0  # pictures beside the class folders
    groups: dict[str, str] = field(default_factory=dict)

    def names(self) -> Iterator[str]:
        """Every picture, relative to the root."""
        return (name for rows in self.classes.values() for name, _ in rows)

    def source(self, classes: tuple[str, ...]) -> Files:
        """The files as a source whose labels count through CLASSES; names sorted by bytes."""
        rows = [
            (name, size, label)
            for label, c in enumerate(classes)
            for name, size in sorted(self.classes.get(c, []), key=lambda row: os.fsencode(row[0]))
        ]
        labels = np.array([label for _, _, label in rows], dtype=np.int64)
        names = tuple(row[0] for row in rows)
        groups = tuple(self.groups[name] for name in names) if self.groups else ()
        return Files(self.root, names, tuple(row[1] for row in rows), labels, groups)


def part_called(name: str) -> str:
    """The part that NAME usually means: train, val or test; empty for none."""
    return next((part for part, names in PARTS.items() if name.lower() in names), "")


def part_folders(root: Path) -> dict[str, Path]:
    """The subfolders of ROOT that are called train, val or test or one of their usual other names.

    None where nothing is called train, or where that is a class: it has pictures and no folders.
    """
    found: dict[str, Path] = {}
    folders = sorted(_folders(root))
    for entry in folders:
        part = part_called(entry.name)
        if part in found:
            both = f"both '{found[part].name}' and '{entry.name}' are {part} folders; keep one"
            raise DataError(safe_text(f"{root}: {both}"))
        if part:
            found[part] = entry
    if found and "train" not in found and len(found) == len(folders):
        raise DataError(safe_text(f"{root}: has {' and '.join(found)}, but no train folder"))
    if "train" not in found or not _folders(found["train"]):
        return {}
    return {part: found[part] for part in PARTS if part in found}


def beside(root: Path, parts: dict[str, Path]) -> list[str]:
    """Notes about the folders in ROOT that are none of PARTS, and about links out of it, if there are any."""
    home, passed = root.resolve(), dict[str, list[str]]()
    for entry in _visible(root):
        if entry.is_symlink() and _refusal(entry.path, home) == _OUT:
            passed.setdefault(_OUT, []).append(entry.name)
        elif Path(entry.path).is_dir() and Path(entry.path) not in parts.values():
            passed.setdefault("folders beside train", []).append(entry.name)
    return ignored(passed) if parts else []


def scan(folder: Path) -> Scan:
    """The class folders below FOLDER.

    Hidden entries are ignored, and links to folders, which lead out, round, or to what is listed anyway; links to
    files are followed inside FOLDER.
    """
    result, passed = Scan(folder), dict[str, list[str]]()
    home = folder.resolve()
    for entry in _visible(folder):
        if entry.is_symlink() and Path(entry.path).is_dir():
            passed.setdefault(_refusal(entry.path, home), []).append(entry.name)
        elif Path(entry.path).is_dir():
            result.classes[entry.name] = list(_pictures(entry.name, folder, passed))
        else:
            passed.setdefault("files beside the class folders", []).append(entry.name)
            result.loose += _is_picture(entry.name)
    empty = [name for name, rows in result.classes.items() if not rows]
    if empty:
        result.notes.append(f"{len(empty)} empty class folders: {few(empty)}")
    result.notes += ignored(passed)
    return result


def pictures_in(folder: Path) -> list[str]:
    """The pictures anywhere below FOLDER, relative to it, sorted by bytes."""
    return sorted((name for name, _ in _pictures("", folder, {})), key=os.fsencode)


def flat_pictures(folder: Path) -> dict[str, int] | None:
    """Sizes of the pictures that lie in FOLDER itself, None where it has folders."""
    return None if _folders(folder) else dict(_pictures("", folder, {}))


def ignored(passed: dict[str, list[str]]) -> list[str]:
    """A note for everything that was passed over, by what it is."""
    return [f"{len(names)} {what} ignored: {few(names)}" for what, names in sorted(passed.items()) if names]


def few(names: Iterable[str]) -> str:
    """The first five of NAMES, for people."""
    names = sorted(names, key=os.fsencode)
    return ", ".join(map(safe_text, names[:5])) + (" …" if len(names) > 5 else "")


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read {safe_text(str(folder))}: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    """The folders in FOLDER, but for links out of it."""
    home = folder.resolve()
    inside = (e for e in _visible(folder) if not (e.is_symlink() and _refusal(e.path, home) == _OUT))
    return [path for entry in inside if (path := Path(entry.path)).is_dir()]


def _pictures(inner: str, root: Path, passed: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Path relative to ROOT and size of every picture in its folder INNER; what else is there goes into PASSED."""
    home = root.resolve()
    waiting = [inner]
    while waiting:
        within = waiting.pop()
        for entry in _visible(root / within):
            name = f"{within}/{entry.name}" if within else entry.name
            refusal = _refusal(entry.path, home) if entry.is_symlink() else ""
            if refusal:
                passed.setdefault(refusal, []).append(name)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif _is_picture(entry.name):
                yield name, _size(entry)
            else:
                passed.setdefault("files that are no pictures", []).append(name)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path for each of a million files is slow


def _refusal(link: str, home: Path) -> str:
    real = Path(os.path.realpath(link))  # Path.resolve raises for a link to itself
    if not real.is_relative_to(home):
        return _OUT
    return "links to folders" if real.is_dir() else ""


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing, which reading will name
        return 0
