"""Training input that is made fast is what slow and literal code makes of it, bit by bit where it can be."""

import io
import math
import random
import sys

import numpy as np
import pytest
from image_corpus import mutate, odd_modes
from PIL import Image

from resnets.data.images import ImageError, Limits, decode, pixels
from resnets.data.preprocessing import Preprocessing
from resnets.data.randomness import uniform
from resnets.data.transforms import _window, augment, random_view
from resnets.recipe import Augmentation


def literal(images, indices, epoch, seed, rule, seen):
    """`augment`, one image at a time."""
    drawn = [uniform(seed, stream, epoch, indices) for stream in ("crop-y", "crop-x", "flip")]
    found = []
    for image, y, x, turn in zip(images, *drawn, strict=True):
        top, left = (int(number * (2 * rule.pad + 1)) for number in (y, x))
        size, border = len(image), ((rule.pad, rule.pad), (rule.pad, rule.pad), (0, 0))
        rows, columns = slice(top, top + size), slice(left, left + size)
        if rule.border == "after":
            answer = np.pad(image.astype(np.float32) * seen.scale - seen.offset, border)[rows, columns]
        else:
            mode = "reflect" if rule.border == "reflect" else "constant"
            answer = np.pad(image, border, mode)[rows, columns].astype(np.float32) * seen.scale - seen.offset
        found.append(np.moveaxis(answer[:, ::-1] if turn < 0.5 else answer, -1, 0))
    return np.stack(found)


