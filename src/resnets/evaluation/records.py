"""What a test leaves behind: figures as JSON, classes, confusions and every single answer as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import files
from ..data.batches import Batch
from ..data.sources import Source
from ..errors import safe_text
from .evaluate import Evaluation
from .metrics import guesses


@dataclass
class Answers:
    """Every answer of a test; `add` is what `evaluate` calls after each batch."""

    source: Source
    classes: tuple[str, ...]
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Keep a batch's answers with the probability of each."""
        answers = guesses(scores)
        best = scores.softmax(1).gather(1, answers[:, None])[:, 0]
        columns = batch.indices.tolist(), batch.labels.tolist(), answers.tolist(), best.tolist()
        for index, label, guess, p in zip(*columns, strict=True):
            self.rows.append([self.source.name(index), self.classes[label], self.classes[guess], f"{p:.6f}"])


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
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write(folder: Path, evaluation: Evaluation, answers: Answers, facts: dict[str, Any]) -> None:
    """Write result.json, per_class.csv, confusion.csv and predictions.csv into FOLDER."""
    classes = evaluation.classes
    per_class = evaluation.counts.per_class(classes)
    matrix = [[name, *row] for name, row in zip(classes, evaluation.counts.confusion.tolist(), strict=True)]
    tables = {
        "per_class.csv": csv_text(list(per_class[0]), [list(row.values()) for row in per_class]),
        "confusion.csv": csv_text(["right class", *classes], matrix),
        "predictions.csv": csv_text(["file", "right class", "answer", "probability"], answers.rows),
    }
    for name, text in tables.items():
        files.write_file(folder / name, text.encode())
    files.write_json(folder / "result.json", {**facts, **evaluation.as_dict()})
