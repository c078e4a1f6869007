"""`predict`: what is on pictures. Rows pass by one by one, so that memory does not grow with a folder."""

import json
import mmap
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

from tyro.conf import Positional, arg

from ..errors import DataError, UsageError
from .source import ModelSource
from .verb import console, shown

Rows = Iterator[dict[str, Any]]
_PLAIN = ("torch", "torch:fp32")  # engines
_SURE = {True: "yes", False: "no", None: ""}  # in a table


@dataclass(frozen=True)
class Predict(ModelSource):
    """Name what is on pictures, with probabilities; a picture that cannot be read is a row with its error.

    examples: resnets predict runs/latest picture.jpg; resnets predict runs/latest new/ --csv answers.csv;
    find new -name '*.jpg' | resnets predict runs/latest - --json; resnets predict runs/latest new/ --engine auto;
    resnets predict new/ --network resnet18 --weights resnet18-f37072fd.pth
    """

    inputs: Positional[
        Annotated[
            tuple[str, ...],
            arg(
                help="a run or model folder, then files, folders, or - for a list of files on standard input",
                metavar="MODEL FILE…",
            ),
        ]
    ] = ()
    top: Annotated[int, arg(help="how many classes to name")] = 5
    csv: Annotated[str, arg(help="write a table with one row per picture to this file, - for standard output")] = ""
    json: Annotated[bool, arg(help="print one object")] = False
    batch_size: int = 32
    engine: Annotated[
        str, arg(help="NAME or NAME:PRECISION as resnets benchmark shows them, or auto: the fastest here")
    ] = "torch"
    device: Annotated[str, arg(help="auto: a card if there is one; cpu, cuda, cuda:1 …; other engines: cpu")] = "auto"
    reject_below: Annotated[
        float | None, arg(help="an answer of less probability is 'not sure'; default: the model's own threshold")
    ] = None

    def run(self) -> int:
        """Predict and tell."""
        from .. import api
        from ..files import write_file
        from ..models.layers import free_at_once

        self._check()
        source, pictures = self.divided(self.inputs, "pictures: files, a folder, or - for a list of files", 0)
        names = _inputs(pictures)
        plain = self.engine in _PLAIN
        free_at_once()
        if not plain and self.device not in ("auto", "cpu"):
            raise UsageError(f"--engine {shown(self.engine)} computes on the CPU; leave out --device or --engine")
        model = api.load(source, self.device if plain else "cpu")
        engine = _with_engine(model, self.engine, len(names), min(self.batch_size, len(names)))
        spent, least = _Spent(), model.bundle.reject_below if self.reject_below is None else self.reject_below
        rows = _judged(_answers(model, names, (self.top, self.batch_size), spent), least)
        with ExitStack() as stack:
            table = stack.enter_context(_beside(self.csv)) if self.csv not in ("", "-") else None
            if self.csv:
                rows = _into_table(rows, table or sys.stdout, min(self.top, len(model.classes)))
            if self.json:
                rows = _as_json(rows, {"model": self.weights or str(source), "engine": engine}, spent)
            elif not self.csv:
                rows = _on_screen(rows, spent)
            errors = sum(1 for row in rows if row["error"])
            if table:
                table.flush()
                write_file(Path(self.csv), memoryview(mmap.mmap(table.fileno(), 0, access=mmap.ACCESS_READ)))
                if not self.json:
                    console().print(f"{len(names)} rows, {errors} of them errors, in {shown(self.csv)}")
        return 3 if errors == len(names) else 0

    def _check(self) -> None:
        if self.top < 1 or self.batch_size < 1:
            raise UsageError("--top and --batch-size must be at least 1")
        if not 0 <= (self.reject_below or 0) <= 1:
            raise UsageError(f"--reject-below is {self.reject_below:g}; it is a probability, from 0 to 1")


def _beside(target: str) -> IO[str]:
    """A file without a name on the disk of TARGET, so that a table of any length takes no memory."""
    from ..files import probe

    folder = Path(target).parent
    probe(folder)
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=folder)


def _inputs(pictures: tuple[Any, ...]) -> list[str]:
    """Every picture to answer for: files as named, the pictures in folders, the lines of standard input."""
    from ..data.folders import pictures_in

    found: list[str] = []
    for name in pictures:
        if name == "-":
            found += [line.rstrip("\n") for line in sys.stdin if line.strip()]
        elif Path(name).is_dir():
            inside = pictures_in(Path(name))
            if not inside:
                raise DataError(f"{shown(name)}: no pictures in this folder")
            found += [str(Path(name) / inner) for inner in inside]
        else:
            found.append(name)
    if not found:
        raise UsageError("no pictures; give files, a folder, or - for a list of files on standard input")
    return found


