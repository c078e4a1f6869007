"""PASCAL VOC's layout: Annotations/ID.xml, JPEGImages/ID.jpg, ImageSets/Main/SET.txt (Everingham et al. 2010).

A box is kept as [xmin − 1, xmax], [ymin − 1, ymax]. Where xmax is xmin, the annotator clicked without drawing: zero
area. Numbers with a fraction are read, as VOC 2011 has them. The names in an annotation never become paths.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..data.folders import PARTS
from ..data.images import EXTENSIONS, Limits, read_bytes
from ..data.lists import inside
from ..errors import DataError, safe_text
from .annotated import Account, Annotated, Box, Mark, size_told, true_size
from .markup import Element, parse

JOINED = {  # as the literature calls them → folder and set of each part; he2015 trains with 07+12 and 07++12
    "07": {"train": "VOC2007:trainval", "test": "VOC2007:test"},
    "12": {"train": "VOC2012:train", "val": "VOC2012:val"},
    "07+12": {"train": "VOC2007:trainval+VOC2012:trainval", "test": "VOC2007:test"},
    "07++12": {"train": "VOC2007:trainval+VOC2007:test+VOC2012:trainval", "test": "VOC2012:test"},
}
_NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,20})?|\.\d{1,20})(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_LIST = Limits(max_bytes=100_000_000)
_XML = Limits(max_bytes=1 << 18)
_FOLDERS = {"xml": ("Annotations", "annotations"), "pictures": ("JPEGImages", "images", "Images")}


@dataclass(frozen=True)
class Layout:
    """The folders of annotations and pictures of a VOC folder, relative to the data's root."""

    root: Path
    folder: str
    xml: str
    pictures: str


def layout_of(root: Path, folder: str = "") -> Layout | None:
    """VOC's folders in FOLDER of ROOT, None where they are not there."""
    found = {}
    for what, names in _FOLDERS.items():
        there = [name for name in names if (root / folder / name).is_dir()]
        if not there:
            return None
        found[what] = os.path.normpath(f"{folder or '.'}/{there[0]}")
    has_xml = any(entry.name.endswith(".xml") for entry in os.scandir(root / found["xml"]))
    return Layout(root, folder, **found) if has_xml else None


def usual_parts(layout: Layout) -> dict[str, str]:
    """The sets of ImageSets/Main by part: train, val and test, of trainval where there is no train; {} without any."""
    lists = layout.root / layout.folder / "ImageSets" / "Main"
    there = {path.stem for path in lists.glob("*.txt")} if lists.is_dir() else set()
    parts = {part: part for part in PARTS if part in there}
    return {"train": "trainval", **parts} if "trainval" in there and "train" not in there else parts


def read_sets(root: Path, told: str, account: Account) -> list[Annotated]:
    """The pictures of TOLD, sets of ROOT or FOLDER:SET below it, joined by +; "" is every annotation in ROOT.

    ROOT is resolved. Raises DataError for a set that is not there.
    """
    found: dict[str, Annotated] = {}
    for one in told.split("+"):
        folder, _, name = one.rpartition(":")
        layout = layout_of(root, folder) if Path(os.path.realpath(root / folder)).is_relative_to(root) else None
        if layout is None:
            where = safe_text(str(root / folder))
            raise DataError(f"{where} has no Annotations with XML files beside JPEGImages; give a VOC folder")
        found |= {picture.name: picture for picture in _read(layout, name, account)}
    return list(found.values())


def _read(layout: Layout, name: str, account: Account) -> list[Annotated]:
    """The pictures of one set; a set without any annotation, as published test sets, has none."""
    listed, where = _listed(layout, name) if name else _everything(layout)
    lines: dict[str, int] = {}
    for line, picture in listed:
        if lines.setdefault(picture, line) != line:
            account.drop_picture(f"{where}:{line}", f"{picture} is listed in line {lines[picture]} already")
    bare = [picture for picture in lines if not _has(layout, picture)]
    if len(bare) == len(lines):
        account.notes.append(f"{safe_text(where)} lists {len(lines)} pictures without annotations and is ignored")
        return []
    account.pictures += len(lines)
    found = list[Annotated]()
    for picture, line in lines.items():
        try:
            found.append(_annotated(layout, picture, account))
        except (DataError, ValueError) as error:
            account.drop_picture(f"{where}:{line}", error)
    return found


def _has(layout: Layout, picture: str) -> bool:
    with suppress(DataError):
        return bool(inside(layout.root, f"{layout.xml}/{picture}.xml"))
    return False


