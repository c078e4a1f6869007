"""Detections on their picture: boxes, names and scores, masks as a tint."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..data.lettering import lettered
from .objects import Detections

# Okabe and Ito's colours, which people with any sight tell apart.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_TINT = 0.4
_SMALLEST = 480  # pixels of the shorter side, to which a smaller picture is enlarged so that names can be read


def drawn(pixels: NDArray[np.uint8], found: Detections, classes: Sequence[str]) -> bytes:
    """A PNG of a picture (H, W, 3) with what was found on it: names above all boxes, the best detection's on top."""
    factor = max(1, -(-_SMALLEST // max(1, min(pixels.shape[:2]))))
    tinted = pixels.astype(np.float32)
    if found.masks is not None:
        for mask, label in zip(found.masks[::-1], found.labels[::-1], strict=True):
            tinted[mask > 0] = (1 - _TINT) * tinted[mask > 0] + _TINT * np.array(colour(int(label)))
    image = Image.fromarray(tinted.round().astype(np.uint8))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for box, label in zip(found.boxes[::-1], found.labels[::-1], strict=True):
        left, top, right, bottom = (factor * box).tolist()
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=colour(int(label)), width=2)
    for box, label, score in zip(found.boxes[::-1], found.labels[::-1], found.scores[::-1], strict=True):
        left, top = (factor * box[:2]).tolist()
        name, font = lettered(classes[int(label) - 1], 14)
        text = f"{name[:40]} {score:.2f}"
        place = pen.textbbox((left + 2, max(top - 17, 0)), text, font=font)
        pen.rectangle((place[0] - 2, place[1] - 1, place[2] + 2, place[3] + 1), fill=colour(int(label)))
        pen.text((left + 2, max(top - 17, 0)), text, fill=(0, 0, 0), font=font)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def colour(label: int) -> tuple[int, int, int]:
    """The colour of class LABEL, from 1."""
    return _COLOURS[(label - 1) % len(_COLOURS)]
