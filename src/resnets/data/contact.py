"""A contact sheet: pictures of every class as the network will see them."""

import io

import numpy as np
from PIL import Image, ImageDraw

from .datasets import Dataset
from .images import ImageError
from .lettering import Font, lettered
from .preprocessing import Preprocessing
from .sources import Source

_ROWS, _COLUMNS = 8, 8  # classes, and pictures of each
_GAP, _LABEL = 4, 16  # pixels
_LEAST = 64  # pixels of a picture on the sheet: smaller ones are shown enlarged
_TRIES = 4  # times as many pictures are tried where some cannot be read


def contact_sheet(dataset: Dataset, preprocessing: Preprocessing) -> bytes:
    """A PNG of up to 8 classes, 8 training pictures each, spread evenly, as `preprocessing.view` gives them.

    Of more than three channels the first three are shown, of two the first.
    """
    labels = np.unique(dataset.train.labels)
    labels = labels[np.linspace(0, len(labels) - 1, min(len(labels), _ROWS)).astype(int)]
    scale = max(1, -(-_LEAST // preprocessing.size))
    side, height = preprocessing.size * scale + _GAP, preprocessing.size * scale + _GAP + _LABEL
    sheet = Image.new("RGB", (_GAP + _COLUMNS * side, _GAP + len(labels) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        top = _GAP + row * height
        name, font = lettered(dataset.classes[label])
        pen.text((_GAP, top), _fitting(name, pen, font, sheet.width - 2 * _GAP), "black", font)
        for column, view in enumerate(_views(dataset.train, int(label), preprocessing)):
            shown = view.resize((side - _GAP, side - _GAP), Image.Resampling.NEAREST)
            sheet.paste(shown, (_GAP + column * side, top + _LABEL))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _views(source: Source, label: int, preprocessing: Preprocessing) -> list[Image.Image]:
    members = np.flatnonzero(source.labels == label)
    found: list[Image.Image] = []
    tries = min(len(members), _COLUMNS * _TRIES)
    for step in sorted(range(tries), key=lambda n: n % _TRIES):  # evenly spread ones first
        index = int(members[step * len(members) // tries])
        try:
            view = preprocessing.view(source.picture(index))
        except ImageError:
            continue
        found.append(Image.fromarray(view[..., :3] if view.shape[-1] >= 3 else view[..., 0]))
        if len(found) == _COLUMNS:
            break
    return found


def _fitting(text: str, pen: ImageDraw.ImageDraw, font: Font, width: int) -> str:
    """TEXT, cut where it is too long."""
    text = text[:200]
    while pen.textlength(text, font) > width:
        text = text[:-4] + "..."
    return text
