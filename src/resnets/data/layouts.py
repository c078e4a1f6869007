"""How pictures lie on a disk: folders of classes, with or without parts, lists of files, ImageNet's flat forms."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError, UsageError, safe_text
from .folders import WNID, Scan, beside, few, part_called, part_folders, pictures_in, scan
from .imagenet import FORMS, scan_flat
from .lists import SUFFIXES, list_files, read_lists
from .sources import Files

IMAGENET = "ImageNet's folders; its validation set is the test part"


@dataclass
class Layout:
    """Classes in label order, files by part, and notes; `split` says how the data itself divides them, if it does."""

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Files]
    split: str = ""
    notes: list[str] = field(default_factory=list)


def is_list(path: Path) -> bool:
    """Whether PATH is called as a list is."""
    return path.suffix.lower() in SUFFIXES


def read_layout(place: Path, group_by: str = "", class_order: str = "string") -> Layout:
    """The pictures in a folder, or those that a list names. Raises DataError for what holds no data set.

    group_by: a column of the list, or a regular expression whose first group, or whole match, in a picture's path is
    what keeps pictures together. class_order: "string" (bytes, as torchvision), "natural" (2 before 10, as timm), or
    a file with a class a line.
    """
    scans, notes, how = _scans(place, group_by)
    classes = _classes(scans["train"], place, class_order)
    for part in ("val", "test"):
        if part in scans and not any(scans[part].classes.values()):
            notes.append(_without_classes(part, scans.pop(part), place))
    for part, found in scans.items():
        _same_classes(part, found, classes, place)
        notes += [f"{part}: {note}" for note in found.notes] if len(scans) > 1 else found.notes
    if group_by:
        notes += _group(scans, group_by, place)
    name = place.resolve().stem if place.is_file() else place.resolve().name
    parts = {part: found.source(classes) for part, found in scans.items()}
    return Layout(name, classes, parts, _told(how, list(parts), classes), notes)


def _scans(place: Path, group_by: str) -> tuple[dict[str, Scan], list[str], str]:
    """What lies in PLACE by part, notes, and how it is divided."""
    if place.is_file():
        scans = read_lists({"": place}, group_by)
        return scans, [], f"parts as in {place.name}"
    folders = part_folders(place)
    if folders:
        scans = {part: _scan_part(part, path, place) for part, path in folders.items()}
        return scans, beside(place, folders), ""
    whole = scan_flat(place, place) or scan(place)
    if lists := list_files(place):
        own = [name for name, rows in whole.classes.items() if rows and not part_called(name)]
        if len(own) < 2:
            return _from_lists(place, lists, group_by)
    return {"train": whole}, [], ""


def _scan_part(part: str, path: Path, root: Path) -> Scan:
    return (scan_flat(path, root) if part == "val" else None) or scan(path)


def _from_lists(place: Path, lists: dict[str, Path], group_by: str) -> tuple[dict[str, Scan], list[str], str]:
    scans = read_lists(lists, group_by)
    listed = {name for found in scans.values() for name in found.names()}
    others = [name for name in pictures_in(place) if name not in listed]
    names = ", ".join(path.name for path in lists.values())
    notes = [f"classes from {names}"]
    if others:
        notes.append(f"{len(others)} pictures that {names} does not list ignored: {few(others)}")
    return scans, notes, f"parts as in {names}"


def _told(how: str, parts: list[str], classes: tuple[str, ...]) -> str:
    """How the data itself is divided; empty where it is not."""
    if len(parts) == 1 or how:
        return how if len(parts) > 1 else ""
    if parts == ["train", "val"] and all(WNID.fullmatch(name) for name in classes):
        return IMAGENET
    return f"folders train, {' and '.join(parts[1:])}"


def _classes(found: Scan, place: Path, class_order: str) -> tuple[str, ...]:
    classes = sorted((name for name, rows in found.classes.items() if rows), key=os.fsencode)
    if len(classes) < 2:
        what = f"pictures of one class only ({safe_text(classes[0])})" if classes else "no class folders with pictures"
        wanted = "expected a subfolder of pictures for each of at least two classes"
        raise DataError(f"{safe_text(str(place))}: {'; '.join([what, wanted, *found.notes])}")
    if class_order in ("string", "natural"):
        return tuple(classes if class_order == "string" else sorted(classes, key=_natural))
    return _from_file(Path(class_order), classes)


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in NAME count as numbers, and case does not."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name.lower())]


def _from_file(path: Path, classes: list[str]) -> tuple[str, ...]:
    where = safe_text(str(path))
    try:
        lines = path.read_text("utf-8-sig", errors="surrogateescape").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"the order of classes is string, natural or a file of names; cannot read {where}") from error
    order = [line for line in lines if line.strip()]
    missing, extra = set(classes) - set(order), set(order) - set(classes)
    if missing or len(order) != len(classes):
        twice = {name for name in order if order.count(name) > 1}
        what = {"lacks": missing, "has, but the data has not:": extra, "names twice": twice}
        raise DataError(f"{where} {'; '.join(f'{how} {few(names)}' for how, names in what.items() if names)}")
    return tuple(order)


def _without_classes(part: str, found: Scan, place: Path) -> str:
    """The note about a val or test folder that has no class folders; loose pictures in val are an error."""
    if part == "val" and found.loose:
        what = f"{found.loose} pictures of val lie in no class folder"
        wanted = f"{', '.join([*FORMS][:-1])} or {[*FORMS][-1]}"
        raise DataError(f"{safe_text(str(place))}: {what}; ImageNet's flat form needs one of its lists: {wanted}")
    return f"{part} has no class folders with pictures and is ignored"


def _same_classes(part: str, found: Scan, classes: tuple[str, ...], place: Path) -> None:
    known = set(classes)
    extra = [name for name, rows in found.classes.items() if rows and name not in known]
    if extra:
        raise DataError(
            f"{safe_text(str(place))}: {part} has classes that train lacks: {few(extra)}; add or remove them"
        )
    missing = [name for name in classes if not found.classes.get(name)]
    if missing:
        found.notes.append(f"lacks {len(missing)} of {len(classes)} classes: {few(missing)}")


def _group(scans: dict[str, Scan], group_by: str, place: Path) -> list[str]:
    """Give every picture the key of its group; notes on them, and on groups in more than one part."""
    if not any(found.groups for found in scans.values()):
        try:
            form = re.compile(group_by)
        except re.error as error:
            what = f"group_by '{safe_text(group_by)}' is no column, and no regular expression: {error}"
            raise UsageError(f"{safe_text(str(place))}: {what}") from error
        for found in scans.values():
            found.groups |= {name: _key(form, name, place) for name in sorted(found.names(), key=os.fsencode)}
    keys = {part: set(found.groups.values()) for part, found in scans.items()}
    count = len(set.union(*keys.values()))
    notes = [f"{count} groups by {safe_text(group_by)}, each kept in one part of a split made here"]
    shared = {
        key for part, mine in keys.items() for other, theirs in keys.items() if part < other for key in mine & theirs
    }
    return [*notes, f"{len(shared)} groups lie in several parts of the data: {few(shared)}"] if shared else notes


def _key(form: re.Pattern[str], name: str, place: Path) -> str:
    found = form.search(name)
    if found is None:
        what = f"group_by '{safe_text(form.pattern)}' is no column and is not found in {safe_text(name)}"
        wanted = "give a regular expression that is in the path of every picture"
        raise DataError(f"{safe_text(str(place))}: {what}; {wanted}")
    return (found[1] if form.groups else None) or found[0]
