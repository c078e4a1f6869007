"""Engines timed side by side on this machine, and what was found remembered for `--engine auto`."""

import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__, files
from ..bundle import Bundle
from ..errors import EnvironmentProblem, NumericError, UsageError
from ..evaluation.ensemble import weights_hash
from ..recipe import from_json
from .compare import COMPARED, ENOUGH, Run
from .engines import ENGINES, Engine, Prepared, Started, start

_TURNS = 10
_PACKAGES = ("torch", "onnxruntime", "openvino", "nncf")
LOSS = 0.3  # points of accuracy that the chosen engine may lose


@dataclass(frozen=True)
class Measured:
    """An engine on this machine: seconds to its first answer, seconds of one image, images per second in batches.

    start: as it is once its files are kept; making those (OpenVINO, int8) does not count.

    difference, agreement: as in `compare.Difference`. accuracy: in percent. lost: points of accuracy below the
    reference; without labels the share of changed answers, which bounds it; None where fewer than 100 pictures tell.
    """

    engine: str
    precision: str
    start: float
    latency: float
    latency_p90: float
    images_per_second: float
    difference: float
    agreement: float
    accuracy: float | None = None
    lost: float | None = None

    @property
    def allowed(self) -> bool:
        """Whether it may be chosen without being asked for: below fp32 only where pictures have shown what it loses."""
        return self.precision == "fp32" if self.lost is None else self.lost <= LOSS


@dataclass(frozen=True)
class Refused:
    """An engine that is not used, and why."""

    engine: Engine
    reason: str


@dataclass(frozen=True)
class _Remembered:
    format: int
    weights: str
    machine: dict[str, str]
    batch_size: int
    rows: tuple[Measured, ...]


def measure(
    prepared: Prepared, engines: Sequence[Engine], batch: int, seconds: float
) -> Iterator[Started | Refused | Measured]:
    """Every engine that starts, or is refused; then what was measured of each that started, SECONDS long at each batch.

    Batches of BATCH images and single images are timed apart, each time with all engines in turn.
    """
    ready, alone = list[Started](), list[Run]()
    for engine in engines:
        found = _tried(engine, prepared, batch)
        single = found if batch == 1 or isinstance(found, Refused) else _tried(engine, prepared, 1, COMPARED)
        yield single if isinstance(single, Refused) else found
        if isinstance(found, Started) and isinstance(single, Started):
            ready.append(found)
            alone.append(single.run)
    many = race([one.run for one in ready], _filled(prepared, batch), seconds)
    singles = race(alone, _filled(prepared, 1), seconds)
    for one, calls, single_calls in zip(ready, many, singles, strict=True):
        accuracy, lost = _accuracy(one, prepared)
        yield Measured(
            one.engine.name,
            one.engine.precision,
            one.seconds,
            statistics.median(single_calls),
            float(np.quantile(single_calls, 0.9)),
            batch / statistics.median(calls),
            one.difference.largest,
            one.difference.agreement,
            accuracy,
            lost,
        )


def _tried(engine: Engine, prepared: Prepared, batch: int, count: int | None = None) -> Started | Refused:
    if engine.missing:
        return Refused(engine, engine.missing)
    try:
        return start(engine, prepared, batch, count)
    except (EnvironmentProblem, NumericError, UsageError) as error:
        return Refused(engine, str(error))


def _filled(prepared: Prepared, batch: int) -> NDArray[np.float32]:
    """So many inputs; where there are fewer examples they come again."""
    return np.resize(prepared.inputs(0, batch), (batch, *prepared.shape))


def race(runs: Sequence[Run], inputs: NDArray[np.float32], seconds: float) -> list[list[float]]:
    """The seconds of every call of each of RUNS, timed for SECONDS in all; they take turns in rotated order.

    The first call of a turn is not timed: it brings the engine's threads and memory back.
    """
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(_TURNS * bool(runs)):
        for which in (*range(turn % len(runs), len(runs)), *range(turn % len(runs))):
            runs[which](inputs)
            end = time.perf_counter() + seconds / _TURNS
            while True:
                began = time.perf_counter()
                runs[which](inputs)
                times[which].append(time.perf_counter() - began)
                if time.perf_counter() >= end:
                    break
    return times


def _accuracy(one: Started, prepared: Prepared) -> tuple[float | None, float | None]:
    """Accuracy in percent, and points lost; of a few pictures this is not told."""
    pictures = prepared.pictures
    if pictures is None:
        return None, None
    answers, before = one.scores.argmax(1), prepared.reference.argmax(1)
    enough = len(answers) >= ENOUGH
    if pictures.labels is None:
        return None, 100 * float(np.mean(answers != before)) if enough else None
    right, were = (100 * float(np.mean(each == pictures.labels)) for each in (answers, before))
    return right, were - right if enough else None


