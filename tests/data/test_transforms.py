"""Random windows, colour noise and RandAugment, by hand and against literal ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.preprocessing import Preprocessing
from resnets.data.transforms import augment, random_view
from resnets.recipe import Augmentation

COLOUR = Preprocessing(8, 3, crop_pct=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
STILL = Augmentation(crop="none", flip="none")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
ROWS = np.arange(40)
SCALE = Augmentation(crop="scale", scale=(10, 14))


def numbered(width, height):
    """A picture whose red is the column and whose green is the row."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


def test_scale_is_a_window_of_the_resized_picture():
    """he2015 section 3.4: every side of [10, 14], and of the resized picture every place."""
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (20, 31, 3), dtype=np.uint8))  # height 20, width 31
    windows: dict[bytes, tuple[int, int, int]] = {}
    for side in range(10, 15):
        pixels = np.asarray(picture.resize((31 * side // 20, side), Image.Resampling.BILINEAR))
        for top in range(pixels.shape[0] - 7):
            for left in range(pixels.shape[1] - 7):
                windows[pixels[top : top + 8, left : left + 8].tobytes()] = (side, top, left)
    found = [windows[random_view(picture, (0, epoch, 3), SCALE, COLOUR).tobytes()] for epoch in range(2000)]
    counts = {side: sum(s == side for s, _, _ in found) for side in range(10, 15)}
    assert min(counts.values()) > 330  # mean 400, deviation 18
    tallest = [(top, left) for side, top, left in found if side == 14]
    assert {top for top, _ in tallest} == set(range(7))
    assert {left for _, left in tallest} == set(range(14))
    assert found[:5] == [windows[random_view(picture, (0, e, 3), SCALE, COLOUR).tobytes()] for e in range(5)]
    others = {random_view(picture, (s, 0, i), SCALE, COLOUR).tobytes() for s in range(5) for i in range(5)}
    assert len(others) > 15


def test_a_side_below_the_networks_becomes_the_networks():
    view = random_view(numbered(30, 20), (0, 0, 0), replace(SCALE, scale=(1, 4)), replace(COLOUR, size=20))
    assert view.shape == (20, 20, 3)
    assert (np.diff(view[..., 0].astype(int), axis=1) == 1).all(), "20 pixels high as it was, cut from 30"
    assert view[0, 0, 1] == 0


@pytest.mark.parametrize("crop", ["scale", "resized"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_are_cut_alike(crop, channels):
    seen = Preprocessing(8, channels, crop_pct=1.0, mean=(0.5,) * channels, std=(0.25,) * channels)
    gray = np.asarray(numbered(30, 20))[..., 0]
    picture = Image.fromarray(gray) if channels == 1 else np.stack([gray] * channels, -1)
    view = random_view(picture, (0, 1, 2), replace(SCALE, crop=crop), seen)
    assert view.shape == (8, 8, channels)
    assert (view == view[..., :1]).all()
    assert np.ptp(view) > 3


def test_the_mean_image_is_subtracted_after_the_window():
    """Correctness point 19: whatever the window, the same mean image."""
    mean = np.random.default_rng(2).random((8, 8, 3))
    views = np.stack([random_view(numbered(30, 20), (0, e, 0), SCALE, COLOUR) for e in range(4)])
    answer = augment(views, ROWS[:4], 0, 0, replace(SCALE, flip="none"), COLOUR.with_pixel_mean(mean))
    assert np.allclose(answer, np.moveaxis(views / 255 - mean, -1, 1), atol=1e-6)


EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))  # a row a colour


def shifts(indices, epoch=0, colour=0.1, seen=COLOUR):
    """What colour noise adds to red, green and blue in 0..1, (N, 3)."""
    pixels = PIXELS[indices % len(PIXELS)]
    plain = augment(pixels, indices, epoch, 0, STILL, seen)
    noisy = augment(pixels, indices, epoch, 0, replace(STILL, colour=colour), seen)
    added = (noisy - plain) * np.asarray(seen.std)[:, None, None]
    assert np.abs(added - added[:, :, :1, :1]).max() < 1e-5, "the same for all pixels of an image, unclipped"
    return added[:, :, 0, 0]


def test_colour_noise_has_the_variance_of_the_principal_components():
    found = shifts(np.arange(8000), colour=0.1)
    directions = np.array(EIGENVECTORS)
    alphas = found @ directions / np.array(EIGENVALUES)
    assert np.abs(alphas.mean(0)).max() < 0.006  # five deviations
    assert np.abs(alphas.std(0) / 0.1 - 1).max() < 0.05
    assert np.abs(np.corrcoef(alphas.T) - np.eye(3)).max() < 0.06
    kurtosis = ((alphas / alphas.std(0)) ** 4).mean(0)
    assert np.abs(kurtosis - 3).max() < 0.4, "normal"


def test_colour_noise_is_of_the_image_and_the_epoch():
    found = shifts(ROWS)
    assert np.allclose(shifts(ROWS[::-1])[::-1], found, atol=1e-6)
    assert np.allclose(shifts(ROWS, colour=0.2), 2 * found, atol=1e-5)
    assert np.abs(shifts(ROWS, epoch=1) - found).max(1).min() > 1e-5
    assert len({row.tobytes() for row in found}) == 40
    assert np.allclose(shifts(ROWS, seen=replace(COLOUR, std=(1.0, 0.5, 0.1))), found, atol=1e-5)


def mosaic(count):
    """Images with structure, (N, 32, 32, 3)."""
    y, x = np.mgrid[:32, :32]
    return np.stack([np.stack([8 * x, 8 * y, 4 * (x + y)], -1) + i for i in range(count)]).astype(np.uint8)


WIDE = Preprocessing(32, 3, crop_pct=1.0, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize("crop", ["none", "pad", "scale"])
def test_randaugment_changes_bytes_by_seed_epoch_and_index(crop):
    pixels, rule = mosaic(30), Augmentation(crop=crop, flip="none", pad=0, randaugment=9)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = augment(pixels, ROWS[:30], 3, 1, rule, WIDE)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.shape, found.dtype) == ((30, 3, 32, 32), np.float32)
    back = (found * 0.25 + 0.5) * 255
    assert np.abs(back - back.round()).max() < 1e-3, "bytes, before they are normalised"
    assert np.array_equal(found[7:9], augment(pixels[7:9], np.array([7, 8]), 3, 1, rule, WIDE))
    plain = augment(pixels, ROWS[:30], 3, 1, replace(rule, randaugment=0), WIDE)
    changed = np.array([not np.allclose(a, b) for a, b in zip(found, plain, strict=True)])
    assert 15 < changed.sum() <= 30
    for key in ((4, 1), (3, 2)):
        assert not np.allclose(found, augment(pixels, ROWS[:30], *key, rule, WIDE))
    strong = augment(pixels, ROWS[:30], 3, 1, replace(rule, randaugment=30), WIDE)
    assert np.abs(strong - plain).mean() > 1.2 * np.abs(found - plain).mean()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_without_colours_no_colour_noise(channels):
    seen = Preprocessing(8, channels, crop_pct=1.0, mean=(0.5,) * channels, std=(0.25,) * channels)
    pixels = PIXELS[..., :1].repeat(channels, -1)
    plain = augment(pixels, ROWS, 0, 0, STILL, seen)
    assert np.array_equal(plain, augment(pixels, ROWS, 0, 0, replace(STILL, colour=0.5), seen))
    found = augment(pixels, ROWS, 0, 0, replace(STILL, randaugment=9), seen)
    assert np.array_equal(plain, found) == (channels != 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pictures_themselves_stay(channels):
    seen = Preprocessing(8, channels, crop_pct=1.0, mean=(0.5,) * channels, std=(0.25,) * channels)
    pixels = np.ascontiguousarray(PIXELS[..., :channels])
    before = pixels.copy()
    augment(pixels, ROWS, 0, 0, replace(STILL, randaugment=20, colour=0.5), seen)
    assert np.array_equal(pixels, before)
