"""From a picture to the network's input: exact pixels, torchvision's pixels, exact numbers."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

from resnets.data.batches import mean_image
from resnets.data.images import ImageError
from resnets.data.preprocessing import NORMALIZATIONS, Preprocessing, normalization
from resnets.data.sources import Arrays
from resnets.recipe import from_json

PLAIN = Preprocessing(4, 3, crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def grid(width, height):
    """A picture whose red is the column and whose green is the row."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x + 200], -1).astype(np.uint8))


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [((4, 4), 0, 0), ((8, 4), 2, 0), ((7, 4), 1, 0), ((4, 9), 0, 2), ((5, 4), 0, 0)],
)
def test_crop_takes_the_centre_rounded_down(size, columns, rows):
    view = PLAIN.view(grid(*size))
    assert view[0, :, 0].tolist() == list(range(columns, columns + 4))
    assert view[:, 0, 1].tolist() == list(range(rows, rows + 4))
    assert (view.shape, view.dtype) == ((4, 4, 3), np.uint8)


def test_crop_resizes_the_shorter_side_first():
    half = Image.new("RGB", (16, 8), "black")
    half.paste("white", (8, 0, 16, 8))
    view = PLAIN.view(half)  # 8 x 4, then the middle four columns
    assert view[0, 0, 0] < 40 < 215 < view[0, 3, 0]
    assert np.array_equal(view, np.asarray(half.resize((8, 4), Image.Resampling.BILINEAR))[:, 2:6])


def test_crop_pct_leaves_a_border():
    picture = grid(8, 8)
    view = replace(PLAIN, crop_pct=0.5).view(picture)  # 8 is 4 / 0.5: no resizing
    assert np.array_equal(view, np.asarray(picture)[2:6, 2:6])
    small = replace(PLAIN, crop_pct=0.5).view(grid(4, 4))  # of the network's size, and seen like any other
    assert np.array_equal(small, np.asarray(grid(4, 4).resize((8, 8), Image.Resampling.BILINEAR))[2:6, 2:6])


def test_pad_fills_up_with_the_mean_colour():
    pad = replace(PLAIN, fit="pad", mean=(0.2, 0.4, 1.0))
    wide = pad.view(Image.new("RGB", (8, 4), (9, 8, 7)))
    assert wide.tolist() == [[[51, 102, 255]] * 4, [[9, 8, 7]] * 4, [[9, 8, 7]] * 4, [[51, 102, 255]] * 4]
    tall = pad.view(Image.new("RGB", (3, 4), (9, 8, 7)))
    assert tall.tolist() == [[[9, 8, 7]] * 3 + [[51, 102, 255]]] * 4
    thread = pad.view(Image.new("RGB", (1, 4000), (9, 8, 7)))
    assert (thread == (9, 8, 7)).all(-1).sum() == 4
    gray = Preprocessing(4, 1, "pad", mean=(0.2,), std=(1.0,)).view(Image.new("L", (4, 2), 90))
    assert gray[..., 0].tolist() == [[51] * 4, [90] * 4, [90] * 4, [51] * 4]


def test_squash_resizes_both_sides():
    picture = noise(9, 5)
    expected = np.asarray(picture.resize((4, 4), Image.Resampling.BILINEAR))
    assert np.array_equal(replace(PLAIN, fit="squash").view(picture), expected)
    cubic = replace(PLAIN, fit="squash", interpolation="bicubic").view(picture)
    assert np.array_equal(cubic, np.asarray(picture.resize((4, 4), Image.Resampling.BICUBIC)))
    assert not np.array_equal(cubic, expected)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_every_fit_keeps_a_plain_colour(fit, crop_pct):
    seen = replace(PLAIN, fit=fit, crop_pct=crop_pct, mean=(1.0, 0.0, 0.0))
    assert (seen.view(Image.new("RGB", (31, 31), (255, 0, 0))) == (255, 0, 0)).all()


def torchvisions(picture, size, crop_pct=0.875, interpolation="bilinear"):
    return transforms.Compose([
        transforms.Resize(int(size / crop_pct), transforms.InterpolationMode(interpolation), antialias=True),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(*NORMALIZATIONS["imagenet"]),
    ])(picture).numpy()  # fmt: skip


SIDES = [(500, 375), (64, 64), (224, 224), (256, 256), (333, 256), (100, 301), (56, 41), (1, 1), (640, 480)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIDES, ids=str)
def test_crop_is_torchvisions(size, interpolation):
    """Where they differ: torchvision rounds half a pixel of the centre to even, here it is rounded down."""
    picture = noise(*size)
    width, height = F.resize(picture, 256).size
    if any((side - 224) % 4 == 3 for side in (width, height)):
        return pytest.fail("the centres differ; choose another size")
    ours = Preprocessing(224, interpolation=interpolation)(picture)
    theirs = torchvisions(picture, 224, interpolation=interpolation)
    assert (ours.shape, ours.dtype) == ((3, 224, 224), np.float32)
    assert np.abs(ours - theirs).max() < 2e-6
    return None


