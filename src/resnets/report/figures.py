"""Charts as SVG for a page: no words in them, and the page's own colours, so that they fit light and dark.

The `name` of a chart is in its ids: a page has no two of a name.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = 8  # how many the page's style sheet has
_INK, _GRID = "#5e0000", "#5e0099"  # stand-ins for colours of the style sheet
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "resnets", "font.size": 9, "axes.unicode_minus": True}


@dataclass(frozen=True)
class Line:
    """Points (x, y) in one of the page's colours, from 1."""

    points: Sequence[tuple[float, float]]
    colour: int = 1
    dotted: bool = False
    marks: bool = True


def lines(name: str, drawn: Sequence[Line], zero: bool = False, size: tuple[float, float] = (4.7, 2.7)) -> Markup:
    """A chart of lines; y is logarithmic where it spans more than a factor of 30 and need not begin at zero."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(size)
        for line in drawn:
            marker = "o" if len(line.points) < (40 if line.marks else 2) else ""  # a line of one point is not seen
            style = {"linestyle": (0, (1, 1.6)) if line.dotted else "-", "marker": marker, "markersize": 3}
            axes.plot(*zip(*line.points, strict=True), color=_colour(line.colour), linewidth=1.6, **style)  # type: ignore[arg-type]
        values = [y for line in drawn for _, y in line.points]
        if not zero and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=min(0, *values))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.set_minor_formatter(lambda value, _: "")
        return _svg(name, figure)


def reliability(name: str, bins: Sequence[dict[str, Any]]) -> Markup:
    """Share of right answers per bin of confidence, beside the diagonal of a calibrated model."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes((3.1, 2.9))
        filled = [b for b in bins if b["images"]]
        most = max((b["images"] for b in filled), default=1)
        for b in filled:
            shade = 0.25 + 0.75 * (b["images"] / most) ** 0.5
            width = b["high"] - b["low"]
            axes.bar(b["low"] + width / 2, b["accuracy"], 0.9 * width, color=_colour(1), alpha=shade)
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        return _svg(name, figure)


def thinned(points: Sequence[tuple[float, float]], most: int = 400) -> Sequence[tuple[float, float]]:
    """At most about so many of POINTS, the last among them."""
    step = max(1, len(points) // most)
    return points if step == 1 else [*points[:-1:step], points[-1]]


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot(facecolor="none")
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelcolor=_INK, pad=5)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", edgecolor=_GRID)
    return figure, axes


def _colour(number: int) -> str:
    return f"#5e{(number - 1) % COLOURS + 1:04d}"


def _svg(name: str, figure: Figure) -> Markup:
    """FIGURE as an element: stand-ins become variables of the style sheet, ids are its own on the page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()[out.getvalue().index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", text)
    text = text.replace(_INK, "var(--soft)").replace(_GRID, "var(--line)")
    return Markup(re.sub(r"#5e000(\d)", r"var(--c\1)", text))  # noqa: S704 - numbers only
