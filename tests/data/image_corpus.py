"""Pictures for the tests of decoding: odd but good ones with known pixels, hostile ones, and mutations of both."""

import json
import os
import random
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.data import images

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.stack([GRAY, GRAY.T, 255 - GRAY], axis=-1)
ALPHA = np.ascontiguousarray(GRAY[:, ::-1])


def save(pixels: np.ndarray | Image.Image, format: str, mode: str | None = None, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    out = BytesIO()
    (image.convert(mode) if mode else image).save(out, format, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, kind: int, rows: bytes | None, *extra: bytes, interlace=0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace))
    pixels = zlib.compress(rows, 1) if rows is not None else b"\0" * 16
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def jpeg(width: int, height: int, bands: int = 3, frame: int = 0xC0) -> bytes:
    part = bytes((8, *struct.pack(">HH", height, width), bands)) + bytes((1, 0x11, 0)) * bands
    scan = bytes((bands,)) + bytes((1, 0)) * bands + b"\0\x3f\0"
    segments = ((frame, part), (0xDA, scan))
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 255, m, len(s) + 2) + s for m, s in segments) + b"\0" * 99


def gif(width: int, height: int, frame: tuple[int, int] = (4, 4), before: bytes = b"") -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + before + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0;"


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    head = struct.pack("<IIIHHIIIIII", 40, width, height & 0xFFFFFFFF, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + (4 << bits if bits <= 8 else 0)) + head + b"\0" * 1100


def webp(kind: bytes, width: int, height: int) -> bytes:
    body = {
        b"VP8X": struct.pack("<IQ", 0, width - 1 | height - 1 << 24)[:10],
        b"VP8L": b"\x2f" + struct.pack("<Q", width - 1 | height - 1 << 14)[:4],
        b"VP8 ": b"\x10\0\0\x9d\x01\x2a" + struct.pack("<I", width & 0xFFFF | (height & 0xFFFF) << 16),
    }[kind] + bytes(50)
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def headers(width: int, height: int) -> dict[str, bytes]:
    return {
        "PNG": png(width, height, 8, 2, None),
        "JPEG": jpeg(width, height),
        "GIF": gif(width, height),
        "BMP": bmp(width, height),
        "WEBP": webp(b"VP8X", width, height),
    }


def bombs() -> dict[str, bytes]:
    """40 files that cost far more than they weigh."""
    found = {
        f"{name} {size[0]}x{size[1]}": data
        for size in ((60_000, 1), (1, 60_000), (10_000, 10_000), (30_000, 30_000))
        for name, data in headers(*size).items()
    }
    photo = save(COLOUR, "JPEG", progressive=True)
    scans = photo[photo.rindex(b"\xff\xda") : -2]
    return found | {
        "PNG real 56 MP": png(8000, 7000, 1, 0, bytes(1001 * 7000)),
        "PNG 2**31 a side": png(2**31 - 1, 2**31 - 1, 1, 0, None),
        "PNG interlaced": png(20_000, 20_000, 1, 0, None, interlace=1),
        "PNG chunks": png(1, 1, 8, 0, b"\0\0", chunk(b"tEXt") * 200_000),
        "PNG empty IDATs": png(1, 1, 8, 0, b"\0\0", chunk(b"IDAT") * 200_000),
        "JPEG progressive": jpeg(65_535, 65_535, frame=0xC2),
        "JPEG CMYK": jpeg(20_000, 20_000, bands=4),
        "JPEG scans": photo[:-2] + scans * 3000 + b"\xff\xd9",
        "JPEG segments": photo[:2] + b"\xff\xe5\0\x02" * 200_000 + photo[2:],
        "JPEG bytes": photo + bytes(20_000_000),
        "GIF frame beyond the screen": gif(4, 4, (65_535, 65_535)),
        "GIF frame in Pillow's warning zone": gif(4, 4, (10_000, 9_500)),
        "GIF blocks": gif(4, 4, before=b"!\xfe" + b"\x01a" * 200_000 + b"\0"),
        "WEBP VP8L": webp(b"VP8L", 16_384, 16_384),
        "WEBP VP8": webp(b"VP8 ", 16_383, 16_383),
        "WEBP VP8X": webp(b"VP8X", 2**24, 2**24),
        "BMP run lengths": bmp(20_000, 20_000, 8, 1),
        "BMP top down": bmp(20_000, -20_000, 1),
        "BMP 1-bit": bmp(2**31 - 1, 1, 1),
        "BMP OS/2": b"BM" + bytes(8) + struct.pack("<IIHHHH", 26, 12, 65_535, 65_535, 1, 24) + bytes(99),
    }


