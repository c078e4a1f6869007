"""The runs of an experiment, one after the other; processes that share a folder never do one twice."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..api import followed
from ..errors import LockHeld, NumericError
from ..files import Log, write_file
from ..record import Result, read_recipe, read_result
from ..testing import evaluate
from .experiment import Row
from .planning import Job, Schedule
from .speed import with_one_precision

DIVERGED = "diverged.txt"
_POLL = 2.0  # seconds between looks at a run that another process has
_TOP5 = 20  # classes from which on the top-5 error says something


@dataclass(frozen=True)
class Happening:
    """An event of a run, or the error that it ended with; None: another process has the run, and this one waits."""

    job: Job
    event: Any


def run(schedule: Schedule, out: Path, workers: int | None = None) -> Iterator[Happening]:
    """Every run of SCHEDULE below OUT that has no result yet; what another process works on is left to it.

    A run that diverges is marked so in its folder, and not tried again.
    """
    waiting = list(schedule.jobs)
    while waiting:
        held = list[Job]()
        for job in waiting:
            folder = out / job.folder
            if (folder / "result.json").exists() or (folder / DIVERGED).exists():
                continue
            try:
                for event in followed(with_one_precision(job.recipe, folder, out), folder, workers):
                    yield Happening(job, event)
            except LockHeld:
                held.append(job)
            except NumericError as error:  # some rows of the papers fail; the others are to be seen
                write_file(folder / DIVERGED, f"{error}\n".encode())
                yield Happening(job, error)
        waiting = held
        if waiting:
            yield Happening(waiting[0], None)
            time.sleep(_POLL)


@dataclass
class Outcome:
    """What the runs of a row came to: errors in percent, one per run; `updates` of `whole`.

    training: errors of the last epoch. losses: means over the last tenth of the updates, in nats. test_seconds: of
    one picture, where a detector's test tells. diverged: why one of its runs ended without a result.
    """

    row: Row
    runs: list[Path] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    training: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    updates: int = 0
    whole: int = 0
    seconds: float = 0.0
    test_seconds: float | None = None
    diverged: str = ""


def outcomes(schedule: Schedule, out: Path) -> list[Outcome]:
    """The outcome of every row, empty for those that were not run."""
    found = {row.label: Outcome(row) for row in schedule.experiment.rows}
    for job in schedule.jobs:
        result, outcome = read_result(out / job.folder), found[job.row.label]
        if result:
            _take(outcome, job, result, out)
        outcome.diverged = outcome.diverged or diverged(job, out)
    for outcome in found.values():
        if outcome.row.members and all(found[label].runs for label in outcome.row.members):
            _together(outcome, [found[label] for label in outcome.row.members], schedule.jobs[0].recipe.data, out)
    return list(found.values())


def diverged(job: Job, out: Path) -> str:
    """Why the run of JOB below OUT ended without a result; "" where it did not."""
    note = out / job.folder / DIVERGED
    return note.read_text().strip() if note.exists() else ""


def _take(outcome: Outcome, job: Job, result: Result, out: Path) -> None:
    outcome.runs.append(result.path)
    outcome.updates, outcome.whole = result.updates, job.whole
    outcome.seconds += result.seconds
    records: list[dict[str, Any]] = Log(result.path / "log.jsonl").records()
    errors = [record["train_error"] for record in records if "train_error" in record]
    outcome.training += errors[-1:]
    steps = [record["loss"] for record in records if "mistakes" in record]
    last = steps[-max(1, len(steps) // 10) :]
    outcome.losses.append(sum(last) / len(last))
    own = job.row.protocol == job.recipe.protocol and read_recipe(result.path).network.classes < _TOP5
    if own and result.test_error is not None:
        _keep(outcome, {"top1": result.test_error})
    else:
        _keep(outcome, _tested([result.path], job.recipe.data, job.row.protocol, out))


def _together(outcome: Outcome, members: list[Outcome], data: str, out: Path) -> None:
    """Average the first run of every member."""
    outcome.runs = [member.runs[0] for member in members]
    outcome.updates, outcome.whole = members[0].updates, members[0].whole
    _keep(outcome, _tested(outcome.runs, data, outcome.row.protocol, out))


def _keep(outcome: Outcome, figures: dict[str, float]) -> None:
    for name, value in figures.items():
        outcome.figures.setdefault(name, []).append(value)


def _tested(runs: list[Path], data: str, protocol: str, out: Path) -> dict[str, float]:
    """Errors of the model, or of all together, under PROTOCOL; scores are kept, so each passes over the data once."""
    evaluation = evaluate(list(runs), data, protocol=protocol, cache=out / "scores").evaluation
    top5 = {"top5": evaluation.counts.top5_error} if len(evaluation.classes) >= _TOP5 else {}
    return {"top1": evaluation.counts.top1_error, **top5}
