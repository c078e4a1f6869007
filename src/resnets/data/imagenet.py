"""ImageNet's validation pictures in one flat folder: the lists that say their classes, as they are published."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import DataError, safe_text
from .folders import WNID, Scan, few, flat_pictures, ignored

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")
_DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit/data")
_SYNSETS = ("synsets.txt", "synset_words.txt", "LOC_synset_mapping.txt")  # in caffe's order: that of their ids
_TABLES = ("map_clsloc.txt", "meta.txt", "synsets.txt", "meta.mat")  # of the devkit's numbers
_MAX_META = 4 << 20  # bytes of meta.mat, which has 0.3 million


def scan_flat(folder: Path, root: Path) -> Scan | None:
    """The validation pictures in FOLDER by the list that lies there, in ROOT or in a devkit beside; None without one.

    Raises DataError for a list that is not in its form, or that lacks the table which tells what its numbers mean.
    """
    listing = find(root, folder, tuple(FORMS))
    sizes = flat_pictures(folder) if listing else None
    if listing is None or sizes is None:
        return None
    result, missing = Scan(folder), list[str]()
    for name, wnid in FORMS[listing.name](listing, sizes, root).items():
        if name in sizes:
            result.classes.setdefault(wnid, []).append((name, sizes.pop(name)))
        else:
            missing.append(name)
    if not result.classes:
        return None
    unlisted = ignored({f"pictures that {listing.name} does not list": [*sizes]})
    result.notes = [f"classes of {safe_text(folder.name)}/ from {listing.name}", *unlisted]
    if missing:
        result.notes.append(f"{len(missing)} pictures of {listing.name} are missing: {few(missing)}")
    return result


def find(root: Path, folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first file of one of NAMES in ROOT, in FOLDER, in a devkit, or above Kaggle's ILSVRC/Data/CLS-LOC."""
    kaggle = [root.resolve().parents[2]] if root.resolve().parts[-2:] == ("Data", "CLS-LOC") else []
    places = [root, folder, *(root / devkit for devkit in _DEVKITS), *kaggle]
    return next((path for name in names for place in places if (path := place / name).is_file()), None)


def _kaggle(listing: Path, sizes: dict[str, int], root: Path) -> dict[str, str]:
    """Rows like `ILSVRC2012_val_00048981,n03995372 85 1 499 272`."""
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            rows = {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (OSError, ValueError, LookupError, AttributeError, csv.Error) as error:
        raise DataError(f"{safe_text(str(listing))} is not Kaggle's list of ImageId,PredictionString") from error
    if strange := [wnid for wnid in rows.values() if not WNID.fullmatch(wnid)]:
        raise DataError(f"{safe_text(str(listing))}: {safe_text(strange[0])} is no WordNet id")
    return rows


def _caffe(listing: Path, sizes: dict[str, int], root: Path) -> dict[str, str]:
    """Rows like `ILSVRC2012_val_00000001.JPEG 65`: a place, from 0, in the sorted list of WordNet ids."""
    rows = _lines(listing, r"(\S+)\s+(\d{1,4}|n\d{8})")
    if all(WNID.fullmatch(label) for _, label in rows):
        return {row[0]: row[1] for row in rows}
    table = find(root, listing.parent, _SYNSETS)
    if table is None:
        raise _lacks(listing, "places in a list of classes", _SYNSETS)
    synsets = [wnid for (wnid,) in _lines(table, r"(n\d{8})(?:\s.*)?")]
    for line, (_, label) in enumerate(rows, 1):
        if not label.isdigit() or int(label) >= len(synsets):
            place = f"{safe_text(str(listing))}:{line}"
            raise DataError(f"{place}: label {label} is not in 0 … {len(synsets) - 1}, the classes of {table.name}")
    return {name: synsets[int(label)] for name, label in rows}


def _devkit(listing: Path, sizes: dict[str, int], root: Path) -> dict[str, str]:
    """One ILSVRC id a line, in the order of the pictures' numbers."""
    path = next((p for name in _TABLES if (p := find(root, listing.parent, (name,))) and _is_table(p)), None)
    if path is None:
        raise _lacks(listing, "the devkit's own numbers", _TABLES)
    table = _matlab(path) if path.suffix == ".mat" else _numbers(path)
    wnids = list[str]()
    for line, (number,) in enumerate(_lines(listing, r"(\d{1,4})"), 1):
        if int(number) not in table:
            raise DataError(f"{safe_text(str(listing))}:{line}: class {number} is not in {path.name}")
        wnids.append(table[int(number)])
    return _numbered(wnids, sizes)


def _numbers(path: Path) -> dict[int, str]:
    """WordNet ids by the devkit's numbers, from lines like `n02119789 1 kit_fox` or `1 n02119789`."""
    found = _lines(path, r"(?:(\d{1,4})\s+(n\d{8})|(n\d{8})\s+(\d{1,4}))(?:\s.*)?")
    return {int(first or last): wnid or other for first, wnid, other, last in found}


def _matlab(path: Path) -> dict[int, str]:
    """The same from the devkit's meta.mat: its `synsets`, of which every row has ILSVRC2012_ID and WNID."""
    from scipy.io import loadmat

    try:
        if path.stat().st_size > _MAX_META:
            raise ValueError(f"more than {_MAX_META >> 20} MB")
        rows = loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        table = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    except Exception as error:  # SciPy raises whatever the damage leads to
        raise DataError(f"{safe_text(str(path))} is not the devkit's: {safe_text(str(error))}") from error
    return {number: wnid for number, wnid in table.items() if WNID.fullmatch(wnid)}


def _tensorflow(listing: Path, sizes: dict[str, int], root: Path) -> dict[str, str]:
    """One WordNet id a line, in the order of the pictures' numbers."""
    return _numbered([wnid for (wnid,) in _lines(listing, r"(n\d{8})")], sizes)


FORMS: dict[str, Callable[[Path, dict[str, int], Path], dict[str, str]]] = {
    "LOC_val_solution.csv": _kaggle,
    "imagenet_2012_validation_synset_labels.txt": _tensorflow,
    "synset_labels.txt": _tensorflow,
    "ILSVRC2012_validation_ground_truth.txt": _devkit,
    "val.txt": _caffe,
}


def _numbered(wnids: list[str], sizes: dict[str, int]) -> dict[str, str]:
    """The class of picture 1, 2, …: pictures are found by the number in their name."""
    names = {int(found[1]): name for name in sizes if (found := _NUMBER.match(name))}
    return {names.get(n, f"ILSVRC2012_val_{n:08}.JPEG"): wnid for n, wnid in enumerate(wnids, 1)}


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        return (
            path.suffix == ".mat" or re.match(rb"\d{1,4}\s+n\d{8}|n\d{8}\s+\d{1,4}\b", file.readline(1000)) is not None
        )


def _lacks(listing: Path, numbers: str, names: tuple[str, ...]) -> DataError:
    wanted = f"put {', '.join(names[:-1])} or {names[-1]} beside it"
    return DataError(f"{safe_text(str(listing))} holds {numbers}; {wanted}")


def _lines(path: Path, form: str) -> list[tuple[str, ...]]:
    """The groups of FORM in every line. Raises DataError for the first line of another form."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{safe_text(str(path))} cannot be read as a list: {safe_text(str(error))}") from error
    found = list[tuple[str, ...]]()
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(form, line.strip())
        if match is None:
            raise DataError(f"{safe_text(str(path))}:{number}: unknown form: '{safe_text(line[:60])}'")
        found.append(match.groups())
    return found
