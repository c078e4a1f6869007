"""A list of boxes in CSV or TSV: file, label, x1, y1, x2, y2, and part, width and height where they are told.

Coordinates are pixels from 0, half-open. A row with a file and no box says that nothing is on the picture.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from ..data.folders import PARTS, part_called
from ..data.lists import Table, inside, read_table
from ..errors import DataError, safe_text
from .annotated import Account, Annotated, Box, Mark, size_told, true_size

CORNERS = {"x1": ("x1", "xmin"), "y1": ("y1", "ymin"), "x2": ("x2", "xmax"), "y2": ("y2", "ymax")}
NAMES = ("boxes", "annotations", "labels", "_annotations")
Row = tuple[int, list[str]]


def find(root: Path) -> Path | None:
    """The list of boxes in ROOT, by its usual names, None without one."""
    names = [f"{name}{end}" for name in NAMES for end in (".csv", ".tsv")]
    return next((root / name for name in names if (root / name).is_file()), None)


def has_corners(path: Path) -> bool:
    """Whether the head of a list names corners of boxes."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.readline(10_000).lower()
    except OSError:
        return False
    return any(word in head for word in CORNERS["x1"])


def read_list(path: Path, account: Account) -> dict[str, list[Annotated]]:
    """The pictures of a list by part, "" for all where no part is told. Raises DataError for what is no such list."""
    table = read_table(path)
    places = {"file": table.columns.get("file"), "label": table.columns.get("label")}
    for name, words in CORNERS.items():
        places[name] = next((table.columns[word] for word in words if word in table.columns), None)
    if lacking := [name for name, place in places.items() if place is None]:
        has = ", ".join(map(safe_text, table.header[:12]))
        raise DataError(f"{table.where(1)}: no column {lacking[0]}; the first row must name {', '.join(places)}: {has}")
    rows: dict[str, list[Row]] = {}
    for row in table.rows:
        rows.setdefault(row[1][table.columns["file"]].strip(), []).append(row)
    return _pictures(table, rows, {name: place for name, place in places.items() if place is not None}, account)


def _pictures(
    table: Table, rows: dict[str, list[Row]], places: dict[str, int], account: Account
) -> dict[str, list[Annotated]]:
    found: dict[str, list[Annotated]] = {}
    root, known = table.path.parent.resolve(), dict[str, str]()
    account.pictures += len(rows)
    for told, mine in rows.items():
        try:
            name, size_in_bytes = inside(root, told) if told else _nothing()
            if known.setdefault(name, told) != told:
                raise DataError(f"is {safe_text(known[name])}, which has rows of its own")
            size = _told_size(table, mine[0]) or true_size(root / name)
        except DataError as error:
            account.drop_picture(table.where(mine[0][0]), f"{told} {error}")
            continue
        marks = tuple(mark for row in mine if (mark := _mark(table, row, places, account)))
        picture = Annotated(name, size_in_bytes, size, 0, table.where(0)[:-1], marks)
        found.setdefault(_part(table, mine), []).append(picture)
    return found


def _nothing() -> tuple[str, int]:
    raise DataError("names no file")


def _told_size(table: Table, row: Row) -> tuple[int, int] | None:
    told = [row[1][table.columns[key]].strip() if key in table.columns else "" for key in ("width", "height")]
    return (
        size_told(int(told[0]), int(told[1])) if all(t.isascii() and t.isdigit() and len(t) < 6 for t in told) else None
    )


def _part(table: Table, rows: list[Row]) -> str:
    """The part of a picture, "" where none is told. Raises DataError for an unknown one, and for two."""
    if "part" not in table.columns:
        return ""
    parts: Mapping[str, int] = {part_called(table.cell(row, "part")): row[0] for row in rows}
    if "" in parts or len(parts) > 1:
        reason = "the part is none of train, val and test" if "" in parts else f"in {' and '.join(sorted(parts))}"
        raise DataError(f"{table.where(max(parts.values()))}: {safe_text(table.cell(rows[0], 'file'))}: {reason}")
    return next(part for part in PARTS if part in parts)


def _mark(table: Table, row: Row, places: dict[str, int], account: Account) -> Mark | None:
    """The object of a row, None where it has none, or none that can be used."""
    label, told = row[1][places["label"]].strip(), [row[1][places[name]].strip() for name in CORNERS]
    if not any(told) and not label:
        return None
    account.boxes += 1
    try:
        if not 0 < len(label) <= 200:
            raise ValueError("a label of more than 200 characters" if label else "no label")
        return Mark(row[0], label, _box(told))
    except ValueError as error:
        account.drop_box(table.where(row[0]), error)
        return None


def _box(told: list[str]) -> Box:
    values = list[float]()
    for name, text in zip(CORNERS, told, strict=True):
        try:
            value = float(text) if "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{name} is '{text[:20]}', not a number")
        values.append(value)
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2
