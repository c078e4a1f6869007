"""COCO's instances in JSON: images, annotations with x, y, width, height, categories whose ids have gaps.

Every record is checked by itself; what cannot be used is left out and named.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..data.folders import part_called
from ..data.lists import inside
from ..errors import DataError, safe_text
from .annotated import Account, Annotated, Mark, size_told, true_size
from .masks import outline_of
from .records import Record, as_record, categories_of, corners, number, read_json, records, shown, whole

_USUAL = ("_annotations.coco.json", "annotations.json", "instances.json")
_Images = dict[int, tuple[str, int, tuple[int, int]]]  # path, size in bytes and (width, height) by id


@dataclass
class Found:
    """The categories by id, in the order of the ids, and the pictures of one or several files."""

    categories: dict[int, str] = field(default_factory=dict)
    pictures: list[Annotated] = field(default_factory=list)


def usual_parts(root: Path) -> dict[str, str]:
    """Annotation files below ROOT by part, "" for one that holds all; {} where none is called as usual.

    Raises DataError where several are called alike, as train2014 and train2017.
    """
    parts: dict[str, str] = {}
    for path in sorted((root / "annotations").glob("instances_*.json")):
        part = next((part for part in ("train", "val", "test") if path.stem.startswith(f"instances_{part}")), "")
        if part in parts:
            both = f"{Path(parts[part]).name} and {path.name}"
            raise DataError(safe_text(f"{root}: both {both} are there; say which is which, as train=train2014"))
        if part:
            parts[part] = f"annotations/{path.name}"
    for folder in sorted(root.iterdir()):
        part, file = part_called(folder.name), next((name for name in _USUAL if (folder / name).is_file()), "")
        if part and file:
            parts.setdefault(part, f"{folder.name}/{file}")
    alone = [name for name in _USUAL if (root / name).is_file()] or [path.name for path in root.glob("*.json")]
    return parts or ({"": alone[0]} if len(alone) == 1 else {})


def read_sets(root: Path, told: str, account: Account) -> Found:
    """The pictures of TOLD: files below ROOT, or sets as train2014 of annotations/, joined by +. ROOT is resolved.

    Raises DataError for a file that is not there or not COCO's, and for files with other categories or the same ids.
    """
    whole_set = Found()
    for name in told.split("+"):
        path = name if (root / name).is_file() else f"annotations/instances_{name}.json"
        found = _read(root, path, account)
        if whole_set.categories and found.categories != whole_set.categories:
            raise DataError(f"{safe_text(path)} has other categories than the files before; they cannot be joined")
        both = {picture.image_id for picture in whole_set.pictures} & {picture.image_id for picture in found.pictures}
        if both:
            raise DataError(f"{safe_text(path)} has image {min(both)} like a file before; they cannot be joined")
        whole_set = Found(found.categories, whole_set.pictures + found.pictures)
    return whole_set


def _read(root: Path, path: str, account: Account) -> Found:
    where = safe_text(path)
    try:
        path, _ = inside(root, path)
    except DataError as error:
        raise DataError(f"{where} {error}") from error
    value = read_json(root / path, path)
    categories, images = categories_of(value, where), records(value, "images", where)
    if isinstance(value, dict) and "annotations" not in value:
        account.notes.append(f"{where} has {len(images)} pictures without annotations and is ignored")
        return Found(categories)
    annotations = records(value, "annotations", where)
    account.pictures += len(images)
    account.boxes += len(annotations)
    found, bad = _images(root, path, images, account)
    marks = _marks(annotations, categories, (found, bad), (where, account))
    pictures = [Annotated(*told, key, f"{where} annotation ", tuple(marks[key])) for key, told in found.items()]
    return Found(categories, pictures)


def _images(root: Path, path: str, images: list[object], account: Account) -> tuple[_Images, set[int]]:
    """Path, size in bytes and (width, height) of every picture by its id, and the ids of those left out."""
    found: _Images = {}
    names, bad, folder = dict[str, int](), set[int](), _folder(root, path, images)
    for place, entry in enumerate(images):
        where, key = f"{path} image number {place}", -1
        try:
            record = as_record(entry)
            key = whole(record, "id")
            where = f"{path} image {key}"
            if key in found:
                raise ValueError("the id of another image")
            told = _image(root, folder, record)
            if names.setdefault(told[0], key) != key:
                raise ValueError(f"{told[0]} is image {names[told[0]]} already")
        except (DataError, ValueError) as error:
            bad.add(key)
            account.drop_picture(where, error)
            continue
        found[key] = told
    return found, bad - found.keys()


def _image(root: Path, folder: str, record: Record) -> tuple[str, int, tuple[int, int]]:
    file_name = record.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise ValueError(f"file_name is {shown(file_name)}, not a name")
    try:
        name, size_in_bytes = inside(root, f"{folder}/{file_name}")
        if "width" not in record and "height" not in record:
            return name, size_in_bytes, true_size(root / name)
    except DataError as error:
        raise DataError(f"{safe_text(file_name[:100])} {error}") from error
    size = size_told(whole(record, "width"), whole(record, "height"))
    if size is None:
        raise ValueError(f"{safe_text(file_name[:100])} cannot be {record['width']} x {record['height']}")
    return name, size_in_bytes, size


def _folder(root: Path, path: str, images: list[object]) -> str:
    """The folder below ROOT in which the first pictures are: called as the set, beside the file, or any other."""
    own = Path(path).stem.removeprefix("instances_")
    told = [own, f"images/{own}", os.path.dirname(path) or ".", ".", "images"]  # noqa: PTH120
    others = [str(entry.relative_to(root)) for place in (root, root / "images") for entry in _folders(place)]
    names = [name for e in images[:20] if isinstance(e, dict) and isinstance(name := e.get("file_name"), str)]
    return max((*told, *others), key=lambda folder: sum(_is_there(root, f"{folder}/{name}") for name in names))


def _folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir())[:50] if place.is_dir() else []


def _is_there(root: Path, name: str) -> bool:
    try:
        return bool(inside(root, name))
    except DataError:
        return False


def _marks(
    annotations: Iterable[object],
    categories: dict[int, str],
    images: tuple[_Images, set[int]],
    told: tuple[str, Account],
) -> dict[int, list[Mark]]:
    """The objects by image; those of images that are left out go with them."""
    (found, bad), (where, account) = images, told
    marks: dict[int, list[Mark]] = {key: [] for key in found}
    seen = set[int]()
    for place, entry in enumerate(annotations):
        at = f"number {place}"
        try:
            record = as_record(entry)
            if "id" in record:
                at = str(key := whole(record, "id"))
                if key in seen:
                    raise ValueError("the id of another annotation")
                seen.add(key)
            image = whole(record, "image_id")
            if image in found:
                marks[image].append(_mark(record, at, categories, found[image][2]))
            elif image not in bad:
                raise ValueError(f"there is no image {image}")
        except ValueError as error:
            account.drop_box(f"{where} annotation {at}", error)
    return marks


def _mark(record: Record, at: str, categories: dict[int, str], size: tuple[int, int]) -> Mark:
    category, crowd = whole(record, "category_id"), record.get("iscrowd", 0)
    if category not in categories:
        raise ValueError(f"unknown class: there is no category {category}")
    if crowd not in (0, 1) or isinstance(crowd, float):
        raise ValueError(f"iscrowd is {shown(crowd)}, neither 0 nor 1")
    x, y, width, height = corners(record)
    area = number(record, "area") if record.get("area") is not None else None
    if area is not None and area < 0:
        raise ValueError(f"area is {area:g}")
    outline = outline_of(record.get("segmentation"), size)
    return Mark(at, categories[category], (x, y, x + width, y + height), False, bool(crowd), outline, area)
