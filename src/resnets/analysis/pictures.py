"""Figures of the analyses as SVG text: the same bits for the same values. Matplotlib is loaded when one is drawn."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INSIDE = 6  # names that a panel has room for
_LETTER, _LINE = 0.08, 0.2  # inches of a name's letter, and of its line
_STYLE: dict[Any, Any] = {"svg.hashsalt": "resnets"}  # the same names in every picture


def panels(rows: int, columns: int, size: tuple[float, float]) -> "tuple[Figure, list[Axes]]":
    """A figure of so many panels, each of SIZE in inches, and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def legend(axes: "Axes", drawn: Mapping[str, Any]) -> None:
    """The names of what is DRAWN, where there are several; those of many stand beside the panels, once a figure."""
    if 1 < len(drawn) <= _INSIDE:
        axes.legend(fontsize="small")
    figure = axes.get_figure(root=True)
    if len(drawn) > _INSIDE and figure and not figure.legends:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + _LETTER * max(map(len, drawn)) + 0.6, max(height, _LINE * len(drawn) + 0.3))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small")


def svg(figure: "Figure") -> str:
    """FIGURE as the text of an SVG file."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
