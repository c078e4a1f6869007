"""A page made of parts: each a table, a drawing, pictures or sentences."""

import base64
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of a report: a table (first row: its head), a drawing as SVG, sentences, PNGs with what they show."""

    title: str
    table: tuple[tuple[Any, ...], ...] = ()
    svg: str = ""
    text: tuple[str, ...] = ()
    pictures: tuple[tuple[str, bytes], ...] = ()

    @property
    def sources(self) -> list[tuple[str, str]]:
        """What a page shows, each with its description: the drawing and the pictures as data of the page itself."""
        drawing = [(self.title, "image/svg+xml", self.svg.encode())] if self.svg else []
        shown = [*drawing, *((about, "image/png", data) for about, data in self.pictures)]
        return [(about, f"data:{kind};base64,{base64.b64encode(data).decode()}") for about, kind, data in shown]
