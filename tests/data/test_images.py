"""Decoding refuses what is hostile, quickly and by name, and reads what is odd with the right pixels."""

import os
import random
import re
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_corpus import (
    COLOUR,
    bmp,
    bombs,
    chunk,
    gif,
    heavy_metadata,
    jpeg,
    mutate,
    odd_modes,
    png,
    python,
    read_all,
    refused_formats,
    save,
)
from PIL import Image

from resnets.data.images import EXTENSIONS, ImageError, Limits, decode, read_bytes, read_image, sniff


def test_bombs(tmp_path):
    files = bombs()
    assert len(files) == 40
    report = read_all(tmp_path, files)
    told = report["verdicts"][0]
    assert [name for name, verdict in told.items() if isinstance(verdict, list)] == []
    limits = re.compile(
        r"at most (30000 a side|50 megapixels|20)$|more than 50 scans|too many (segments|chunks|blocks)"
    )
    assert {name: verdict for name, verdict in told.items() if not limits.search(verdict)} == {}
    assert report["slowest"] < 1
    assert report["peak"] < 32  # MiB


def test_a_tiff_bomb_is_refused_by_its_header():
    data = bytearray(save(COLOUR, "TIFF"))
    at = data.index(struct.pack("<HHI", 256, 4, 1))
    struct.pack_into("<I", data, at + 8, 60_000)
    with pytest.raises(ImageError, match="image is 60000 x 16, at most 30000 a side"):
        decode(bytes(data), Limits(tiff=True))


def test_metadata_is_never_parsed(tmp_path):
    report = read_all(tmp_path, heavy_metadata())
    assert {name: v for name, v in report["verdicts"][0].items() if v[1:3] != [16, 16]} == {}
    assert report["slowest"] < 1
    assert report["peak"] < 32