def heavy_metadata() -> dict[str, bytes]:
    """Good pictures of 16 x 16 that carry what a careless reader chokes on or warns about."""
    text, photo = zlib.compress(bytes(64_000_000), 1), save(COLOUR, "JPEG", quality=95)
    rows = b"".join(b"\0" + bytes(row) for row in GRAY)
    app = b"\xff\xe1\xff\xff" + b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x1a\0\x05" * 16_379 + b"\0"
    frames = [Image.new("RGB", (16, 16), (n, n, n)) for n in range(200)]
    return {
        "PNG text bomb": png(16, 16, 8, 0, rows, chunk(b"zTXt", b"a\0\0" + text)),
        "PNG profile bomb": png(16, 16, 8, 0, rows, chunk(b"iCCP", b"a\0\0" + text)),
        "PNG bad animation": png(16, 16, 8, 0, rows, chunk(b"acTL", bytes(8))),
        "JPEG 6 MB of damaged EXIF": photo[:2] + app * 90 + photo[2:],
        "JPEG malformed MPO": photo[:2] + b"\xff\xe2\0\x20MPF\0MM\0*" + b"\xff" * 22 + photo[2:],
        "JPEG EXIF without end": save(COLOUR, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        "GIF 200 frames": save(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"c" * 250),
        "WEBP 200 frames": save(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    }


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = (alpha / 255.0)[..., None] if pixels.ndim == 3 else alpha / 255.0
    return pixels * share + 255.0 * (1 - share)


def odd_modes() -> dict[str, tuple[bytes, np.ndarray]]:
    """Pictures in rare modes, each with the pixels it must give."""
    deep = GRAY.astype(np.uint16) * 257
    wide = b"".join(b"\0" + bytes(np.repeat(row.reshape(-1), 2)) for row in COLOUR)  # v * 257 in two bytes
    wide_alpha = b"".join(b"\0" + np.stack([g, g, a, a], -1).tobytes() for g, a in zip(GRAY, ALPHA, strict=True))
    quarter, steps = (b"\0" + b"\x1b" * 4) * 16, np.tile(np.array([0, 85, 255, 255], np.uint8), (16, 4))
    spot = tuple(int(value) for value in COLOUR[0, 7])
    keys = chunk(b"tRNS", b"\0\2"), chunk(b"tRNS", struct.pack(">3H", *(value * 257 for value in spot)))
    without_9, without_spot = np.where(GRAY == 9, 255, GRAY), np.where(GRAY[..., None] == 7, 255, COLOUR)
    looked_up = np.stack([GRAY, 255 - GRAY, GRAY // 2], -1)
    palette = Image.fromarray(GRAY, "L")
    palette.putpalette(looked_up.tobytes())
    without_7, fading = np.where(GRAY[..., None] == 7, 255, looked_up), bytes(range(255, -1, -1))
    ink = np.stack([GRAY, GRAY.T, 255 - GRAY, GRAY // 4], -1)
    printed = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255.0
    cmyk = Image.fromarray(ink, "CMYK")
    film = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))] * 2}
    show = {"save_all": True, "append_images": [palette.transpose(Image.Transpose.ROTATE_90)]}
    rgba, two_grays = np.dstack([COLOUR, ALPHA]), np.dstack([GRAY, ALPHA])
    bits = np.where(GRAY > 99, 255, 0).astype(np.uint8)
    fine = {"quality": 97, "subsampling": 0}
    photo, bare = save(COLOUR, "JPEG", **fine), np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    return {
        "PNG 1-bit": (save(bits, "PNG", "1"), bits),
        "PNG 2-bit, transparent": (png(16, 16, 2, 0, quarter, keys[0]), steps),
        "PNG 16-bit gray": (save(deep, "PNG"), GRAY),
        "PNG 16-bit gray, transparent": (save(deep, "PNG", transparency=9 * 257), without_9),
        "PNG 16-bit gray with alpha": (png(16, 16, 16, 4, wide_alpha), over_white(GRAY, ALPHA)[..., None] * (1, 1, 1)),
        "PNG 16-bit colour": (png(16, 16, 16, 2, wide), COLOUR),
        "PNG 16-bit colour, transparent": (png(16, 16, 16, 2, wide, keys[1]), without_spot),
        "PNG gray with alpha": (save(two_grays, "PNG"), over_white(GRAY, ALPHA)),
        "PNG gray, transparent": (save(GRAY, "PNG", transparency=9), without_9),
        "PNG colour, transparent": (save(COLOUR, "PNG", transparency=spot), without_spot),
        "PNG palette with alpha": (save(palette, "PNG", transparency=fading), over_white(looked_up, 255 - GRAY)),
        "PNG palette, transparent": (save(palette, "PNG", transparency=7), without_7),
        "PNG colour with alpha": (save(rgba, "PNG"), over_white(COLOUR, ALPHA)),
        "PNG animation": (save(COLOUR, "PNG", **film), COLOUR),
        "JPEG gray": (save(GRAY, "JPEG", quality=97), GRAY),
        "JPEG CMYK": (save(cmyk, "JPEG", **fine), printed),
        "JPEG of no YCbCr": (photo[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + photo[20:], bare),
        "JPEG with a profile": (save(COLOUR, "JPEG", icc_profile=b"none" * 4000, **fine), COLOUR),
        "WEBP with alpha": (save(rgba, "WEBP", lossless=True, exact=True), over_white(COLOUR, ALPHA)),
        "WEBP animation": (save(COLOUR, "WEBP", lossless=True, **film), COLOUR),
        "GIF gray": (save(GRAY, "GIF"), GRAY),
        "GIF palette": (save(palette, "GIF"), looked_up),
        "GIF transparent animation": (save(palette, "GIF", transparency=7, **show), without_7),
        "BMP 1-bit": (save(bits, "BMP", "1"), bits),
        "BMP palette": (save(palette, "BMP"), looked_up),
        "BMP of 32 bits": (save(rgba, "BMP"), COLOUR),
        "TIFF 16-bit gray": (save(deep, "TIFF"), GRAY),
        "TIFF CMYK, compressed": (save(cmyk, "TIFF", compression="tiff_lzw"), printed),
    }


def refused_formats() -> dict[str, bytes]:
    """20 formats that are not read, by the name that the message must give."""
    return {name: save(COLOUR, name) for name in ("TIFF", "EPS", "PDF", "ICO", "PCX", "DDS")} | {
        "PNM": save(COLOUR, "PPM"),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99),
        "JPEG XL": b"\xff\x0a" + bytes(99),
        "AVIF": b"\0\0\0\x20ftypavif" + bytes(99),
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(99),
        "PSD": b"8BPS\0\1" + bytes(99),
        "DICOM": bytes(128) + b"DICM" + bytes(99),
        "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "XML": b"<?xml version='1.0'?><annotation/>",
        "HTML": b"\n<!DOCTYPE html><title>404</title>",
        "video or sound": b"\0\0\0\x20ftypisom" + bytes(99),
        "archive": b"PK\3\4" + bytes(99),
        "NumPy array": b"\x93NUMPY\1\0" + bytes(99),
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }


_SIZES = {b"\x89P": (16, ">I", 4), b"GI": (6, "<H", 2), b"BM": (18, "<I", 4), b"RI": (24, "<H", 3)}


def _edit_size(data: bytes, dice: random.Random) -> bytes:
    at, code, step = _SIZES.get(data[:2], (data.find(b"\xff\xc0") + 5, ">H", 2))
    out = bytearray(data)
    value = dice.choice((0, 1, 15, 17, 255, 4000, 30_001, 65_535, 2**31 - 1)) % 256 ** struct.calcsize(code)
    struct.pack_into(code, out, at + dice.choice((0, step)), value)
    return bytes(out)


def _mend(data: bytes) -> bytes:
    """A PNG with right checksums, so that damage gets past them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + struct.unpack_from(">I", out, at)[0]
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def mutate(seeds: list[bytes], dice: random.Random) -> bytes:
    """One of SEEDS with flipped bits, a cut, a foreign piece, another size or another file's head."""
    data, other = dice.choice(seeds), dice.choice(seeds)
    at, end = sorted(dice.randrange(len(data)) for _ in range(2))
    kind = dice.randrange(5)
    if kind == 0:
        out = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
        data = bytes(out)
    elif kind == 1:
        data = data[:end]
    elif kind == 2:
        start = dice.randrange(len(other))
        data = data[:at] + other[start : start + dice.randrange(200)] + data[dice.choice((at, end)) :]
    elif kind == 3:
        data = _edit_size(data, dice)
    else:
        data = other[: dice.randrange(8, 64)] + data[at:]
    return _mend(data) if data.startswith(b"\x89PNG") and dice.random() < 0.7 else data


# Reads every file of a folder, ROUNDS times, where nothing else has grown the memory or imported a decoder.
CHILD = """
import hashlib, json, os, re, sys, time
from pathlib import Path
from resnets.data.images import ImageError, Limits, read_image

def verdict(path):
    try:
        image = read_image(path, Limits(tiff=bool(sys.argv[3])))
    except ImageError as error:
        return str(error)
    return [image.mode, *image.size, hashlib.sha256(image.crop((0, 0, 300, 300)).tobytes()).hexdigest()]

def memory(key):  # not getrusage: its peak is inherited from the parent
    return int(re.search(key + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

rounds, seconds, sizes = [{} for _ in range(int(sys.argv[2]))], [], []
before = memory("VmHWM")
for told in rounds:
    for name in sorted(os.listdir(sys.argv[1])):
        start = time.monotonic()
        told[name] = verdict(os.path.join(sys.argv[1], name))
        seconds.append(time.monotonic() - start)
        sizes.append(memory("VmRSS"))
print(json.dumps({
    "verdicts": rounds,
    "slowest": max(seconds),
    "peak": memory("VmHWM") - before,
    "growth": sizes[-1] - sizes[len(sizes) // 2],
    "decoders": sorted(name for name in sys.modules if name.startswith("PIL.") and name.endswith("Plugin")),
}))
"""


def python(*args: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(Path(images.__file__).parents[2]), "PYTHONFAULTHANDLER": "1"}
    return subprocess.run([sys.executable, "-W", "always", *args], capture_output=True, text=True, env=env, timeout=200)


def read_all(folder: Path, files: dict[str, bytes], rounds: int = 1, tiff: bool = False) -> dict:
    if not sys.platform.startswith("linux"):
        pytest.skip("measures memory as Linux does")
    for name, data in files.items():
        (folder / name.replace("/", "-")).write_bytes(data)
    done = python("-c", CHILD, str(folder), str(rounds), "tiff" if tiff else "")
    libtiff = ("TIFF", "_TIFF", "tempfile.tif")  # it writes there itself
    told = [line for line in done.stderr.splitlines() if not line.startswith(libtiff)]
    assert (done.returncode, told) == (0, []), done.stderr  # no signal, no traceback, and no warning either
    return json.loads(done.stdout)
