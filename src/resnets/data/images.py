"""Pictures from bytes nobody vouches for: the only file of the project that decodes an image.

The contents decide, never the extension. JPEG, PNG, WebP, BMP and GIF are read, TIFF on request. The
signature is checked here, then the class of that format is called directly: no other decoder of Pillow can be
reached and its global limits play no part. A NumPy array of bytes or 16-bit numbers is a picture of any number
of channels. What comes out is upright, 8 bits deep, `L` or `RGB`, or an array of other channels:

* EXIF orientation is applied; no other metadata is read, and ICC profiles are ignored;
* 16-bit values are divided by 257 (gray is rounded; of colours Pillow keeps the high byte);
* alpha, transparent colours and palette entries are laid over white (in BMP, alpha counts if its header says so);
* `L` stands where the file itself says gray: not for a palette, but for the plain ramp in BMP and GIF, and not
  for 16-bit gray with alpha, which Pillow gives in colour;
* CMYK is converted as Pillow does, a JPEG's after inversion, as Adobe writes it;
* of an animation the first frame (of PNG the default image); what has no rule, as a float TIFF, is refused.
"""

import math
import os
import re
import stat
import struct
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import PIL
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import EnvironmentProblem, safe_text
from .containers import ImageError, bare_jpeg, bare_png, gif_size, orientation, webp_size
from .modes import flatten, narrowed, scale_key


class _WebP(WebPImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # has given its picture and holds two more of this size
        super().load_prepare()


EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"})
MAX_CHANNELS = 64
ODDITIES = {  # what is not seen as the file has it, and the rule
    "rotated": "turned upright, as EXIF says",
    "16-bit": "divided by 257",
    "palette": "colours looked up",
    "transparent": "laid over white",
    "CMYK": "converted to RGB",
    "1-bit": "read as gray, 0 or 255",
    "animated": "the first frame is read",
}

_READERS = {r.format: r for r in (JpegImageFile, PngImageFile, _WebP, BmpImageFile, GifImageFile)}
_TURNS = [None, *map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2))]  # of EXIF orientation 1 to 8
_tiff_lock = threading.Lock()
_SIGNATURES = {  # of the beginning of a file; the first that fits
    "JPEG": rb"\xff\xd8\xff", "PNG": rb"\x89PNG\r\n\x1a\n", "WEBP": rb"RIFF....WEBP", "GIF": rb"GIF8[79]a",
    "BMP": rb"BM", "TIFF": rb"II[*+]\0|MM\0[*+]", "AVIF": rb"....ftypavi[fs]", "DICOM": rb".{128}DICM",
    "HEIC": rb"....ftyp(he[iv]|mif1|msf1)", "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ", "PSD": rb"8BPS", "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "ICO": rb"\0\0[\x01\x02]\0", "DDS": rb"DDS ", "PCX": rb"\x0a[\x02\x03\x05]\x01", "PNM": rb"P[1-7fF]\s",
    "SVG": rb"\s*(<\?xml.{,400}?)?<svg", "XML": rb"\s*<\?xml", "HTML": rb"(?i)\s*<(!doctype )?html",
    "PDF": rb"%PDF", "video or sound": rb"....ftyp|RIFF....(AVI |WAVE)|\x1a\x45\xdf\xa3|OggS|ID3|fLaC",
    "archive": rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar",
    "Git LFS pointer": rb"version https://git-lfs", "NumPy array": rb"\x93NUMPY", "program": rb"\x7fELF|MZ|#!",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a picture may cost, counted before it is decoded, and whether TIFF is read.

    enough: a JPEG is decoded at 1/2, 1/4 or 1/8 as long as its shorter side keeps so many pixels; 0: whole.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_side: int = 30_000
    tiff: bool = False
    enough: int = 0


LIMITS = Limits()
Path = str | bytes | os.PathLike


def read_image(path: Path, limits: Limits = LIMITS) -> Image.Image:
    """The picture in the file PATH, as `decode` gives it."""
    return decode(read_bytes(path, limits), limits)


def read_any(path: Path, limits: Limits = LIMITS) -> Image.Image | NDArray[np.uint8]:
    """The picture or the channels in the file PATH, as `decode_any` gives them."""
    return decode_any(read_bytes(path, limits), limits)


def read_bytes(path: Path, limits: Limits = LIMITS, *, follow_links: bool = True) -> bytes:
    """The contents of a regular file, else `ImageError`; nothing else is opened, a link if FOLLOW_LINKS."""
    names = ("O_NONBLOCK", "O_BINARY", "" if follow_links else "O_NOFOLLOW")
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in names)
    try:
        _check_file(os.stat(path, follow_symlinks=follow_links), limits)  # noqa: PTH116
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            _check_file(found, limits)  # again: the name may mean another file by now
            data = file.read(found.st_size + 1) or b""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(getattr(error, "strerror", None) or "not a file name") from error
    if len(data) != found.st_size:
        raise ImageError("changed while it was read")
    return data