def test_where_the_centre_is_half_a_pixel():
    picture = noise(231, 224)  # 7 columns too many: ours leaves out 3 on the left, torchvision 4
    ours = Preprocessing(224, crop_pct=1.0)
    assert np.array_equal(ours.view(picture), np.asarray(picture)[:, 3:227])
    assert np.abs(ours(picture) - torchvisions(picture.crop((1, 0, 231, 224)), 224, 1.0)).max() > 1
    assert np.abs(ours(picture) - torchvisions(picture.crop((0, 0, 230, 224)), 224, 1.0)).max() < 2e-6


@settings(max_examples=80, deadline=None)
@example(49, 98, 256)
@example(1000, 3, 7)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_resized_sides_are_torchvisions(width, height, size):
    if max(width, height) / min(width, height) > 100:
        return
    picture, seen = Image.new("L", (width, height)), []

    class Watching(Preprocessing):
        def resized(self, *arguments):
            seen.append(super().resized(*arguments))
            return seen[-1]

    Watching(size, 1, crop_pct=1.0, mean=(0.5,), std=(1.0,)).view(picture)
    assert seen[0].size == F.resize(picture, size).size


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.sampled_from([1, 3]),
    st.sampled_from(["L", "RGB"]),
    st.sampled_from(["crop", "pad", "squash"]), st.floats(0.2, 1.0),
)  # fmt: skip
def test_any_size_gives_the_networks_size(width, height, size, channels, mode, fit, crop_pct):
    mean, std = normalization("imagenet", channels)
    seen = Preprocessing(size, channels, fit, crop_pct, mean=mean, std=std)
    answer = seen(Image.new(mode, (width, height), "white"))
    assert (answer.shape, answer.dtype) == ((channels, size, size), np.float32)
    assert np.isfinite(answer).all()
    if fit != "pad":
        expected = (1 - np.array(mean)) / np.array(std)
        assert np.abs(answer - expected[:, None, None]).max() < 1e-5


def test_gray_and_colours():
    gray, colours = noise(4, 4).convert("L"), noise(4, 4)
    assert np.array_equal(PLAIN.view(gray), np.repeat(np.asarray(gray)[..., None], 3, -1))
    one = replace(PLAIN, channels=1, mean=(0.0,), std=(1.0,))
    assert np.array_equal(one.view(colours)[..., 0], np.asarray(colours.convert("L")))
    assert np.array_equal(one.view(gray)[..., 0], np.asarray(gray))
    assert normalization("imagenet", 3) == NORMALIZATIONS["imagenet"]
    mean, std = normalization("imagenet", 1)
    assert (len(mean), len(std)) == (1, 1)
    assert mean[0] == pytest.approx(0.449, abs=1e-3)
    assert normalization("none", 3) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("name", list(NORMALIZATIONS))
def test_normalise_is_the_formula(name):
    mean, std = normalization(name, 3)
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(2, 8, 16, 3)
    answer = Preprocessing(mean=mean, std=std).normalise(pixels)
    exact = np.moveaxis((pixels / 255 - np.array(mean)) / np.array(std), -1, 1)
    assert answer.flags.c_contiguous
    assert (answer.shape, answer.dtype) == ((2, 3, 8, 16), np.float32)
    assert np.abs(answer - exact).max() < 1e-6


def test_pixel_mean_goes_through_json():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    mean = mean_image(Arrays(images, np.zeros(50, np.int64)), PLAIN)
    seen = Preprocessing(4, 3, mean=(0.0,) * 3, std=(0.3,) * 3).with_pixel_mean(mean)
    again = from_json(Preprocessing, json.loads(json.dumps(asdict(seen))), "config.json")
    assert again == seen
    assert hash(again) == hash(seen)
    answer = again.normalise(images)
    assert np.abs(answer - np.moveaxis(images / 255 - mean, -1, 1)).max() < 1e-6
    assert np.abs(answer.mean(0)).max() < 1e-6  # not that of the channel: of every pixel
    assert again.std == (1.0, 1.0, 1.0)
    assert np.abs(np.array(again.mean) - images.mean((0, 1, 2)) / 255).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 900)])
def test_too_long_and_thin(size):
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} is too long and thin.*--fit squash"):
        Preprocessing(224).view(Image.new("L", size))
    for fit in ("pad", "squash"):
        assert Preprocessing(224, fit=fit).view(Image.new("L", size)).shape == (224, 224, 3)