@pytest.mark.parametrize("mean_image", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("border", ["after", "before", "reflect"])
def test_windows_and_mirrors_are_the_literal_ones(border, channels, mean_image):
    rng = np.random.default_rng(3)
    for size, pad, count in ((8, 1, 1), (9, 4, 40), (32, 4, 70), (11, 0, 5)):
        images = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
        before, indices = images.copy(), rng.integers(0, 10**6, count)
        factors = (tuple(rng.random(channels) + 0.1) for _ in range(2))
        seen = Preprocessing(size, channels, "crop", 1.0, "bilinear", *factors)
        if mean_image:
            seen = seen.with_pixel_mean(rng.random((size, size, channels)))
        rule = Augmentation(pad=pad, border=border)
        assert np.array_equal(augment(images, indices, 2, 7, rule, seen), literal(images, indices, 2, 7, rule, seen))
        assert np.array_equal(images, before)


@pytest.mark.parametrize("shape", [(224, 224, 3), (3, 97, 31, 3), (0, 8, 8, 3), (2, 200, 211, 1)])
def test_every_number_is_normalised(shape):
    images = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    seen = Preprocessing(channels=shape[-1], mean=(0.4, 0.5, 0.6)[: shape[-1]], std=(0.2, 0.25, 0.3)[: shape[-1]])
    expected = images.astype(np.float32) * seen.scale - seen.offset
    assert np.array_equal(seen.normalised(images), expected)
    assert np.array_equal(seen.normalised(images[..., ::-1, :]), expected[..., ::-1, :])


def test_a_mean_image_of_another_size_is_refused():
    seen = Preprocessing(8).with_pixel_mean(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="broadcast"):
        seen.normalised(np.zeros((4, 4, 4, 3), np.uint8))


def areas_and_shapes(windows):
    sides = np.array([(right - left, bottom - top) for left, top, right, bottom in windows])
    return sides.prod(1), sides[:, 0] / sides[:, 1]


def test_windows_have_the_distribution_of_random_resized_crop():
    """Area uniform in [0.08, 1] and log of the shape uniform in ± log 4/3, drawn again until the window fits."""
    width, height, rng = 500, 375, np.random.default_rng(5)
    windows = [_window(width, height, (1, 2, index), 0.08) for index in range(4000)]
    assert all(0 <= a < c <= width and 0 <= b < d <= height for a, b, c, d in windows)
    expected = []
    while len(expected) < 20_000:
        area, shape = rng.uniform(0.08, 1) * width * height, math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if w <= width and h <= height:
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            expected.append((left, top, left + w, top + h))
    for found, wanted in zip(areas_and_shapes(windows), areas_and_shapes(expected), strict=True):
        parts = np.quantile(wanted, [0.1, 0.25, 0.5, 0.75, 0.9])
        assert np.abs([(found < part).mean() for part in parts] - np.array([0.1, 0.25, 0.5, 0.75, 0.9])).max() < 0.04
    for found, wanted in zip(np.array(windows).T, np.array(expected).T, strict=True):
        assert abs(found.mean() - wanted.mean()) < 5 * wanted.std() / math.sqrt(4000)
    assert len({_window(width, height, (1, epoch, 3), 0.08) for epoch in range(50)}) == 50
    assert _window(width, height, (1, 2, 3), 0.08) == windows[3]


@pytest.mark.parametrize(("size", "middle"), [
    ((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)), ((1, 1), (0, 0, 1, 1)), ((9, 10), (0, 0, 9, 10)),
])  # fmt: skip
def test_where_no_window_fits_it_is_the_largest_in_the_middle(size, middle):
    """After ten tries; with at least the whole area none fits but by chance."""
    assert _window(*size, (0, 0, 0), 1.0 if size != (1, 1) else 0.0) == middle


@pytest.mark.parametrize("channels", [1, 3])
def test_windows_are_resized_with_antialiasing(channels):
    """As Pillow does it, within two levels of 255."""
    noise = np.random.default_rng(6).integers(0, 256, (90, 120, channels), dtype=np.uint8)
    for kind, rule in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        seen = Preprocessing(24, channels, mean=(0.5,) * channels, std=(0.5,) * channels, interpolation=kind)
        found = random_view(noise, (0, 0, 1), Augmentation("resized"), seen)
        box = _window(120, 90, (0, 0, 1), 0.35)
        picture = Image.fromarray(noise[..., 0] if channels == 1 else noise).crop(box).resize((24, 24), rule)
        assert np.abs(found.astype(int) - np.asarray(picture).reshape(found.shape)).max() <= 2


def verdict(read, data):
    try:
        return np.atleast_3d(np.asarray(read(data)))
    except ImageError as error:
        return str(error)


def test_pixels_are_those_of_decode():
    """The bits of every good file and the verdict on every bad one; a JPEG is read by another decoder if it may be."""
    dice, y, x = random.Random(8), *np.mgrid[:60, :90]
    photograph = Image.fromarray(np.stack([2 * x, 4 * y, 30 * np.sin(x * y / 99) + 99], -1).astype(np.uint8))
    jpegs, turned = [], Image.Exif()
    turned[0x0112] = 6
    kinds = (
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"restart_marker_rows": 1},
        {"exif": turned},
    )
    for options in ({}, *kinds):
        for mode in ("RGB", "L", "CMYK"):
            photograph.convert(mode).save(out := io.BytesIO(), "JPEG", quality=85, **options)
            jpegs.append(out.getvalue())
    files = [data for data, _ in odd_modes().values()] + jpegs + [mutate(jpegs, dice) for _ in range(400)]
    files += [data[: dice.randrange(len(data))] for data in jpegs for _ in range(10)]
    read = 0
    for data in files:
        found, expected = verdict(pixels, data), verdict(decode, data)
        assert np.array_equal(found, expected), expected
        read += not isinstance(expected, str)
        assert isinstance(found, str) or found.flags.writeable
    assert 100 < read < len(files) - 100


def test_pixels_keep_to_the_limits():
    photograph = Image.new("RGB", (90, 60))
    photograph.save(out := io.BytesIO(), "JPEG")
    for limits in (Limits(max_pixels=5000), Limits(max_side=80), Limits(max_bytes=100)):
        with pytest.raises(ImageError, match="at most"):
            pixels(out.getvalue(), limits)


def test_without_simplejpeg_pixels_are_the_same(monkeypatch):
    noise = np.random.default_rng(9).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out := io.BytesIO(), "JPEG")
    before = pixels(out.getvalue())
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert np.array_equal(pixels(out.getvalue()), before)
