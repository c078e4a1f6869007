"""The report of an experiment: Markdown, a self-contained page, its pictures, and the figures as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import DataError
from ..report.page import render
from ..report.parts import Part
from ..report.tables import duration
from . import curves, verdicts
from .planning import Schedule
from .running import Outcome

STATED = (
    "Errors in percent; training error of the last epoch, training loss (nats) over the last tenth of the updates; "
    "the gap is test less training error; mean ± sample deviation over runs."
)

STATED_AP = (
    "Average precision in percent, the higher the better; voc07: mean of 11 points, area: under the curve, both at an "
    "IoU above 0.5; bbox: COCO's, AP the mean over IoU 0.50 to 0.95, AP50 at 0.5. A class by its name: its own AP."
)


@dataclass(frozen=True)
class Report:
    """What an experiment came to."""

    name: str
    title: str
    stated: tuple[str, ...]
    parts: tuple[Part, ...]


def made(schedule: Schedule, found: list[Outcome], out: Path) -> Report:
    """The report of EXPERIMENT; studies beyond its rows are computed from the runs below OUT."""
    experiment = schedule.experiment
    parts = list[Part]()
    if experiment.rows:
        lines = verdicts.rows(schedule, found)
        told = STATED_AP if experiment.higher else STATED
        parts.append(Part("Published and ours", (verdicts.HEAD, *_without_empty(lines)), text=(told,)))
    if costs := verdicts.costs(found):
        parts.append(Part("Cost and gain", tuple(costs)))
    if experiment.draws == "curves" and (svg := curves.picture(found)):
        parts += [Part("Curves", svg=svg), curves.reached(found)]
    if experiment.study:
        parts += experiment.study(found, out)
    done = sum((out / folder / "result.json").exists() for folder in _folders(schedule))
    return Report(experiment.name, experiment.title, tuple(stated(schedule, done)), tuple(parts))


def stated(schedule: Schedule, done: int | None = None) -> list[str]:
    """Where the numbers come from, and what was done here in place of the protocol; DONE: runs with a result."""
    experiment, jobs = schedule.experiment, schedule.jobs
    lines = [f"Published: {origin}." for origin in experiment.origins] + list(experiment.notes)
    if jobs:
        shortened = (
            f"; other than the paper's: {'; '.join(schedule.reasons)}" if schedule.reasons else ", the paper's own"
        )
        planned = len(_folders(schedule))
        count = f"{planned}" if done in (None, planned) else f"{done} of {planned}"
        lines.append(f"Runs: {count} by the recipe {experiment.recipe}{shortened}.")
    lines += [f"Left out: {label}, {reason}." for label, reason in schedule.left_out.items()]
    return lines


def _folders(schedule: Schedule) -> set[str]:
    """Where its runs lie; rows may share one."""
    return {job.folder for job in schedule.jobs}


def _without_empty(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(cell or "–" for cell in line) for line in lines]


def write(report: Report, schedule: Schedule, found: list[Outcome], folder: Path) -> Path:
    """Write report.md, report.html, the pictures and result.json into FOLDER; answers the page."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {place: f"figure-{place}.svg" for place, part in enumerate(report.parts, 1) if part.svg}
    for place, name in names.items():
        files.write_file(folder / name, report.parts[place - 1].svg.encode())
    files.write_file(folder / "report.md", _markdown(report, names).encode())
    files.write_json(folder / "result.json", facts(schedule, found))
    return render("parts_page", folder / "report.html", "en", {"report": report})


def facts(schedule: Schedule, found: list[Outcome]) -> dict[str, Any]:
    """What `resnets reproduce --json` prints."""
    return {
        "experiment": schedule.experiment.name,
        "title": schedule.experiment.title,
        "comparable": not schedule.reasons,
        "reasons": list(schedule.reasons),
        "left_out": schedule.left_out,
        "rows": [
            {
                "row": outcome.row.label,
                "network": outcome.row.network or None,
                "published": dict(outcome.row.published),
                "others": dict(outcome.row.others),
                "ours": outcome.figures,
                "training_error": outcome.training,
                "training_loss": outcome.losses,
                "updates": outcome.updates,
                "whole": outcome.whole,
                "seconds": round(outcome.seconds, 1),
                "test_seconds": outcome.test_seconds,
                "runs": [str(run) for run in outcome.runs],
                "verdict": verdicts.verdict(schedule, outcome, next(iter(outcome.row.published), "top1")),
            }
            for outcome in found
        ],
    }


def _markdown(report: Report, names: dict[int, str]) -> str:
    lines = [f"# {report.title}", "", *(f"* {line}" for line in report.stated), ""]
    for place, part in enumerate(report.parts, 1):
        lines += [f"## {part.title}", ""]
        if part.table:
            head, *rows = ([str(cell).replace("|", "\\|") for cell in row] for row in part.table)
            lines += [_cells(head), _cells(["---"] * len(head)), *map(_cells, rows), ""]
        if part.svg:
            lines += [f"![{part.title}]({names[place]})", ""]
        lines += [f"{line}\n" for line in part.text]
    return "\n".join(lines)


def _cells(row: list[str]) -> str:
    return f"| {' | '.join(row)} |"


def announced(schedule: Schedule) -> list[str]:
    """The plan, for a person, before anything is run."""
    runs = f"{len(schedule.jobs)} runs, about {duration(schedule.seconds)} in one process"
    lines = [f"{schedule.experiment.title}: {runs if schedule.experiment.rows else 'nothing is trained'}"]
    lines += stated(schedule)[len(schedule.experiment.origins) :]
    for job in schedule.jobs:
        length = f"{job.recipe.training.updates or job.whole:,} updates"
        lines.append(f"  {job.row.label}, seed {job.recipe.seed}: {length}, about {duration(job.seconds)}")
    return lines


def index(folders: list[tuple[str, str, str]], out: Path) -> Path:
    """A page with a link to the report of each experiment, or why there is none: (name, title, reason).

    Raises DataError where there is no report at all.
    """
    if all(reason for _, _, reason in folders):
        raise DataError(f"no experiment has what it needs; {folders[0][0]}: {folders[0][2]}")
    return render("experiments", out / "index.html", "en", {"rows": folders})
