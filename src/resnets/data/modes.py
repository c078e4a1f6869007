"""How the modes of files become `L` or `RGB`, 8 bits deep, over white; the rules stand in `images`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .containers import ImageError


def scale_key(image: Image.Image, depth: int) -> None:
    """Bring a PNG's transparent colour from DEPTH bits to the 8 of the pixels: Pillow does not."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif isinstance(key, int) and image.mode == "L":
        image.info["transparency"] = key * (255 // (2**depth - 1)) & 255


def flatten(image: Image.Image) -> Image.Image:
    """Any upright IMAGE in 8 bits over white, as `L` where it is gray, else as `RGB`; else `ImageError`."""
    if image.mode.startswith("I;16"):
        return _narrow(image)
    if image.mode in ("I", "F"):
        raise ImageError("pixels of more than 16 bits")
    plain, veiled = ("L", "LA") if image.mode in ("1", "L", "LA", "La") else ("RGB", "RGBA")
    if image.mode in ("La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert(veiled)
    if image.mode != veiled:
        return image if image.mode == plain else image.convert(plain)
    page = Image.new(plain, image.size, "white")
    page.paste(image, mask=image)
    return page


def narrowed(wide: NDArray[Any]) -> NDArray[np.uint8]:
    """16-bit numbers divided by 257 and rounded."""
    return ((np.minimum(wide, 65407) + 128) // 257).astype(np.uint8)  # 65407 gives 255 and stays below 2**16


def _narrow(image: Image.Image) -> Image.Image:
    """The 16-bit gray IMAGE in 8 bits."""
    wide, key = np.asarray(image), image.info.get("transparency")
    narrow = narrowed(wide)
    if key is not None:
        narrow[wide == key] = 255
    return Image.fromarray(narrow)
