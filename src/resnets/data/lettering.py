"""Names on pictures: letters that the font at hand has, in Chinese too where the computer has such a font."""

import re
from functools import cache
from pathlib import Path

from PIL import ImageFont

from ..errors import safe_text

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_WIDE = re.compile(
    r"notosans.*cjk.*regular|sourcehansans|wqy-|simhei|msyh|simsun|pingfang|heiti|hiragino|droidsansfallback", re.I
)
_LATIN = 0x250  # the first letter that Pillow's own font may lack


def lettered(name: str, size: int = 10) -> tuple[str, Font]:
    """NAME as it can be drawn, and the font of SIZE pixels for it; letters that no font here has are escaped."""
    text = safe_text(name)
    if max(map(ord, text), default=0) < _LATIN:
        return text, ImageFont.load_default(size)
    if path := _wide():
        return text, ImageFont.truetype(path, size)
    return text.encode("latin-1", "backslashreplace").decode("latin-1"), ImageFont.load_default(size)


@cache
def _wide() -> str:
    """A font file of this computer with Chinese letters; "" where there is none."""
    from matplotlib.font_manager import findSystemFonts

    return min((path for path in findSystemFonts() if _WIDE.search(re.sub(r"[ _]", "", Path(path).stem))), default="")
