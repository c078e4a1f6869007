"""What a test leaves behind: figures as JSON, classes, confusions and every single answer as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .. import files
from ..data.images import ImageError
from ..data.preprocessing import Preprocessing
from ..data.sources import Source
from ..errors import safe_text
from .evaluate import Evaluation
from .metrics import answered

_COLUMNS = ["file", "right class", "answer", "probability"]
_FORMULA = ("=", "+", "-", "@")
_PICTURES = 24  # most confident mistakes that are kept as pictures


@dataclass
class Answers:
    """Every answer of a test.

    preprocessing: how the models see a picture; where given, the most confident mistakes are kept as pictures.
    rows: file, right class, answer, probability; `indices` are those of the source.
    """

    source: Source
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None = None
    rows: list[list[Any]] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)

    def take(self, indices: Tensor, labels: Tensor, scores: Tensor, temperature: float = 1.0) -> None:
        """Hold the answers that scores (N, classes) give to the images at INDICES, the same as those in the counts."""
        answers = answered(scores, labels)
        best = (scores / temperature).softmax(1).gather(1, answers[:, None])[:, 0]
        columns = indices.tolist(), labels.tolist(), answers.tolist(), best.tolist()
        self.indices = columns[0]
        self.rows = [
            [self.source.name(index), self.classes[label], self.classes[guess], f"{p:.6f}"]
            for index, label, guess, p in zip(*columns, strict=True)
        ]

    def mistakes(self) -> list[tuple[int, list[Any]]]:
        """Index and row of the most confident mistakes, the most confident first, then by index."""
        wrong = [(i, row) for i, row in zip(self.indices, self.rows, strict=True) if row[1] != row[2]]
        sure = [(i, row) for i, row in wrong if not math.isnan(float(row[3]))]
        return sorted(sure, key=lambda item: (-float(item[1][3]), item[0]))[:_PICTURES]


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV that no spreadsheet runs: control characters escaped, a cell that begins like a formula is quoted by '."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([cell(value) for value in row] for row in (header, *rows))
    return out.getvalue()


def cell(value: Any) -> Any:
    """VALUE as it stands in a CSV file: text safe for terminals and spreadsheets."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = safe_text(value)
    return f"'{text}" if text[:1] in _FORMULA else text


def plain(text: str) -> str:
    """The text of a `cell` without the quote against formulas."""
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def write(folder: Path, evaluation: Evaluation, answers: Answers, facts: dict[str, Any]) -> None:
    """Write result.json, per_class.csv, confusion.csv, predictions.csv, mistakes.csv and its pictures into FOLDER.

    ANSWERS are filled: those of the evaluation's scores, at its temperature.
    """
    answers.take(evaluation.indices, evaluation.labels, evaluation.scores, evaluation.temperature)
    classes = evaluation.classes
    per_class = evaluation.counts.per_class(classes)
    matrix = [[name, *row] for name, row in zip(classes, evaluation.counts.confusion.tolist(), strict=True)]
    tables = {
        "per_class.csv": csv_text(list(per_class[0]), [list(row.values()) for row in per_class]),
        "confusion.csv": csv_text(["right class", *classes], matrix),
        "predictions.csv": csv_text(_COLUMNS, answers.rows),
    }
    if answers.preprocessing:
        tables["mistakes.csv"] = csv_text([*_COLUMNS, "picture"], _mistakes(folder, answers, answers.preprocessing))
    for name, text in tables.items():
        files.write_file(folder / name, text.encode())
    files.write_json(folder / "result.json", {**facts, **evaluation.as_dict()})


def _mistakes(folder: Path, answers: Answers, preprocessing: Preprocessing) -> list[list[Any]]:
    """The rows of mistakes.csv; FOLDER/mistakes gets what the network saw, as 01.png, 02.png …"""
    rows, pictures = [], {}
    for number, (index, row) in enumerate(answers.mistakes(), 1):
        name, place = f"{number:02d}.png", ""
        with suppress(ImageError, OSError):  # changed or gone since it was tested
            pictures[name] = _png(preprocessing.view(answers.source.picture(index, preprocessing.enough)))
            place = f"mistakes/{name}"
        rows.append([*row, place])
    if pictures:
        files.write_folder(folder / "mistakes", pictures)
    elif (folder / "mistakes").is_dir():
        files.remove_folder(folder / "mistakes")
    return rows


def _png(view: NDArray[np.uint8]) -> bytes:
    """Pixels (H, W, channels) as a picture: of more than three channels the first three, of two the first."""
    out = io.BytesIO()
    Image.fromarray(view[..., :3] if view.shape[-1] > 2 else view[..., 0]).save(out, "PNG")
    return out.getvalue()
