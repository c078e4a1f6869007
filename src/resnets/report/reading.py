"""What runs and tests left in their folders, as plain values; what an older version did not leave is empty."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .. import files
from ..errors import UsageError, safe_text
from ..evaluation.records import plain
from ..families import name_of
from ..recipe import from_json
from ..record import Result, read_result
from ..spec import VGG, Network


@dataclass(frozen=True)
class Test:
    """A folder that `resnets evaluate` wrote; `facts` is its result.json."""

    folder: Path
    facts: Mapping[str, Any]

    @cached_property
    def classes(self) -> list[str]:
        """Names in label order."""
        return [row["class"] for row in self.facts.get("per_class", [])]

    @cached_property
    def confusion(self) -> list[list[int]]:
        """Counts, a row per right class; empty where they do not fit the classes."""
        path = self.folder / "confusion.csv"
        rows = [row[1:] for row in _table(path)[1:]]
        fits = len(rows) == len(self.classes) and all(len(row) == len(rows) for row in rows)
        with _whole(path):
            return [[int(n) for n in row] for row in rows] if fits else []

    @cached_property
    def mistakes(self) -> list[dict[str, Any]]:
        """The most confident ones: file, right class, answer, probability, and the picture as PNG."""
        path = self.folder / "mistakes.csv"
        rows = [row for row in _table(path)[1:] if len(row) == 5]
        with _whole(path):
            return [
                {"file": plain(name), "class": plain(right), "answer": plain(said), "probability": float(p), "png": png}
                for name, right, said, p, place in rows
                if (png := self._png(place))
            ]

    def _png(self, place: str) -> bytes:
        path = self.folder / place
        whole = re.fullmatch(r"mistakes/\d+\.png", place) and path.is_file() and not path.is_symlink()
        return path.read_bytes() if whole else b""


@dataclass(frozen=True)
class Data:
    """Classes, how many images each part has of each of them, how the parts came about, and what is to be known."""

    classes: Sequence[str] = ()
    parts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    split: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """A run folder; `recipe` and `environment` are its files, `network` is a name, an unfinished run has no result."""

    folder: Path
    network: str
    result: Result | None
    recipe: dict[str, Any]
    environment: dict[str, Any]
    data: Data
    epochs: list[dict[str, Any]]
    updates: list[dict[str, Any]]

    @property
    def bad(self) -> list[str]:
        """Files that could not be read, with the reason."""
        path = self.folder / "bad_images.txt"
        return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []

    def tests(self) -> list[Test]:
        """Every test below evaluations/, by name."""
        return [test for path in sorted(self.folder.glob("evaluations/*")) if (test := read_test(path))]


@dataclass(frozen=True)
class Damaged:
    """A folder of which a file cannot be used; `reason` names it."""

    folder: Path
    reason: str


def read(folder: Path) -> Run | Test | Damaged | None:
    """What lies in FOLDER, None where that is no run and no test."""
    try:
        return read_run(folder) or read_test(folder)
    except UsageError as error:
        return Damaged(folder, str(error))


def read_test(folder: Path) -> Test | None:
    """The test in FOLDER, None where there is none. Raises UsageError for a damaged one."""
    facts = _json(folder / "result.json")
    if "per_class" not in facts:
        return None
    with _whole(folder / "result.json"):
        if lacking := {"images", "mistakes", "top1_error"} - facts.keys():
            raise ValueError(f"it has no {' and no '.join(sorted(lacking))}")
    return Test(folder, facts)


def read_run(folder: Path) -> Run | None:
    """The run in FOLDER, None where there is none. Raises UsageError for a damaged one."""
    path = folder / "recipe.json"
    recipe = _json(path)
    if "network" not in recipe:
        return None
    with _whole(path):
        value = recipe["network"]
        network = name_of(from_json(Network if "unit" in value else VGG, value, f"{path} is damaged: network"))
    with _whole(folder / "log.jsonl"):
        records: list[dict[str, Any]] = files.Log(folder / "log.jsonl").records()
    epochs = [record for record in records if "train_error" in record]
    updates = [record for record in records if "rate" in record]
    environment = _json(folder / "environment.json")
    return Run(folder, network, read_result(folder), recipe, environment, _data(folder), epochs, updates)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Raise UsageError that names PATH where what it holds cannot be used."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, csv.Error) as error:
        raise UsageError(safe_text(f"{path} is damaged: {error}")) from error


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty where there is no file."""
    if not path.is_file():
        return {}
    with _whole(path):
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError("it holds no object")
        return value


def _data(folder: Path) -> Data:
    """From data.json; without it from split.csv and the model folder, where class folders tell the classes."""
    if facts := _json(folder / "data.json"):
        with _whole(folder / "data.json"):
            data = Data(**{name: facts[name] for name in ("classes", "parts", "split", "notes") if name in facts})
            if any(len(counts) != len(data.classes) for counts in data.parts.values()):
                raise ValueError("its parts do not have its classes")
            return data
    config = _json(folder / "last/config.json")
    classes, split = config.get("label_names", []), config.get("resnets", {}).get("facts", {}).get("split", "")
    with _whole(folder / "split.csv"):
        rows = [(PurePosixPath(name).parent.name, part) for name, _, part in _table(folder / "split.csv")[1:]]
    if not {name for name, _ in rows} <= set(classes):
        return Data(classes, split=split)
    counts, parts = Counter(rows), dict.fromkeys(part for _, part in rows)
    return Data(classes, {part: [counts[name, part] for name in classes] for part in parts}, split)


def _table(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with _whole(path), path.open(newline="", encoding="utf-8") as table:
        return list(csv.reader(table))
