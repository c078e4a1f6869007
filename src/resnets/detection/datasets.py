"""Detection sets: a name, a folder or a file becomes classes and parts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data.folders import PARTS
from ..data.lists import SUFFIXES
from ..data.randomness import fold
from ..errors import DataError, UsageError, safe_text, unknown
from . import boxlist, coco, voc
from .annotated import Account, Annotated, Photographs, photographed
from .objects import DetectionSet
from .scenes import STYLES, digit_scenes

LAYOUTS = (
    "VOC's Annotations and JPEGImages, COCO's annotations/instances_train2017.json or one annotations.json, "
    "or boxes.csv with file,label,x1,y1,x2,y2"
)
Found = tuple[dict[str, list[Annotated]], dict[str, dict[int, str]]]  # pictures and COCO's categories, by part


def open_detection(
    data: str,
    max_bad: float = 0.01,
    parts: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> DetectionSet:
    """The set called DATA (digits-scene, digits-single), in the folder DATA, or that a .json or .csv file DATA tells.

    A folder with several VOC folders is named with what the literature calls their union: VOCdevkit:07+12.
    parts: what train, val and test are, as {"train": "VOC2007:trainval+VOC2012:trainval", "test": "VOC2007:test"} or
    {"train": "train2014", "val": "val2014"}; what is not named does not exist. Without parts in the data, SEED divides.
    classes: the only ones that are known, in the order of their labels; without, those of the training part.
    Raises DataError where more than the fraction `max_bad` of pictures or of boxes cannot be used.
    """
    if data in STYLES:
        if parts or classes:
            raise UsageError(f"{data} has its own parts and classes")
        return digit_scenes(data)
    place, union = _place(data)
    if odd := sorted(set(parts or ()) - set(PARTS)):
        raise UsageError(f"part '{safe_text(odd[0])}' is none of train, val and test")
    if union and parts:
        raise UsageError(f"give either {safe_text(data)} or parts, not both")
    account = Account()
    root = _root(place)
    found, categories = _read(place, root, voc.joined_parts(root, union) if union else parts or {}, account)
    if set(found) == {""}:
        found = _divided(found[""], seed, account)
        categories = dict.fromkeys(PARTS, categories.get("", {}))
    known = tuple(classes or (categories.get("train") or next(iter(categories.values()), {})).values()) or _names(found)
    made = {part: _part(root, part, found[part], (known, categories.get(part, {})), account) for part in found}
    name = place.resolve().stem if place.is_file() else ":".join(filter(None, (root.name, union)))
    return _closed(safe_text(name), known, made, account, max_bad)


def is_detection(data: str) -> bool:
    """Whether DATA is a detection set by its name or its layout; a list is one where its head tells of corners."""
    place = Path(data.rpartition(":")[0] if data.rpartition(":")[2] in voc.JOINED else data)
    if data in STYLES or place.suffix.lower() == ".json":
        return True
    if not os.path.isdir(place):  # noqa: PTH112 - Path.is_dir raises for odd names
        return place.suffix.lower() in SUFFIXES and boxlist.has_corners(place)
    table = boxlist.find(place)
    known = voc.layout_of(place), table and boxlist.has_corners(table), any(place.glob("VOC20*/Annotations"))
    return any(known) or any((place / "annotations").glob("*.json")) or (place / "annotations.json").is_file()


def _place(data: str) -> tuple[Path, str]:
    """The folder or file DATA, and the union of VOC folders that is meant."""
    place, _, union = data.rpartition(":")
    if place and union in voc.JOINED and os.path.isdir(place):  # noqa: PTH112 - Path.is_dir raises for odd names
        return Path(place), union
    if not os.path.exists(data):  # noqa: PTH110
        if "/" in data or "." in data:
            raise DataError(f"{safe_text(data)} does not exist; give a folder with {LAYOUTS}; or {', '.join(STYLES)}")
        raise unknown("detection set or folder", data, STYLES)
    if not (place := Path(data)).is_dir() and place.suffix.lower() not in (".json", *SUFFIXES):
        raise DataError(f"{safe_text(data)} is no detection set; give a folder, a .json or a .csv file")
    return place, ""


def _root(place: Path) -> Path:
    """The folder that all names are relative to, and stay in."""
    if place.is_dir():
        return place.resolve()
    parent = place.parent.resolve()
    return parent.parent if parent.name == "annotations" and place.suffix.lower() == ".json" else parent


def _read(place: Path, root: Path, parts: Mapping[str, str], account: Account) -> Found:
    """What lies in PLACE, by part; "" is what is not divided."""
    layout = voc.layout_of(root) if place.is_dir() else None
    if layout or any(":" in told for told in parts.values()):
        told = parts or (layout and voc.usual_parts(layout)) or {"": ""}
        return {part: voc.read_sets(root, sets, account) for part, sets in told.items()}, {}
    table = boxlist.find(root) if place.is_dir() else place if place.suffix.lower() in SUFFIXES else None
    if table and not parts:
        return boxlist.read_list(table, account), {}
    alone = {} if place.is_dir() else {"": os.path.relpath(place.parent.resolve() / place.name, root)}
    told = parts or alone or coco.usual_parts(root)
    if table or not told:
        raise _unrecognised(place, table)
    return _read_coco(root, told, account)


def _unrecognised(place: Path, table: Path | None) -> DataError | UsageError:
    where = safe_text(str(place))
    if table:
        return UsageError(f"{where} is a list; its column part says what train, val and test are")
    years = ", ".join(path.name for path in sorted(place.glob("VOC20*"))) if place.is_dir() else ""
    if years:
        return UsageError(f"{where} has {safe_text(years)}; say which: {where}:{f' or {where}:'.join(voc.JOINED)}")
    return DataError(f"{where} is no detection set; expected {LAYOUTS}")


def _read_coco(root: Path, parts: Mapping[str, str], account: Account) -> Found:
    found = {part: coco.read_sets(root, told, account) for part, told in parts.items()}
    return {part: one.pictures for part, one in found.items()}, {part: one.categories for part, one in found.items()}


def _names(found: Mapping[str, list[Annotated]]) -> tuple[str, ...]:
    """The names of the classes of the training part, of all parts where nothing trains."""
    return voc.class_names(found.get("train") or [picture for part in found.values() for picture in part])


def _divided(pictures: list[Annotated], seed: int, account: Account) -> dict[str, list[Annotated]]:
    """15 % test, 15 % validate; where a picture goes depends on the seed and its own name."""
    order = sorted(pictures, key=lambda picture: (fold(seed, "split", picture.name), picture.name))
    held = round(0.15 * len(order))
    parts = {"train": order[2 * held :], "val": order[held : 2 * held], "test": order[:held]}
    counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    account.notes.append(f"split of {len(order)} pictures, seed {seed}: {counts}")
    return {name: sorted(part, key=lambda picture: os.fsencode(picture.name)) for name, part in parts.items()}


def _part(
    root: Path,
    part: str,
    pictures: list[Annotated],
    known: tuple[tuple[str, ...], Mapping[int, str]],
    account: Account,
) -> Photographs:
    classes, categories = known
    labels = {name: label for label, name in enumerate(classes, 1)}
    if not categories:
        pictures = [replace(picture, image_id=number) for number, picture in enumerate(pictures, 1)]
    account.clipped = 0
    photographs = photographed(root, pictures, labels, account)
    empty = sum(not len(told.objects) for told in photographs)
    if empty:
        account.notes.append(f"{part}: {empty} of {len(photographs)} pictures have no boxes and are kept as negatives")
    if account.clipped:
        account.notes.append(f"{part}: {account.clipped} boxes reached up to a pixel over the edge and were clipped")
    outlined = any(outline is not None for told in photographs for outline in told.outlines)
    if outlined and (bare := sum(outline is None for told in photographs for outline in told.outlines)):
        account.notes.append(f"{part}: {bare} objects have no outline; their box is their mask")
    ids, new = {name: key for key, name in categories.items()}, max(categories, default=0)
    return Photographs(root, photographs, tuple(ids.get(name, new + k) for k, name in enumerate(classes, 1)), outlined)


def _closed(
    name: str, classes: tuple[str, ...], made: dict[str, Photographs], account: Account, max_bad: float
) -> DetectionSet:
    """The set, after what was left out was found to be little."""
    bad = account.close(max_bad)
    learnt = made.get("train") if made else Photographs(Path(), (), ())
    if learnt is not None and not any(len(told.objects) for told in learnt.photographs):
        raise DataError(f"{name}: no box in the training part; nothing can be learnt from it")
    names = {part: {told.name for told in one.photographs} for part, one in made.items()}
    for part, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := names.get(part, set()) & names.get(other, set()):
            account.notes.append(f"{len(both)} pictures are in both {part} and {other}")
    train, val, test = (made.get(part) for part in ("train", "val", "test"))
    train = train or (val or test or next(iter(made.values()))).subset([])
    val, test = (one if one is not None and len(one) else None for one in (val, test))
    return DetectionSet(name, classes, train, val, test, tuple(account.notes), bad)
