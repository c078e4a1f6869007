"""Pictures from bytes nobody vouches for: the only file of the project that decodes an image.

The contents decide, never the extension. JPEG, PNG, WebP, BMP and GIF are read, TIFF on request. The
signature is checked here, then the class of that format is called directly: no other decoder of Pillow can be
reached and its global limits play no part. What comes out is upright, 8 bits deep, `L` or `RGB`:

* EXIF orientation is applied; no other metadata is read, and ICC profiles are ignored;
* 16-bit values are divided by 257 (gray is rounded; of colours Pillow keeps the high byte);
* alpha, transparent colours and palette entries are laid over white (in BMP, alpha counts if its header says so);
* `L` stands where the file itself says gray: not for a palette, but for the plain ramp in BMP and GIF, and not
  for 16-bit gray with alpha, which Pillow gives in colour;
* CMYK is converted as Pillow does, a JPEG's after inversion, as Adobe writes it;
* of an animation the first frame (of PNG the default image); what has no rule, as a float TIFF, is refused.
"""

import os
import re
import stat
import struct
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import PIL
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import DataError, EnvironmentProblem, safe_text


class _WebP(WebPImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # has given its picture and holds two more of this size
        super().load_prepare()


EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

_READERS = {r.format: r for r in (JpegImageFile, PngImageFile, _WebP, BmpImageFile, GifImageFile)}
_MAX_PARTS = 100_000  # segments, chunks or blocks
_MAX_SCANS = 50  # of a JPEG: each is a pass over the whole picture and may be 80 bytes long
_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd9\xff]")
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


class ImageError(DataError):
    """An image that cannot be used: the message is the short reason and never names the file."""


@dataclass(frozen=True)
class Limits:
    """What a picture may cost, counted before it is decoded, and whether TIFF is read."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_side: int = 30_000
    tiff: bool = False


LIMITS = Limits()
Path = str | bytes | os.PathLike


def read_image(path: Path, limits: Limits = LIMITS) -> Image.Image:
    """The picture in the file PATH, as `decode` gives it."""
    return decode(read_bytes(path, limits), limits)


def read_bytes(path: Path, limits: Limits = LIMITS, *, follow_links: bool = True) -> bytes:
    """The contents of a regular file, else `ImageError`; nothing else is opened, a link if FOLLOW_LINKS."""
    names = ("O_NONBLOCK", "O_BINARY", "" if follow_links else "O_NOFOLLOW")
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in names)
    try:
        _check_file(os.stat(path, follow_symlinks=follow_links), limits)  # noqa: PTH116
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            _check_file(found, limits)  # again: the name may mean another file by now
            data = file.read(limits.max_bytes + 1) or b""
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


def _reason(name: str, error: Exception) -> str:
    said = safe_text(" ".join(str(error).split()))[:100]
    if isinstance(error, MemoryError):
        return "not enough memory"
    if "truncated" in said.lower() or isinstance(error.__cause__ or error, EOFError | IndexError | struct.error):
        return "truncated"
    return f"damaged {name}: {said or type(error).__name__}"


def _decode(name: str, data: bytes, limits: Limits) -> Image.Image:
    exif = b""
    if name == "JPEG":
        data, exif = _bare_jpeg(data)
    elif name == "PNG":
        data, exif = _bare_png(data)
    elif name in ("GIF", "WEBP"):  # Pillow takes memory or warns as soon as it opens these
        _check_size(_gif_size(data) if name == "GIF" else _webp_size(data), limits)
    image = _READERS[name](BytesIO(data))
    _check_size(image.size, limits)
    if name == "PNG":
        _scale_key(image, data[24])
    image.load()
    turn = _TURNS[_orientation(exif or image.info.get("exif", b"")) - 1]
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


def _bare_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """DATA without metadata, but for the two segments that say how colours are stored; and the EXIF."""
    kept, exif, at = [data[:2]], b"", 2
    for _ in range(_MAX_PARTS):
        found = _SEGMENT.search(data, at)
        start = found.start() if found else len(data)
        marker, length = struct.unpack_from(">xBH", data, start)  # struct.error: truncated
        at = start + 2 + length
        if marker == 0xDA:
            if len(_SCAN.findall(data, start)) > _MAX_SCANS:
                raise ImageError(f"JPEG of more than {_MAX_SCANS} scans")
            return b"".join((*kept, data[start:])), exif
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start + 4):
            exif = exif or data[start + 4 : at]
        elif marker <= 0xE0 or marker == 0xEE:
            kept.append(data[start:at])
    raise ImageError("JPEG of too many segments")


def _bare_png(data: bytes) -> tuple[bytes, bytes]:
    """DATA with nothing but pixels, palette and transparent colour; and the EXIF."""
    kept, exif, at = [data[:8]], b"", 8
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + length + 12]
        at += length + 12
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
        if kind == b"IEND" and at <= len(data):
            return b"".join(kept), exif
    raise ImageError("PNG of too many chunks")


def _gif_size(data: bytes) -> tuple[int, int]:
    """Width and height of screen and first frame together."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    inside = False  # an extension, whose blocks end with an empty one
    for _ in range(_MAX_PARTS):
        if inside:
            inside, at = data[at] > 0, at + 1 + data[at]
        elif data[at] == 0x2C:
            left, top, frame_width, frame_height = struct.unpack_from("<4H", data, at + 1)
            return max(width, left + frame_width), max(height, top + frame_height)
        else:
            inside = data[at] == 0x21
            at += 2 if inside else 1
    raise ImageError("GIF of too many blocks before its first frame")


def _webp_size(data: bytes) -> tuple[int, int]:
    kind, bits = data[12:16], int.from_bytes(data[20:30], "little")
    if kind == b"VP8X":
        return (bits >> 32 & 0xFFFFFF) + 1, (bits >> 56 & 0xFFFFFF) + 1
    if kind == b"VP8L":
        return (bits >> 8 & 0x3FFF) + 1, (bits >> 22 & 0x3FFF) + 1
    return bits >> 48 & 0x3FFF, bits >> 64 & 0x3FFF  # VP8; Pillow refuses any other


def _orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in a block of EXIF; 1 where it is damaged or says nothing."""
    tiff = exif.removeprefix(b"Exif\0\0")
    if not tiff.startswith((b"MM\0*", b"II*\0")):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "big" if tiff[0] == 0x4D else "little")

    first = number(4, 4) + 2
    for entry in range(first, first + 12 * number(first - 2, 2), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, {1: 1, 3: 2, 4: 4}.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else 1
    return 1


def _scale_key(image: Image.Image, depth: int) -> None:
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


def _narrow(image: Image.Image) -> Image.Image:
    """The 16-bit gray IMAGE in 8 bits."""
    wide, key = np.asarray(image), image.info.get("transparency")
    narrow = ((np.minimum(wide, 65407) + 128) // 257).astype(np.uint8)  # 65407 gives 255 and stays below 2**16
    if key is not None:
        narrow[wide == key] = 255
    return Image.fromarray(narrow)


if tuple(int(part) for part in PIL.__version__.split(".")[:2]) < (12, 3):
    raise EnvironmentProblem(f"Pillow {PIL.__version__} has known holes: install 'pillow>=12.3'")
