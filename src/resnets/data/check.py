"""What is wrong with a data set, and what it is like: every picture is read once, and nothing is changed."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import safe_text
from .datasets import Dataset, Holdout, open_dataset
from .duplicates import look, near, same
from .images import EXTENSIONS, ODDITIES, ImageError, decode_any, oddities, sniff
from .sources import Files, Source

TINY = 32  # pixels of the shorter side
LONG = 4.0  # longer side over shorter
FAR_FROM_SQUARE = 4 / 3
MANY = 0.25  # of the pictures
IMBALANCE = 10  # largest class over smallest
_KEPT, _NAMES = 1000, 100  # items of a finding, and names of an item

# What can be found, and what that means.
KINDS = {
    "unreadable": "training and testing leave them out, and stop above 1 %",
    "truncated": "the file ends too early: copy it again",
    "misnamed": "the contents count, not the extension",
    "folders called like pictures": "the pictures in them are read as those of any folder",
    **ODDITIES,
    "tiny": f"the shorter side is under {TINY} pixels",
    "long": f"more than {LONG:g} times as long as wide: --fit crop shows little of it",
    "identical files": "the same bytes more than once",
    "identical pixels": "the same picture in different files",
    "near duplicates": "almost the same picture",
    "leaks": "the same picture in several parts: the test is too easy; remove them, or use --group-by",
    "conflicts": "the same picture in several classes: one label is wrong",
    "group leaks": "groups in several parts of the data",
    "imbalance": f"the largest class has over {IMBALANCE} times the smallest",
    "empty classes": "no picture of them can be read",
}
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"), "TIFF": (".tif", ".tiff"), "NumPy array": (".npy",),
    **{name: (f".{name.lower()}",) for name in ("PNG", "WEBP", "GIF", "BMP")},
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A kind of problem: how often it is there, in how many pictures, what it means, and the first of them.

    items: {"pictures": their names, "why": words or ""}; a thousand at most, each with a hundred names at most.
    """

    kind: str
    count: int
    pictures: int
    meaning: str
    items: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Report:
    """What `check` found. sizes: of pictures as seen, {"width", "height"} → {"min", "median", "max"}."""

    data: str
    classes: dict[str, int]
    parts: dict[str, int]
    split: str
    notes: tuple[str, ...]
    pictures: int
    readable: int
    formats: dict[str, int]
    sizes: dict[str, dict[str, float]]
    beyond_4_3: float
    fit: str
    fit_reason: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def usable(self) -> bool:
        """Whether two classes have pictures that can be read."""
        return sum(count > 0 for count in self.classes.values()) > 1


_NOTHING = np.zeros((16, 16), np.uint8)


@dataclass(slots=True)
class Picture:
    """One picture: where it is, what it is, and why it cannot be read, if so; hashes of its file and of its pixels."""

    part: str
    name: str
    label: int
    group: str = ""
    bad: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    odd: tuple[str, ...] = ()
    file_hash: bytes = b""
    pixel_hash: bytes = b""
    look: int = 0
    thumbnail: NDArray[np.uint8] = field(default_factory=lambda: _NOTHING)


def check(data: str, rule: Holdout | None = None) -> Report:
    """Read every picture of DATA and tell what is wrong. Raises DataError where there is no data set."""
    dataset = open_dataset(data, rule)
    return report(dataset, pictures(dataset))


def pictures(dataset: Dataset) -> Iterator[Picture]:
    """Every picture of every part, read once."""
    roots = {source.root for source in dataset.parts.values() if isinstance(source, Files)}
    for part, source in dataset.parts.items():
        before = f"{source.root.name}/" if isinstance(source, Files) and len(roots) > 1 else ""
        for index in range(len(source)):
            group = source.groups[index] if isinstance(source, Files) and source.groups else ""
            found = Picture(part, before + source.name(index), int(source.labels[index]), group)
            try:
                _read(source, index, found)
            except ImageError as error:
                found.bad = str(error)
            yield found


def _read(source: Source, index: int, found: Picture) -> None:
    """Fill FOUND with what the file and its pixels say."""
    if isinstance(source, Files):
        data = source.data(index)
        found.format, found.file_hash = sniff(data), hashlib.sha256(data).digest()[:16]
        picture = decode_any(data)
        end = os.path.splitext(found.name)[1].lower()  # noqa: PTH122 - names are no paths of this machine
        found.odd = oddities(data) + (() if end in _EXTENSIONS.get(found.format, (end,)) else ("misnamed",))
    else:
        picture = source.picture(index)
    pixels = np.asarray(picture)
    found.size = (pixels.shape[1], pixels.shape[0])
    found.pixel_hash = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()[:16]
    found.look, found.thumbnail = look(picture)