def best(rows: Sequence[Measured], cost: Callable[[Measured], float]) -> Measured | None:
    """The allowed row of the least COST."""
    return min((row for row in rows if row.allowed), key=cost, default=None)


def seconds_for(images: int) -> Callable[[Measured], float]:
    """The cost of an engine that is started for so many images and then stopped."""
    return lambda row: row.start + images / row.images_per_second


def choose(prepared: Prepared, images: int, batch: int, seconds: float = 1.0) -> Engine:
    """The engine that is soonest done with so many IMAGES here, from what is remembered, else measured now.

    Without pictures nothing tells what less than fp32 loses: those engines win only after `resnets benchmark --data`.
    """
    rows = [row for row in recall(prepared.bundle, batch) if row.precision != "int8" or prepared.has_int8]
    if not any(row.allowed for row in rows):
        engines = [engine for engine in ENGINES if engine.precision == "fp32"]
        rows = [row for row in measure(prepared, engines, batch, seconds) if isinstance(row, Measured)]
        remember(prepared.bundle, batch, rows)
    row = best(rows, seconds_for(images))
    assert row is not None  # PyTorch itself is always there
    return next(e for e in ENGINES if (e.name, e.precision) == (row.engine, row.precision))


def remember(bundle: Bundle, batch: int, rows: Sequence[Measured]) -> None:
    """Keep ROWS in the user's cache folder; where that cannot be written, nothing is kept.

    What an engine loses stays known where it was measured again without pictures.
    """
    known = {(row.engine, row.precision): row for kept in _kept(bundle) for row in kept.rows if row.lost is not None}
    told = tuple(
        replace(row, accuracy=old.accuracy, lost=old.lost)
        if row.lost is None and (old := known.get((row.engine, row.precision)))
        else row
        for row in rows
    )
    facts = _Remembered(1, _identity(bundle), machine(), batch, told)
    with suppress(EnvironmentProblem):
        files.write_json(folder_of(bundle) / f"batch-{batch}.json", asdict(facts))


def recall(bundle: Bundle, batch: int) -> list[Measured]:
    """The rows remembered for this model and machine: those that tell losses first, then the nearest batch size."""
    known = {str(engine) for engine in ENGINES}
    nearest = min(_kept(bundle), key=lambda kept: (not _tells(kept), abs(kept.batch_size - batch)), default=None)
    rows = nearest.rows if nearest else ()
    return [row for row in rows if f"{row.engine}:{row.precision}" in known and _is_there(row)]


def _tells(kept: _Remembered) -> bool:
    return any(row.lost is not None for row in kept.rows)


def _kept(bundle: Bundle) -> list[_Remembered]:
    """All that is remembered for this model and machine; a file that is not right is left out."""
    found = list[_Remembered]()
    for path in sorted(folder_of(bundle).glob("batch-*.json")):
        with suppress(UsageError, OSError, ValueError, RecursionError):
            kept = from_json(_Remembered, json.loads(path.read_bytes()), path.name)
            if (kept.format, kept.weights, kept.machine) == (1, _identity(bundle), machine()):
                found.append(kept)
    return found


def _is_there(row: Measured) -> bool:
    return not any(e.missing for e in ENGINES if (e.name, e.precision) == (row.engine, row.precision))


def folder_of(bundle: Bundle) -> Path:
    """Where what is known of this model on this machine is kept."""
    place = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = place if place.is_absolute() else Path.home() / ".cache"
    key = json.dumps([_identity(bundle), machine()])
    return base / "resnets" / "engines" / hashlib.sha256(key.encode()).hexdigest()[:16]


def _identity(bundle: Bundle) -> str:
    """What makes the answers of a model: its network, the size of its input, and every weight."""
    return json.dumps([asdict(bundle.network), bundle.preprocessing.size, weights_hash(bundle.tensors)])


def machine() -> dict[str, str]:
    """What the speed of engines depends on: processor, threads, versions."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {"processor": _processor(), "threads": str(torch.get_num_threads()), "resnets": __version__, **versions}


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def as_rows(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    """The rows as `resnets benchmark --json` documents them: with the ratios to PyTorch as it is."""
    base = next(row for row in rows if (row.engine, row.precision) == ("torch", "fp32"))
    return [
        {
            **asdict(row),
            "latency_ratio": base.latency / row.latency,
            "throughput_ratio": row.images_per_second / base.images_per_second,
        }
        for row in rows
    ]
