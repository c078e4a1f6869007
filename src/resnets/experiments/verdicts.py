"""Ours beside the published: the rows of a report's table, and what each comes to."""

from ..report.tables import duration, seeds_summary
from .experiment import Row
from .planning import Schedule
from .running import Outcome

HEAD = (
    "", "figure", "published", "others", "ours", "training error", "training loss", "gap", "runs", "updates", "verdict",
)  # fmt: skip


def rows(schedule: Schedule, found: list[Outcome]) -> list[tuple[str, ...]]:
    """A line per row and figure of an experiment; errors in percent."""
    lines = []
    for outcome in found:
        names = dict.fromkeys([*outcome.row.published, *outcome.figures]) or ["top1"]
        for name in names:
            lines.append(_line(schedule, outcome, name))
    return lines


def _line(schedule: Schedule, outcome: Outcome, name: str) -> tuple[str, ...]:
    row, errors = outcome.row, outcome.figures.get(name, [])
    published = f"{row.published[name]:g}" if name in row.published else ("fail" if row.failed else "–")
    others = ", ".join(f"{value:g} ({source})" for source, value in row.others.items()) if name == "top1" else ""
    trained = sum(outcome.training) / len(outcome.training) if outcome.training else None
    gap = f"{sum(errors) / len(errors) - trained:+.2f}" if errors and trained is not None and name == "top1" else ""
    length = f"{outcome.updates:,} of {outcome.whole:,}" if errors else ""
    return (
        row.label,
        name if schedule.experiment.higher else f"{name} error",
        f"{published} ({row.note})" if row.note and name == next(iter(row.published), name) else published,
        others,
        ours(errors),
        "" if trained is None else f"{trained:.2f}",
        f"{sum(outcome.losses) / len(outcome.losses):.3f}" if outcome.losses else "",
        gap,
        str(len(errors)) if errors else "",
        length,
        verdict(schedule, outcome, name),
    )


def costs(found: list[Outcome]) -> list[tuple[str, ...]]:
    """Of every tested detector the seconds of one picture and its first figure, with its gain over another row."""
    tested = [outcome for outcome in found if outcome.test_seconds is not None and outcome.figures]
    firsts = {one.row.label: next(iter(one.figures.items())) for one in tested}
    means = {label: sum(values) / len(values) for label, (_, values) in firsts.items()}
    lines = list[tuple[str, ...]]()
    for outcome in tested:
        label, base = outcome.row.label, getattr(outcome.row, "over", "") or tested[0].row.label
        gain = f"{means[label] - means[base]:+.2f} over {base}" if base in means and base != label else ""
        lines.append((label, f"{outcome.test_seconds:.3g}", firsts[label][0], f"{means[label]:.2f}", gain))
    return [("", "seconds a picture", "figure", "ours", "gain"), *lines] if lines else []


def ours(errors: list[float]) -> str:
    """Mean ± deviation of several runs, or the one error."""
    if not errors:
        return ""
    figures = seeds_summary(errors)
    spread = f" ± {figures['deviation']:.2f}" if figures["deviation"] is not None else ""
    return f"{figures['mean']:.2f}{spread}"


def verdict(schedule: Schedule, outcome: Outcome, name: str) -> str:
    """What a figure comes to: within the band, better, short, not comparable because …, or not run."""
    found = _verdict(schedule, outcome, name)
    return f"{found}; another of its runs diverged" if outcome.diverged and outcome.figures.get(name) else found


def _not_run(schedule: Schedule, row: Row) -> str:
    """Why, or what its runs would take."""
    if not (row.network or row.members):
        return "published only"
    if reason := schedule.left_out.get(row.label):
        return f"not run: {reason}"
    seconds = sum(job.seconds for job in schedule.jobs if job.row.label == row.label)
    return f"not run: about {duration(seconds)} here" if seconds else "not run"


def _verdict(schedule: Schedule, outcome: Outcome, name: str) -> str:
    row, errors = outcome.row, outcome.figures.get(name, [])
    if not errors and outcome.figures:
        return "no such figure on this data"
    if not errors and not outcome.diverged:
        return _not_run(schedule, row)
    reasons = "; ".join([*schedule.reasons, *filter(None, [row.apart])])
    if not errors:
        told = f"not comparable: {reasons}" if reasons else "fails, as published" if row.failed else ""
        return f"{told}; diverged, {outcome.diverged}".removeprefix("; ")
    if reasons:
        return f"not comparable: {reasons}"
    mean, band = sum(errors) / len(errors), row.band or schedule.experiment.band
    if row.failed and name not in row.published:
        return "fails, as published" if mean > row.failed else "does not fail here"
    if name not in row.published:
        return "no published figure"
    distance = (mean - row.means.get(name, row.published[name])) * (-1 if schedule.experiment.higher else 1)
    if abs(distance) <= band:
        return f"within the band of {band:g} points"
    return f"better by {-distance:.2f}" if distance < 0 else f"short by {distance:.2f}"