def _with_engine(model: Any, name: str, images: int, batch: int) -> str:
    """Let MODEL compute by the engine called NAME, for so many IMAGES in batches; the engine in full."""
    if name in _PLAIN:
        return "torch:fp32"
    from ..deploy import engines, measured

    prepared = engines.Prepared(model.bundle, folder=measured.folder_of(model.bundle))
    if name == "auto":
        if not measured.recall(model.bundle, batch):
            told = "resnets benchmark MODEL --data DATA tells what bf16 and int8 lose"
            console(to_stderr=True).print(f"measuring fp32 engines on this machine, once for this model; {told} …")
        engine = measured.choose(prepared, images, batch)
    else:
        engine = engines.engine_called(name)
    if engine is not engines.ENGINES[0]:
        model.model = engines.EngineModule(engines.start(engine, prepared, batch).run)
    return str(engine)


@dataclass
class _Spent:
    """Seconds over all pictures, and how many of them could be read."""

    preprocessing: float = 0.0
    inference: float = 0.0
    readable: int = 0

    def milliseconds(self) -> dict[str, float]:
        """Per readable picture."""
        count = max(self.readable, 1)
        spent = {"preprocessing": self.preprocessing, "inference": self.inference}
        return {name: round(1000 * seconds / count, 2) for name, seconds in spent.items()}


def _answers(model: Any, names: list[str], how: tuple[int, int], spent: _Spent) -> Rows:
    """One row per picture in the order of NAMES; HOW: the number of classes to name, and of pictures together."""
    from ..data.images import ImageError

    top, batch_size = how
    for start in range(0, len(names), batch_size):
        rows = [{"file": name, "error": None, "classes": []} for name in names[start : start + batch_size]]
        inputs, readable = [], []
        began = time.perf_counter()
        for row in rows:
            try:
                inputs.append(model.bundle.seen(row["file"]))
                readable.append(row)
            except ImageError as error:
                row["error"] = str(error)
        middle = time.perf_counter()
        for row, best in zip(readable, model.predict_inputs(inputs, top) if inputs else [], strict=True):
            row["classes"] = [{"name": p.name, "probability": round(p.probability, 6)} for p in best]
        spent.preprocessing += middle - began
        spent.inference += time.perf_counter() - middle
        spent.readable += len(readable)
        yield from rows


def _judged(rows: Rows, least: float) -> Rows:
    """ROWS that tell whether their best answer reaches the probability LEAST."""
    for row in rows:
        row["sure"] = row["classes"][0]["probability"] >= least if row["classes"] else None
        yield row


def _into_table(rows: Rows, out: Any, top: int) -> Rows:
    """ROWS, each written to OUT as a line of CSV."""
    from ..evaluation.records import csv_text

    header = [
        "file",
        *(f"{what}_{k}" for k in range(1, top + 1) for what in ("class", "probability")),
        "sure",
        "error",
    ]
    out.write(csv_text(header, []))
    for row in rows:
        pairs = [value for c in row["classes"] for value in (c["name"], f"{c['probability']:.6f}")]
        out.write(
            csv_text([row["file"], *pairs, *[""] * (2 * top - len(pairs)), _SURE[row["sure"]], row["error"] or ""], [])
        )
        yield row


def _as_json(rows: Rows, facts: dict[str, str], spent: _Spent) -> Rows:
    """ROWS, printed as one object with FACTS before them and the times after them."""
    print(f'{json.dumps(facts, indent=2)[:-2]},\n  "predictions": [', end="")
    comma = ""
    for row in rows:
        print(f"{comma}\n    {json.dumps(row, allow_nan=False)}", end="")
        comma = ","
        yield row
    print(f'\n  ],\n  "milliseconds": {json.dumps(spent.milliseconds())}\n}}')


def _on_screen(rows: Rows, spent: _Spent) -> Rows:
    """ROWS, shown to a person."""
    out, count = console(), 0
    for row in rows:
        count += 1
        out.print(shown(row["file"]))
        if row["error"]:
            out.print(f"  not read: {shown(row['error'])}")
        if row["sure"] is False:
            out.print("  not sure; the best guesses:")
        for c in row["classes"]:
            bar = "█" * round(30 * c["probability"])
            out.print(f"  {100 * c['probability']:6.2f} %  {shown(c['name']):<24} {bar}")
        yield row
    each = ", ".join(f"{name} {value:.1f} ms" for name, value in spent.milliseconds().items())
    out.print(f"\n{count} pictures; per picture: {each}")
