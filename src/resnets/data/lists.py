"""Lists of pictures: CSV or TSV with a file and its class in every row, and what parts or groups they belong to."""

import csv
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError, safe_text
from .folders import PARTS, Scan, part_called
from .images import EXTENSIONS, ImageError, Limits, read_bytes

COLUMNS = {
    "file": ("file", "filename", "image", "path", "id"),
    "label": ("label", "class", "category", "target"),
    "part": ("part", "split", "subset"),
}
SUFFIXES = (".csv", ".tsv")
_LIMITS = Limits(max_bytes=1_000_000_000)


@dataclass(frozen=True)
class Table:
    """A list that has been read: what its first row calls the columns, the places of those, and (line, cells)."""

    path: Path
    header: tuple[str, ...]
    columns: dict[str, int]
    rows: list[tuple[int, list[str]]]

    def where(self, line: int) -> str:
        """A line of the list, for people."""
        return f"{safe_text(str(self.path))}:{line}"

    def cell(self, row: tuple[int, list[str]], column: str) -> str:
        """What stands in a column of a row. Raises DataError for nothing, and where there is no such column."""
        if column not in self.columns:
            has, names = ", ".join(map(safe_text, self.header)), " or ".join(COLUMNS[column])
            raise DataError(f"{self.where(1)}: no column of {column}s; it has {has}; call one {names}")
        value = row[1][self.columns[column]].strip()
        if not value:
            raise DataError(f"{self.where(row[0])}: no {safe_text(column)}")
        return value


@dataclass
class _Found:
    """The pictures of all lists by part, and class, part and line of each."""

    scans: dict[str, Scan] = field(default_factory=dict)
    seen: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, table: Table, row: tuple[int, list[str]], part: str, group_by: str) -> None:
        """Put a row's picture into the scan of its part; a row that repeats another is left out."""
        root, where = table.path.parent.resolve(), table.where(row[0])
        label, part = table.cell(row, "label"), part or _part(table, row)
        name, size = _picture(table, row, root)
        other, its_part, line = self.seen.setdefault(name, (label, part, where))
        if (other, its_part) != (label, part):
            said = f"{safe_text(name)} is '{safe_text(label)}' in {part} here"
            raise DataError(f"{where}: {said}, and '{safe_text(other)}' in {its_part} in {line}")
        scan = self.scans.setdefault(part, Scan(root))
        if line == where:
            scan.classes.setdefault(label, []).append((name, size))
        if group_by in table.columns:
            scan.groups[name] = table.cell(row, group_by)


def list_files(folder: Path) -> dict[str, Path]:
    """The lists that lie in FOLDER by part: train.csv, val.csv …, or labels.csv, which says parts itself, as ""."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        part = "" if path.stem.lower() == "labels" else part_called(path.stem)
        if path.suffix.lower() not in SUFFIXES or not (part or path.stem.lower() == "labels") or not path.is_file():
            continue
        if part in found:
            raise DataError(safe_text(f"{folder}: both {found[part].name} and {path.name} are lists; keep one"))
        found[part] = path
    if "" in found and "train" in found:
        raise DataError(safe_text(f"{folder}: both {found[''].name} and {found['train'].name} are lists; keep one"))
    return {"": found[""]} if "" in found else found if "train" in found else {}


def read_lists(paths: dict[str, Path], group_by: str = "") -> dict[str, Scan]:
    """The pictures that lists name, by part: "train" holds all where no part is told. Raises DataError for any fault.

    Files are relative to the list's folder and stay inside it. GROUP_BY may name a column.
    """
    found, notes = _Found(), list[str]()
    for part, path in paths.items():
        table = read_table(path)
        if part in ("val", "test") and "label" not in table.columns:
            notes.append(f"{path.name} has no classes and is ignored")
            continue
        for row in table.rows:
            found.add(table, row, part, group_by)
    if "train" not in found.scans:
        where = safe_text(str(next(iter(paths.values()))))
        raise DataError(f"{where}: has {' and '.join(found.scans) or 'no rows'}, but no train part")
    found.scans["train"].notes += notes
    return {part: found.scans[part] for part in PARTS if part in found.scans}


def _part(table: Table, row: tuple[int, list[str]]) -> str:
    if "part" not in table.columns:
        return "train"
    told = table.cell(row, "part")
    if not (part := part_called(told)):
        raise DataError(f"{table.where(row[0])}: part '{safe_text(told)}' is none of train, val and test")
    return part


def _picture(table: Table, row: tuple[int, list[str]], root: Path) -> tuple[str, int]:
    """A row's file; a column of bare ids may leave the extension out."""
    told = table.cell(row, "file")
    first = ""
    for end in ("", *sorted(EXTENSIONS)):
        try:
            return inside(root, told + end)
        except DataError as error:
            first = first or str(error)
        if os.path.splitext(told)[1].lower() in EXTENSIONS:  # noqa: PTH122
            break
    raise DataError(f"{table.where(row[0])}: {safe_text(told)} {first}")


def inside(root: Path, name: str) -> tuple[str, int]:
    """The regular file that NAME, which nobody vouches for, means below ROOT (resolved): its true path, and size.

    Raises DataError that says what the name does, as "leads out of the folder"; nothing is opened.
    """
    try:
        real = os.path.realpath(root / name)
        if not Path(real).is_relative_to(root):
            raise DataError("leads out of the folder of the list")
        found = os.lstat(real)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError("is not there") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError("is not a file")
    return os.path.relpath(real, root), found.st_size


def read_table(path: Path) -> Table:
    """The rows of a list and its columns: by their usual names, or of two where one plainly names pictures."""
    where = safe_text(str(path))
    try:
        text = read_bytes(path, _LIMITS).decode("utf-8-sig")
    except ImageError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}:{error.object[: error.start].count(10) + 1}: not UTF-8; save it as UTF-8") from error
    rows = list(_rows(text, where))
    if not rows:
        raise DataError(f"{where} is empty")
    header = tuple(cell.strip() for cell in rows[0][1])
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{where}:{line}: {len(cells)} columns, {len(header)} in the first row")
    named = _columns(header)
    return Table(path, header, named, rows[1:]) if named else Table(path, header, _bare(header), rows)


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=first.count), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{where}:{reader.line_num}: {error}") from error


def _columns(header: tuple[str, ...]) -> dict[str, int]:
    """The columns that a header names, the usual ones under our names too; empty for a row that is no header."""
    usual = {what: at for what, words in COLUMNS.items() for at, name in enumerate(header) if name.lower() in words}
    return {**{name: at for at, name in enumerate(header)}, **usual} if usual else {}


def _bare(first: tuple[str, ...]) -> dict[str, int]:
    """File and label of a list without a header: two columns of which one has a picture's name."""
    pictures = [at for at, cell in enumerate(first) if Path(cell).suffix.lower() in EXTENSIONS]
    if len(first) != 2 or len(pictures) != 1:
        return {}
    return {"file": pictures[0], "label": 1 - pictures[0]}
