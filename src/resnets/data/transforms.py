"""Augmentation: a pure function of (seed, epoch, sample index), over whole batches of bytes where it can be."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from ..recipe import Augmentation
from .preprocessing import FILTERS, Preprocessing, bands, colours
from .randomness import fold, normal, uniform

Picture = Image.Image | NDArray[np.uint8]


def augment(
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    epoch: int,
    seed: int,
    augmentation: Augmentation,
    preprocessing: Preprocessing,
) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) → the network's input, float32 (N, C, H, W): normalise, pad and crop, flip, in that order.

    The channels lie last in memory.

    One crop and one flip per image; offsets 0 … 2·pad inclusive (correctness point 20). RandAugment comes before all of
    it, colour noise after; neither where the channels are no colours.
    """
    if augmentation.randaugment and pixels.shape[-1] in (1, 3):
        pixels = _randomised(pixels, indices, (seed, epoch), augmentation.randaugment, preprocessing)
    if augmentation.border != "after":
        pixels = _moved(pixels, indices, (seed, epoch), augmentation)
    images = preprocessing.normalised(pixels)
    if augmentation.border == "after":
        images = _moved(images, indices, (seed, epoch), augmentation)
    for row in np.flatnonzero(_flipped(indices, epoch, seed, augmentation.flip)):
        images[row] = images[row].take(np.arange(images.shape[2])[::-1], axis=1)
    images = np.moveaxis(images, -1, 1)
    if augmentation.colour and pixels.shape[-1] == 3:
        noise = _colour_noise(indices, epoch, seed, augmentation.colour) / np.asarray(preprocessing.std)
        images += noise.astype(np.float32)[:, :, None, None]
    return images


def _moved(images: NDArray, indices: NDArray[np.int64], key: tuple[int, int], augmentation: Augmentation) -> NDArray:
    """A random window of every padded image, (N, H, W, C) → the same, where the augmentation crops so.

    One slice is copied per image: an index per pixel takes three times as long.
    """
    (seed, epoch), pad, (height, width) = key, augmentation.pad, images.shape[1:3]
    if augmentation.crop != "pad" or not pad:
        return images
    drawn = (uniform(seed, stream, epoch, indices) * (2 * pad + 1) for stream in ("crop-y", "crop-x"))
    tops, lefts = (numbers.astype(np.int64).tolist() for numbers in drawn)
    mode = "reflect" if augmentation.border == "reflect" else "constant"
    padded, windows = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode), np.empty_like(images)
    for image, window, top, left in zip(padded, windows, tops, lefts, strict=True):
        window[:] = image[top : top + height, left : left + width]
    return windows


def _flipped(indices: NDArray[np.int64], epoch: int, seed: int, kind: str) -> NDArray[np.bool_]:
    if kind == "none":
        return np.zeros(len(indices), np.bool_)
    if kind == "random":
        return uniform(seed, "flip", epoch, indices) < 0.5
    return ((uniform(seed, "flip", 0, indices) < 0.5).astype(np.int64) + epoch) % 2 == 1


def _randomised(
    pixels: NDArray[np.uint8], indices: NDArray[np.int64], key: tuple[int, int], magnitude: int, seen: Preprocessing
) -> NDArray[np.uint8]:
    """Every image after two operations of RandAugment; what they uncover gets the mean colour."""
    operations = v2.RandAugment(2, magnitude, fill=[round(255 * mean) for mean in seen.mean])
    images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
    with torch.random.fork_rng(devices=[]):
        for row, index in enumerate(indices.tolist()):
            torch.manual_seed(fold("randaugment", *key, index))
            images[row] = operations(images[row])
    return np.moveaxis(images.numpy(), 1, -1)


# Principal components of RGB in 0..1 over ImageNet's training set (Krizhevsky et al. 2012, section 4.1), with the
# numbers of fb.resnet.torch: deviations, and one direction a column.
_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
_DIRECTIONS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def _colour_noise(indices: NDArray[np.int64], epoch: int, seed: int, sigma: float) -> NDArray[np.float64]:
    """What is added to red, green and blue in 0..1 of each image, (N, 3): once per image and epoch."""
    streams = ("colour-1", "colour-2", "colour-3")
    alphas = np.stack([normal(seed, stream, epoch, indices) for stream in streams], axis=1)
    return (sigma * alphas * _DEVIATIONS) @ _DIRECTIONS.T


_ROOM = 1.5  # side of the square that windows of padded and squashed pictures are taken from, over the network's


def random_view(
    picture: Picture, key: tuple[int, int, int], augmentation: Augmentation, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """What the network sees of a training picture, uint8 (size, size, channels); KEY is (seed, epoch, sample index).

    Windows are of the whole picture in the way it is fitted in testing: as it is, padded, or squashed to a square.
    """
    if augmentation.crop not in ("resized", "scale"):
        return preprocessing.view(picture)
    seen = preprocessing
    if seen.fit != "crop":
        picture = replace(seen, size=round(_ROOM * seen.size)).view(picture)
    elif seen.channels in (1, 3) and isinstance(picture, Image.Image):
        picture = colours(picture, seen.channels)
    if augmentation.crop == "resized":
        whole = _parts(picture, seen.channels)
        window = _window(whole[0], key, augmentation.min_area)
        parts = [part.resize((seen.size, seen.size), FILTERS[seen.interpolation], window) for part in whole]
    else:
        parts = [_scaled(part, key, augmentation.scale, seen) for part in _parts(picture, seen.channels)]
    return np.concatenate([np.atleast_3d(np.asarray(part)) for part in parts], axis=-1)


def _parts(picture: Picture, channels: int) -> list[Image.Image]:
    """A picture of colours as it is; of others every channel."""
    if channels in (1, 3) and not isinstance(picture, Image.Image):
        return [Image.fromarray(picture[..., 0] if channels == 1 else picture)]
    return [picture] if isinstance(picture, Image.Image) and channels in (1, 3) else bands(picture, channels)


def _window(picture: Image.Image, key: tuple[int, int, int], min_area: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part of PICTURE: torchvision's RandomResizedCrop."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold("view", *key))
        window = v2.RandomResizedCrop(1, (min_area, 1.0)).make_params([picture])
    return window["left"], window["top"], window["left"] + window["width"], window["top"] + window["height"]


def _scaled(part: Image.Image, key: tuple[int, int, int], scale: tuple[int, int], seen: Preprocessing) -> Image.Image:
    """A window of the network's size of PART, whose shorter side gets a length in SCALE (he2015 section 3.4)."""
    random = np.random.Generator(np.random.Philox(fold("scale", *key)))
    side = max(int(random.integers(scale[0], scale[1] + 1)), seen.size)
    part = seen.resized(part, min(part.size), side)
    left, top = (int(random.integers(0, length - seen.size + 1)) for length in part.size)
    return part.crop((left, top, left + seen.size, top + seen.size))