def test_disguised(tmp_path):
    refused = refused_formats()
    read = {name: save(COLOUR, name) for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF")}
    assert len(refused) + len(read) == 25
    extensions = ("jpg", "png", "webp", "bmp", "gif")
    files = {f"{name}.{end}": data for name, data in (refused | read).items() for end in extensions}
    report = read_all(tmp_path, files)
    for file, verdict in report["verdicts"][0].items():
        name = file.split(".")[0]
        if name in read:
            assert verdict[1:3] == [16, 16], file
        else:
            assert verdict == f"not JPEG, PNG, WebP, BMP or GIF: {name}", file
    allowed = ("Bmp", "Gif", "Jpeg", "Png", "WebP")
    assert report["decoders"] == [f"PIL.{name}ImagePlugin" for name in allowed]


def test_tiff_is_read_on_request_only():
    data = save(COLOUR, "TIFF")
    assert np.array_equal(np.asarray(decode(data, Limits(tiff=True))), COLOUR)
    with pytest.raises(ImageError, match="GIF: TIFF"):
        decode(data)
    for mode in ("F", "I"):
        with pytest.raises(ImageError, match="more than 16 bits"):
            decode(save(COLOUR[..., 0], "TIFF", mode), Limits(tiff=True))


@pytest.mark.parametrize("name", odd_modes())
def test_odd_modes_give_the_known_pixels(name):
    data, expected = odd_modes()[name]
    image = decode(data, Limits(tiff=True))
    assert image.mode == ("L" if expected.ndim == 2 else "RGB")
    assert getattr(image, "_decoder", None) is None  # which would hold two more pictures
    assert np.abs(np.asarray(image, np.float64) - expected).mean() <= (2 if "JPEG" in name else 0.6)


def test_there_are_enough_odd_modes():
    assert len(odd_modes()) >= 24


def test_16_bits_are_divided_by_257_and_rounded():
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(np.asarray(decode(save(values, "PNG"))), np.rint(values / 257).astype(np.uint8))


def exif(orientation: int, order: str = ">") -> bytes:
    mark = b"MM" if order == ">" else b"II"
    return mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_come_out_upright(format, orientation):
    stored = COLOUR[:, :12]
    for order in "<>":
        options = {"PNG": {}, "JPEG": {"quality": 97, "subsampling": 0}, "WEBP": {"lossless": True}, "TIFF": {}}
        data = save(stored, format, exif=b"Exif\0\0" + exif(orientation, order), **options[format])
        got = np.asarray(decode(data, Limits(tiff=True)), np.float64)
        expected = UPRIGHT[orientation](stored)
        assert got.shape == expected.shape
        assert np.abs(got - expected).mean() <= 2


def test_an_orientation_that_is_none_changes_nothing():
    for block in (exif(0), exif(9), exif(6)[:-8], b"XX" + exif(6)[2:], exif(6).replace(b"\0\x08", b"\xff\xff"), b""):
        image = decode(save(COLOUR, "PNG", exif=block))
        assert np.array_equal(np.asarray(image), COLOUR), block


def test_extreme_sizes(tmp_path):
    files, expected = {}, {}
    for format in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        for size in ((1, 1), (1, 2), (3, 1), (1, 16_000), (16_000, 1)):
            name = f"{format} {size[0]}x{size[1]}"
            files[name], expected[name] = save(Image.new("L", size, 9), format), list(size)
    files |= {
        "PNG 0x7": png(0, 7, 8, 0, b""),
        "JPEG 7x0": jpeg(7, 0),
        "BMP 0x7": bmp(0, 7),
        "GIF 0x0": gif(0, 0, (0, 0)),
    }
    files["PNG 30000x1"] = save(Image.new("L", (30_000, 1)), "PNG")
    files["PNG 50 MP"] = png(10_000, 5_000, 8, 3, bytes(10_001 * 5_000), chunk(b"PLTE", b"\xff\0\0"))
    expected |= {"PNG 30000x1": [30_000, 1], "PNG 50 MP": [10_000, 5_000]}
    assert len(files) >= 30
    report = read_all(tmp_path, files)
    told = report["verdicts"][0]
    assert {name: told[name][1:3] for name in expected} == expected
    assert all(told[name].startswith(f"damaged {name.split()[0]}") for name in files.keys() - expected.keys())
    assert report["slowest"] < 5
    assert report["peak"] < 512


@pytest.mark.parametrize("name", [n for n in odd_modes() if not n.startswith("TIFF")])
def test_truncated_files_are_refused(name):
    data, _ = odd_modes()[name]
    first = 1 if "animation" not in name else 0  # of an animation, the first frame may be whole
    for end in range(13, len(data) - 2 * first if first else len(data) // 8, 7):
        with pytest.raises(ImageError):
            decode(data[:end])


def test_fuzzed_images(tmp_path):
    dice = random.Random(20151210)
    seeds = [data for data, _ in odd_modes().values() if len(data) <= 4096]
    assert len(seeds) >= 20
    files = {f"{place:03}": mutate(seeds, dice) for place in range(500)}
    report = read_all(tmp_path, files, rounds=2, tiff=True)
    first, second = report["verdicts"]
    assert first == second
    refused = sum(isinstance(verdict, str) for verdict in first.values())
    assert 200 < refused < 470  # both answers occur
    assert report["slowest"] < 5
    assert report["peak"] < 512
    assert report["growth"] < 8


KINDS = {  # what stands at PATH, and what is said of it
    "empty": (lambda path: path.touch(), "empty file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "pipe": (lambda path: os.mkfifo(path), "a pipe, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "nothing": (lambda path: None, "No such file"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX kinds of files")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_quickly(tmp_path, kind):
    make, reason = KINDS[kind]
    make(tmp_path / "x.jpg")
    start = time.monotonic()
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / "x.jpg")
    assert time.monotonic() - start < 2
    assert str(tmp_path) not in str(caught.value)


def test_what_is_no_name_of_a_file_is_refused(tmp_path):
    for name, reason in (("x" * 300, "too long"), ("x\0.jpg", "not a file name")):
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(save(COLOUR, "PNG"))

    def denied(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ImageError, match=r"^Permission denied$"):
        read_image(path)


def test_a_pipe_that_takes_the_place_of_a_file_is_refused(tmp_path, monkeypatch):
    path, pipe = tmp_path / "x.png", tmp_path / "pipe"
    path.write_bytes(b"x")
    os.mkfifo(pipe)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda _, flags: opened(pipe, flags))
    with pytest.raises(ImageError, match="a pipe"):
        read_bytes(path)


def test_links_are_followed_only_where_asked(tmp_path):
    (tmp_path / "x.png").write_bytes(b"contents")
    (tmp_path / "link.png").symlink_to("x.png")
    assert read_bytes(tmp_path / "link.png") == b"contents"
    with pytest.raises(ImageError, match="a link, not a file"):
        read_bytes(tmp_path / "link.png", follow_links=False)


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(ImageError, match=r"file of 3000\.0 MB, at most 20"):
        read_bytes(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file that lies about its size")
def test_a_file_that_grows_while_it_is_read():
    with pytest.raises(ImageError, match="changed while it was read"):
        read_bytes("/proc/self/status")


def test_names_are_taken_byte_for_byte(tmp_path):
    data = save(COLOUR, "PNG")
    for name in (b"-x", b"\xff\xfe.png", b"a\nb", "ä🙂".encode(), b"n" * 255):
        path = os.path.join(os.fsencode(tmp_path), name)
        Path(os.fsdecode(path)).write_bytes(data)
        assert read_bytes(path) == read_bytes(os.fsdecode(path)) == data


def test_limits_can_be_raised():
    data = png(9500, 9500, 1, 0, bytes(1189 * 9500))  # above the size at which Pillow itself warns
    assert decode(data, Limits(max_pixels=100_000_000)).size == (9500, 9500)


def test_many_threads_see_the_same_pixels():
    files = [data for data, _ in odd_modes().values()] * 4
    limits = Limits(tiff=True)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda d: decode(d, limits).tobytes(), files)) == [
            decode(d, limits).tobytes() for d in files
        ]


def test_signatures():
    assert sniff(b"") == sniff(b"hello") == "unknown"
    assert sniff(b"\xef\xbb\xbf<html>") == "HTML"
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"} == EXTENSIONS


def test_an_old_pillow_is_refused():
    done = python("-c", "import PIL.Image; PIL.__version__ = '12.2.9'; import resnets.data.images")
    assert done.returncode == 1
    assert "EnvironmentProblem: Pillow 12.2.9" in done.stderr
