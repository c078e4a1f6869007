"""Training and test error against updates, drawn like the papers': thin training curves, bold test curves."""

from collections.abc import Sequence
from typing import Any

from ..analysis.pictures import panels, svg
from ..files import Log
from ..report.parts import Part
from .running import Outcome

_POINTS = 80  # of a training curve
_LEVELS = (80, 60, 40, 20, 10, 5, 1)  # training errors (percent) that are looked for
_THOUSANDS = 10_000  # updates from which on the axis counts in 1e4, as the papers' do
Curve = list[tuple[float, float]]


def training(records: Sequence[dict[str, Any]], points: int = _POINTS) -> Curve:
    """Update and error (percent) over equal stretches of a log."""
    steps = [record for record in records if "mistakes" in record]
    stretch = max(1, len(steps) // points)
    found = []
    for start in range(0, len(steps) - stretch + 1, stretch):
        part = steps[start : start + stretch]
        images = sum(record["images"] for record in part)
        found.append((part[-1]["update"], 100 * sum(record["mistakes"] for record in part) / images))
    return found


def testing(records: Sequence[dict[str, Any]]) -> Curve:
    """Update and test error (percent) at the end of each epoch."""
    return [(record["update"], record["watched_test_error"]) for record in records if "watched_test_error" in record]


def reached(outcomes: Sequence[Outcome]) -> Part:
    """The updates that the first run of every row took to each training error."""
    lines = []
    for outcome in outcomes:
        if outcome.runs and not outcome.row.members:
            curve = training(Log(outcome.runs[0] / "log.jsonl").records())
            firsts = [next((update for update, error in curve if error <= level), None) for level in _LEVELS]
            lines.append((outcome.row.label, *("never" if first is None else f"{first:,.0f}" for first in firsts)))
    head = ("updates to a training error of", *(f"{level} %" for level in _LEVELS))
    return Part("Updates to a training error", (head, *lines), text=("Means over stretches of an eightieth of a run.",))


def picture(outcomes: Sequence[Outcome]) -> str:
    """The first run of every row that was run, as SVG; "" where none was."""
    drawn = [(outcome.row.label, outcome.runs[0]) for outcome in outcomes if outcome.runs and not outcome.row.members]
    if not drawn:
        return ""
    figure, (axes,) = panels(1, 1, (6.4, 4.2))
    highest = 0.0
    for place, (label, run) in enumerate(drawn):
        records, colour = Log(run / "log.jsonl").records(), f"C{place % 10}"
        style = "-" if place < 10 else "--"
        for curve, width, alpha in ((training(records), 0.8, 0.7), (testing(records), 2.0, 1.0)):
            if curve:
                axes.plot(*zip(*curve, strict=True), style, color=colour, linewidth=width, alpha=alpha)
                highest = max(highest, *(y for _, y in curve[len(curve) // 3 :]))
        axes.plot([], [], style, color=colour, linewidth=2.0, label=label)
    longest = max(line.get_xdata()[-1] for line in axes.get_lines() if len(line.get_xdata()))  # type: ignore[arg-type,index]
    if longest >= _THOUSANDS:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e4:g}")
    axes.set(
        xlabel="updates (1e4)" if longest >= _THOUSANDS else "updates",
        ylabel="error (%)",
        ylim=(0, min(100.0, 1.25 * highest) or 1),
        xlim=(0, longest),
    )
    axes.set_title("thin: training error, bold: test error", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return svg(figure)
