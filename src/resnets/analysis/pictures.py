"""Figures of the analyses as SVG text: the same bits for the same values. Matplotlib is loaded when one is drawn."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {"svg.hashsalt": "resnets"}  # the same names in every picture


def panels(rows: int, columns: int, size: tuple[float, float]) -> "tuple[Figure, list[Axes]]":
    """A figure of so many panels, each of SIZE in inches, and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def legend(axes: "Axes", drawn: Mapping[str, Any]) -> None:
    """The names of what is DRAWN, where there are several."""
    if len(drawn) > 1:
        axes.legend(fontsize="small")


def svg(figure: "Figure") -> str:
    """FIGURE as the text of an SVG file."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