class _Findings:
    """Findings that fill up picture by picture, in a bounded number of items."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.pictures: Counter[str] = Counter()
        self.items: dict[str, list[dict[str, Any]]] = {}

    def add(self, kind: str, names: Sequence[str], why: str = "") -> None:
        self.counts[kind] += 1
        self.pictures[kind] += len(names)
        items = self.items.setdefault(kind, [])
        if len(items) < _KEPT:
            items.append({"pictures": list(names[:_NAMES]), "why": why})

    def all(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(kind, self.counts[kind], self.pictures[kind], meaning, tuple(self.items[kind]))
            for kind, meaning in KINDS.items()
            if self.counts[kind]
        )


def report(dataset: Dataset, found: Iterable[Picture]) -> Report:
    """What the pictures of DATASET come to; of each some 700 bytes are kept."""
    began, findings = time.monotonic(), _Findings()
    count = sum(map(len, dataset.parts.values()))
    rows: list[Picture] = []
    hashes, thumbnails = np.zeros(count, np.uint64), np.zeros((count, 16, 16), np.uint8)
    for place, picture in enumerate(found):
        _single(picture, findings)
        hashes[place], thumbnails[place] = picture.look, picture.thumbnail
        picture.look, picture.thumbnail = 0, _NOTHING
        rows.append(picture)
    for name in _called_like_pictures([source for source in dataset.parts.values() if isinstance(source, Files)]):
        findings.add("folders called like pictures", [name])
    _copies(rows, near(hashes, thumbnails), findings)
    _groups(rows, findings)
    good = [picture for picture in rows if not picture.bad]
    labels = Counter(picture.label for picture in good)
    classes = {name: labels[label] for label, name in enumerate(dataset.classes)}
    for name in (name for name, number in classes.items() if not number):
        findings.add("empty classes", [name])
    if told := imbalance(dataset.classes, [picture.label for picture in good]):
        findings.add("imbalance", [], told)
    fit, reason, far = fit_for([picture.size for picture in good])
    return Report(
        data=dataset.name,
        classes=classes,
        parts={part: len(source) for part, source in dataset.parts.items()},
        split=dataset.split,
        notes=dataset.notes,
        pictures=len(rows),
        readable=len(good),
        formats=dict(Counter(picture.format for picture in good if picture.format).most_common()),
        sizes=_sizes([picture.size for picture in good]),
        beyond_4_3=round(far, 4),
        fit=fit,
        fit_reason=reason,
        findings=findings.all(),
        seconds=round(time.monotonic() - began, 3),
    )


def fit_for(sizes: Sequence[tuple[int, int]]) -> tuple[str, str, float]:
    """The fit rule for pictures of such (width, height), the reason, and the share that is far from square."""
    far = sum(max(size) > FAR_FROM_SQUARE * min(size) for size in sizes) / max(len(sizes), 1)
    return "pad" if far > MANY else "crop", f"{far:.0%} of the pictures are longer than 4:3", far


def _single(picture: Picture, findings: _Findings) -> None:
    """What is wrong with one picture by itself."""
    if picture.bad:
        return findings.add("truncated" if picture.bad == "truncated" else "unreadable", [picture.name], picture.bad)
    for odd in picture.odd:
        findings.add(odd, [picture.name], f"is {picture.format}" if odd == "misnamed" else "")
    shorter, longer = sorted(picture.size)
    shape = f"{picture.size[0]} x {picture.size[1]}"
    if shorter < TINY:
        findings.add("tiny", [picture.name], shape)
    if longer > LONG * shorter:
        findings.add("long", [picture.name], shape)
    return None


def _copies(rows: list[Picture], alike: list[list[int]], findings: _Findings) -> None:
    """Pictures that are there more than once, and what that does to parts and classes; ALIKE: places of near copies."""
    files = same(row.file_hash for row in rows)
    pixels = [g for g in same(row.pixel_hash for row in rows) if len({rows[i].file_hash or i for i in g}) > 1]
    alike = [group for group in alike if len({rows[i].pixel_hash for i in group}) > 1]
    told: dict[int, int] = {}  # place → number of the largest group that it is in
    for kind, groups in (("near duplicates", alike), ("identical pixels", pixels), ("identical files", files)):
        for group in groups:
            findings.add(kind, [rows[i].name for i in group])
            if len({told.get(i, -i - 1) for i in group}) > 1:  # not within a larger group
                told |= dict.fromkeys(group, len(told))
                _harm([rows[i] for i in group], kind, findings)


def _harm(group: list[Picture], kind: str, findings: _Findings) -> None:
    """What it does that the pictures of GROUP are the same."""
    if len({row.part for row in group}) > 1:
        findings.add("leaks", [f"{row.name} ({row.part})" for row in group], kind)
    if len({row.label for row in group}) > 1:
        findings.add("conflicts", [row.name for row in group], kind)


def _groups(rows: list[Picture], findings: _Findings) -> None:
    """Groups that lie in more than one part."""
    parts: dict[str, set[str]] = {}
    for row in rows:
        if row.group:
            parts.setdefault(row.group, set()).add(row.part)
    for group, where in parts.items():
        if len(where) > 1:
            findings.add("group leaks", [group], f"in {', '.join(sorted(where))}")


def imbalance(classes: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> str | None:
    """Where the largest class has over `IMBALANCE` times the smallest: which they are, and what to do; labels: (N,)."""
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] <= IMBALANCE * counts[least]:
        return None
    named = f"{safe_text(classes[most])} has {counts[most]} pictures, {safe_text(classes[least])} {counts[least]}"
    return f"{named}: look at the balanced accuracy, and try --balance loss or --balance sampling"


def _called_like_pictures(sources: list[Files]) -> list[str]:
    """Folders where the pictures of SOURCES lie whose names end as those of pictures do."""
    found = set[Path]()
    for root, names in ((source.root, source.names) for source in sources):
        for folder in {above for name in names for above in PurePath(name).parents}:
            with suppress(OSError), os.scandir(root / folder) as entries:
                found |= {Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)}
    home = os.path.commonpath([source.root for source in sources]) if sources else ""
    return sorted(os.path.relpath(path, home) for path in found if path.suffix.lower() in EXTENSIONS)


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, dict[str, float]]:
    if not sizes:
        return {}
    columns = zip(("width", "height"), np.array(sizes).T, strict=True)
    return {
        name: {"min": int(column.min()), "median": float(np.median(column)), "max": int(column.max())}
        for name, column in columns
    }