def _check_file(found: os.stat_result, limits: Limits) -> None:
    kind = stat.filemode(found.st_mode)[0]
    if kind != "-":
        kinds = {"d": "a folder", "p": "a pipe", "l": "a link", "s": "a socket"}
        raise ImageError(f"{kinds.get(kind, 'a device')}, not a file")
    _check_bytes(found.st_size, limits)


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise ImageError(f"file of {size / 1e6:.1f} MB, at most {limits.max_bytes / 1e6:g}")


def sniff(data: bytes) -> str:
    """The format that the first bytes of DATA show, as 'JPEG' or 'PDF'; 'unknown' where none fits."""
    start = data[:512].removeprefix(b"\xef\xbb\xbf")
    return next((name for name, sign in _SIGNATURES.items() if re.match(sign, start, re.DOTALL)), "unknown")


def decode(data: bytes, limits: Limits = LIMITS) -> Image.Image:
    """The picture in DATA, upright, mode `L` or `RGB`, its first frame over white; else `ImageError`."""
    if not data:
        raise ImageError("empty file")
    _check_bytes(len(data), limits)
    name = sniff(data)
    if name not in _READERS and not (name == "TIFF" and limits.tiff):
        raise ImageError(f"not JPEG, PNG, WebP, BMP or GIF: {name}")
    try:
        return _decode_tiff(data, limits) if name == "TIFF" else _decode(name, data, limits)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises whatever the damage leads to
        raise ImageError(_reason(name, error)) from error


