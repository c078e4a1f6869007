"""What runs and tests left in their folders, as plain values; what an older version did not leave is empty."""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .. import files
from ..errors import UsageError, safe_text
from ..evaluation.records import plain
from ..families import name_of
from ..recipe import from_json
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
        rows = [row[1:] for row in _table(self.folder / "confusion.csv")[1:]]
        fits = len(rows) == len(self.classes) and all(len(row) == len(rows) for row in rows)
        return [[int(n) for n in row] for row in rows] if fits else []

    @cached_property
    def mistakes(self) -> list[dict[str, Any]]:
        """The most confident ones: file, right class, answer, probability, and the picture as PNG."""
        rows = [row for row in _table(self.folder / "mistakes.csv")[1:] if len(row) == 5]
        return [
            {"file": plain(name), "class": plain(right), "answer": plain(answer), "probability": float(p), "png": png}
            for name, right, answer, p, place in rows
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
    """A run folder; `recipe` and `environment` are its files."""

    folder: Path
    recipe: dict[str, Any]
    environment: dict[str, Any]
    data: Data
    epochs: list[dict[str, Any]]
    updates: list[dict[str, Any]]

    @property
    def network(self) -> str:
        """The network's name."""
        value = self.recipe["network"]
        return name_of(from_json(Network if "unit" in value else VGG, value, "network"))

    @property
    def bad(self) -> list[str]:
        """Files that could not be read, with the reason."""
        path = self.folder / "bad_images.txt"
        return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []

    def tests(self) -> list[Test]:
        """Every test below evaluations/, by name."""
        return [test for path in sorted(self.folder.glob("evaluations/*")) if (test := read_test(path))]


def read_test(folder: Path) -> Test | None:
    """The test in FOLDER, None where there is none."""
    facts = read_json(folder / "result.json")
    return Test(folder, facts) if "per_class" in facts else None


def read_run(folder: Path) -> Run | None:
    """The run in FOLDER, None where there is none."""
    recipe = read_json(folder / "recipe.json")
    if "network" not in recipe:
        return None
    records: list[dict[str, Any]] = files.Log(folder / "log.jsonl").records()
    epochs = [record for record in records if "train_error" in record]
    updates = [record for record in records if "rate" in record]
    return Run(folder, recipe, read_json(folder / "environment.json"), _data(folder), epochs, updates)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty where there is no file. Raises UsageError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(safe_text(f"{path} is damaged: {error}")) from error
    return value if isinstance(value, dict) else {}


def _data(folder: Path) -> Data:
    """From data.json; without it from split.csv and the model folder, where class folders tell the classes."""
    if facts := read_json(folder / "data.json"):
        return Data(**{name: facts[name] for name in ("classes", "parts", "split", "notes") if name in facts})
    config = read_json(folder / "last/config.json")
    classes, split = config.get("label_names", []), config.get("resnets", {}).get("facts", {}).get("split", "")
    rows = [(PurePosixPath(name).parent.name, part) for name, _, part in _table(folder / "split.csv")[1:]]
    if not {name for name, _ in rows} <= set(classes):
        return Data(classes, split=split)
    counts, parts = Counter(rows), dict.fromkeys(part for _, part in rows)
    return Data(classes, {part: [counts[name, part] for name in classes] for part in parts}, split)


def _table(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.reader(table))
