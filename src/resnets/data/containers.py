"""What stands around the pixels in files nobody vouches for: sizes, orientation, and metadata that no decoder sees."""

import re
import struct

from ..errors import DataError

_MAX_PARTS = 100_000  # segments, chunks or blocks
_MAX_SCANS = 50  # of a JPEG: each is a pass over the whole picture and may be 80 bytes long
_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd9\xff]")


class ImageError(DataError):
    """An image that cannot be used: the message is the short reason and never names the file."""


def bare_jpeg(data: bytes) -> tuple[bytes, bytes]:
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
            bare = sum(map(len, kept)) == start
            return data if bare else b"".join((*kept, data[start:])), exif
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start + 4):
            exif = exif or data[start + 4 : at]
        elif marker <= 0xE0 or marker == 0xEE:
            kept.append(data[start:at])
    raise ImageError("JPEG of too many segments")


def bare_png(data: bytes) -> tuple[bytes, bytes]:
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


def gif_size(data: bytes) -> tuple[int, int]:
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


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas."""
    kind, bits = data[12:16], int.from_bytes(data[20:30], "little")
    if kind == b"VP8X":
        return (bits >> 32 & 0xFFFFFF) + 1, (bits >> 56 & 0xFFFFFF) + 1
    if kind == b"VP8L":
        return (bits >> 8 & 0x3FFF) + 1, (bits >> 22 & 0x3FFF) + 1
    return bits >> 48 & 0x3FFF, bits >> 64 & 0x3FFF  # VP8; Pillow refuses any other


def orientation(exif: bytes) -> int:
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