def _everything(layout: Layout) -> tuple[Iterator[tuple[int, str]], str]:
    names = sorted((path.stem for path in (layout.root / layout.xml).glob("*.xml")), key=os.fsencode)
    return iter(enumerate(names, 1)), layout.xml


def _listed(layout: Layout, name: str) -> tuple[Iterator[tuple[int, str]], str]:
    """(line, id) of every picture of a set, and where they are listed."""
    where = os.path.normpath(f"{layout.folder or '.'}/ImageSets/Main/{name}.txt")
    try:
        path, _ = inside(layout.root, where)
        text = read_bytes(layout.root / path, _LIST).decode("utf-8-sig")
    except (DataError, UnicodeDecodeError) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise DataError(f"set '{safe_text(name)}': {safe_text(where)} {reason}") from error
    rows = ((line, row.strip()) for line, row in enumerate(text.split("\n"), 1))
    return ((line, row) for line, row in rows if row), where


def _annotated(layout: Layout, picture: str, account: Account) -> Annotated:
    """What the XML of a picture says. Raises DataError or ValueError with the reason why it cannot be used."""
    name, size_in_bytes = _picture(layout, picture)
    try:
        path, _ = inside(layout.root, f"{layout.xml}/{picture}.xml")
        top = parse(read_bytes(layout.root / path, _XML))
    except (DataError, ValueError) as error:
        raise DataError(f"{layout.xml}/{picture}.xml {error}") from error
    marks = list[Mark]()
    for element in top.all("object"):
        account.boxes += 1
        try:
            marks.append(_mark(element))
        except ValueError as error:
            account.drop_box(f"{path}:{element.line}", error)
    size = _told_size(top) or _true_size(layout, name)
    return Annotated(name, size_in_bytes, size, 0, f"{path}:", tuple(marks))


def _true_size(layout: Layout, name: str) -> tuple[int, int]:
    try:
        return true_size(layout.root / name)
    except DataError as error:
        raise DataError(f"{name} {error}") from error


def _picture(layout: Layout, picture: str) -> tuple[str, int]:
    first: DataError | None = None
    for end in (".jpg", *sorted(EXTENSIONS - {".jpg"}), ".JPG", ".JPEG", ".PNG"):
        try:
            return inside(layout.root, f"{layout.pictures}/{picture}{end}")
        except DataError as error:
            first = first or error
    raise DataError(f"{layout.pictures}/{picture}.jpg {first}")


def _told_size(top: Element) -> tuple[int, int] | None:
    try:
        size = top.one("size")
        return size_told(int(_number(size, "width")), int(_number(size, "height")))
    except ValueError:
        return None


def _mark(element: Element) -> Mark:
    """One object. ValueError says what its tags lack."""
    label = element.one("name").text
    if not label or len(label) > 200:
        raise ValueError("an empty name" if not label else "a name of more than 200 characters")
    difficult = element.one("difficult").text if element.all("difficult") else "0"
    if difficult not in ("0", "1"):
        raise ValueError(f"difficult is '{difficult[:20]}', neither 0 nor 1")
    return Mark(element.line, label, _box(element.one("bndbox")), difficult == "1")


def _box(element: Element) -> Box:
    x1, y1, x2, y2 = (_number(element, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    if x1 == x2 or y1 == y2:
        same, value = ("xmin and xmax", x1) if x1 == x2 else ("ymin and ymax", y1)
        raise ValueError(f"zero area: {same} are both {value:g}")
    if x1 > x2 or y1 > y2:
        raise ValueError(f"reversed corners: xmin, ymin, xmax, ymax are {x1:g}, {y1:g}, {x2:g}, {y2:g}")
    return x1 - 1, y1 - 1, x2, y2


def _number(element: Element, tag: str) -> float:
    text = element.one(tag).text
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{tag} is '{text[:20]}', not a number")
    return value


def joined_parts(root: Path, name: str) -> Mapping[str, str]:
    """The parts of JOINED that are there: a test set whose annotations are not published is left out."""
    parts = dict(JOINED[name])
    folder, _, listed = parts.get("test", "").rpartition(":")
    if folder and not (root / folder / "ImageSets" / "Main" / f"{listed}.txt").is_file():
        del parts["test"]
    return parts


def class_names(pictures: Sequence[Annotated]) -> tuple[str, ...]:
    """The names of all marked objects, sorted by bytes."""
    return tuple(sorted({mark.label for picture in pictures for mark in picture.marks}, key=os.fsencode))