def decode_any(data: bytes, limits: Limits = LIMITS) -> Image.Image | NDArray[np.uint8]:
    """A picture as `decode` gives it, or the channels of a NumPy array, uint8 (H, W, C), where C is not 1 or 3."""
    if sniff(data) != "NumPy array":
        return decode(data, limits)
    _check_bytes(len(data), limits)
    pixels = _numbers(data, limits)
    if pixels.dtype.itemsize == 2:
        pixels = narrowed(pixels)
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3):
        return np.ascontiguousarray(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def pixels(data: bytes, limits: Limits = LIMITS) -> NDArray[np.uint8]:
    """What `decode_any` gives, as an array (H, W, C) that may be written to.

    Where simplejpeg is installed it decodes an upright JPEG, in four fifths of Pillow's time and to the same bits.
    What it finds anything to say about is left to Pillow.
    """
    with suppress(Exception):
        if sniff(data) == "JPEG":
            return _jpeg(data, limits)
    return np.atleast_3d(np.array(decode_any(data, limits)))


def _jpeg(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    """The JPEG in DATA by simplejpeg; any exception where that is not installed or not the one to ask."""
    from simplejpeg import decode_jpeg

    _check_bytes(len(data), limits)
    bare, exif = bare_jpeg(data)
    image = JpegImageFile(BytesIO(bare))  # refuses more than simplejpeg does
    _check_size(image.size, limits)
    if orientation(exif) > 1:
        raise ImageError("not upright")
    return decode_jpeg(bare, {"L": "GRAY", "RGB": "RGB"}[image.mode])


def _numbers(data: bytes, limits: Limits) -> NDArray[Any]:
    """The array in a .npy file, (H, W) or (H, W, C): its header is checked before anything is made of it."""
    file = BytesIO(data)
    try:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, kind = readers[npy.read_magic(file)](file)
    except Exception as error:  # NumPy raises whatever the damage leads to
        raise ImageError("damaged NumPy array") from error
    if kind.kind != "u" or kind.itemsize > 2:
        raise ImageError(f"NumPy array of {kind}; uint8 and uint16 are read")
    if len(shape) not in (2, 3) or min(shape) < 1 or shape[2:] > (MAX_CHANNELS,):
        raise ImageError(f"NumPy array of shape {shape}; (height, width) or (height, width, channels) is read")
    _check_size((shape[1], shape[0]), limits)
    more = len(data) - file.tell() - math.prod(shape) * kind.itemsize
    if more:
        raise ImageError("truncated" if more < 0 else "damaged NumPy array")
    return np.frombuffer(data, kind, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def oddities(data: bytes) -> tuple[str, ...]:
    """What is odd about a picture that has been read: keys of `ODDITIES`."""
    name = sniff(data)
    if name == "NumPy array":
        return ("16-bit",) if _numbers(data, LIMITS).dtype.itemsize == 2 else ()
    if name not in _READERS:
        return ()
    image, exif = _opened(name, data, LIMITS)
    moving = {"PNG": b"acTL" in data[: data.find(b"IDAT")], "WEBP": data[12:16] == b"VP8X" and bool(data[20] & 2)}
    found = {
        "rotated": orientation(exif) > 1,
        "16-bit": name == "PNG" and data[24] == 16,
        "palette": image.mode in ("P", "PA"),
        "transparent": image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info,
        "CMYK": image.mode == "CMYK",
        "1-bit": image.mode == "1",
        "animated": moving.get(name, getattr(image, "is_animated", False) if name == "GIF" else False),
    }
    return tuple(odd for odd, is_so in found.items() if is_so)


def _reason(name: str, error: Exception) -> str:
    said = safe_text(" ".join(str(error).split()))[:100]
    if isinstance(error, MemoryError):
        return "not enough memory"
    if "truncated" in said.lower() or isinstance(error.__cause__ or error, EOFError | IndexError | struct.error):
        return "truncated"
    return f"damaged {name}: {said or type(error).__name__}"


def _opened(name: str, data: bytes, limits: Limits) -> tuple[Image.Image, bytes]:
    """The picture before its pixels are read, and the EXIF."""
    exif = b""
    if name == "JPEG":
        data, exif = bare_jpeg(data)
    elif name == "PNG":
        data, exif = bare_png(data)
    elif name in ("GIF", "WEBP"):  # Pillow takes memory or warns as soon as it opens these
        _check_size(gif_size(data) if name == "GIF" else webp_size(data), limits)
    image = _READERS[name](BytesIO(data))
    _check_size(image.size, limits)
    if name == "PNG":
        scale_key(image, data[24])
    return image, exif or image.info.get("exif", b"")


def _decode(name: str, data: bytes, limits: Limits) -> Image.Image:
    image, exif = _opened(name, data, limits)
    if name == "JPEG" and limits.enough:
        shorter = min(image.size)
        image.draft(None, tuple(-(-side * limits.enough // shorter) for side in image.size))  # type: ignore[arg-type]
    image.load()
    turn = _TURNS[orientation(exif or image.info.get("exif", b"")) - 1]
    image = flatten(image)
    return image if turn is None else image.transpose(turn)


def _decode_tiff(data: bytes, limits: Limits) -> Image.Image:
    """The first picture of a TIFF, one at a time: its warnings can only be silenced for the whole process."""
    from PIL.TiffImagePlugin import TiffImageFile

    with _tiff_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = TiffImageFile(BytesIO(data))
        _check_size(image.size, limits)
        image.load()  # turns it upright, too
    return flatten(image)


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    if max(size) > limits.max_side:
        raise ImageError(f"image is {size[0]} x {size[1]}, at most {limits.max_side} a side")
    if size[0] * size[1] > limits.max_pixels:
        raise ImageError(f"image is {size[0]} x {size[1]}, at most {limits.max_pixels / 1e6:g} megapixels")


if tuple(int(part) for part in PIL.__version__.split(".")[:2]) < (12, 3):
    raise EnvironmentProblem(f"Pillow {PIL.__version__} has known holes: install 'pillow>=12.3'")
