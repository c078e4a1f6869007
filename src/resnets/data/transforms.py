"""Augmentation: a pure function of (seed, epoch, sample index), over whole batches of bytes where it can be."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from ..recipe import Augmentation
from .preprocessing import Preprocessing, bands, colours
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
    normalise, crop = preprocessing.normalised, partial(_cropped, indices, (seed, epoch), augmentation)
    flip = partial(_mirrored, np.flatnonzero(_flipped(indices, epoch, seed, augmentation.flip)))
    steps = crop, flip, normalise  # bytes are moved in a quarter of the time
    if augmentation.crop == "pad" and augmentation.border == "after":
        steps = normalise, crop, flip
    elif preprocessing.pixel_mean:
        steps = crop, normalise, flip
    images: NDArray = pixels
    for step in steps:
        images = step(images)
    images = np.moveaxis(images, -1, 1)
    if augmentation.colour and pixels.shape[-1] == 3:
        noise = _colour_noise(indices, epoch, seed, augmentation.colour) / np.asarray(preprocessing.std)
        images += noise.astype(np.float32)[:, :, None, None]
    return images


def _cropped(indices: NDArray[np.int64], key: tuple[int, int], augmentation: Augmentation, images: NDArray) -> NDArray:
    """A random window of every padded image, (N, H, W, C) → the same, where the augmentation crops so; a copy.

    Rows of windows are copied as items of so many bytes, by one index: a slice per image takes five times as long.
    """
    (seed, epoch), pad, (count, height, width, channels) = key, augmentation.pad, images.shape
    if augmentation.crop != "pad" or not pad:
        return images.copy()
    tops, lefts = (
        (uniform(seed, stream, epoch, indices) * (2 * pad + 1)).astype(np.int64) for stream in ("crop-y", "crop-x")
    )
    padded = _padded(images, pad, augmentation.border)
    high, wide = padded.shape[1:3]
    pixel = channels * images.itemsize
    items = np.ndarray(max(0, padded.size // channels - width + 1), f"V{width * pixel}", padded, strides=(pixel,))
    first = (np.arange(count) * high + tops) * wide + lefts
    rows = items[first[:, None] + wide * np.arange(height)]
    return rows.view(images.dtype).reshape(images.shape)


def _padded(images: NDArray, pad: int, border: str) -> NDArray:
    """(N, H, W, C) with so many pixels more on each side, black or mirrored."""
    if border == "reflect":
        return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "reflect")
    count, height, width, channels = images.shape
    padded = np.zeros((count, height + 2 * pad, width + 2 * pad, channels), images.dtype)  # np.pad takes twice as long
    padded[:, pad : pad + height, pad : pad + width] = images
    return padded


def _mirrored(rows: NDArray[np.int64], images: NDArray) -> NDArray:
    """IMAGES (N, H, W, C), of which those in ROWS have been turned in place: PyTorch's way is the fastest."""
    images[rows] = torch.from_numpy(images[rows]).flip(2).numpy()
    return images


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
    seen = preprocessing
    if augmentation.crop not in ("resized", "scale"):
        return seen.view(_picture(picture))
    if seen.fit != "crop":
        picture = replace(seen, size=round(_ROOM * seen.size)).view(_picture(picture))
    pixels = _pixels(picture, seen.channels)
    if augmentation.crop == "resized":
        left, top, right, bottom = _window(pixels.shape[1], pixels.shape[0], key, augmentation.min_area)
        return _resized(pixels[top:bottom, left:right], seen)
    image = _picture(pixels)
    parts = [image] if isinstance(image, Image.Image) else bands(image, seen.channels)
    return np.concatenate(
        [np.atleast_3d(np.asarray(_scaled(part, key, augmentation.scale, seen))) for part in parts], -1
    )


def _picture(picture: Picture) -> Picture:
    """An image of gray or colours, an array of other channels."""
    if isinstance(picture, Image.Image) or picture.shape[2] not in (1, 3):
        return picture
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def _pixels(picture: Picture, channels: int) -> NDArray[np.uint8]:
    """(H, W, channels). Raises ImageError where that takes more than a change from gray to colours or back."""
    if not isinstance(picture, Image.Image) and picture.shape[2] == channels:
        return picture
    image = _picture(picture)
    if isinstance(image, Image.Image) and channels in (1, 3):
        return np.atleast_3d(np.asarray(colours(image, channels)))
    return np.stack([np.asarray(band) for band in bands(picture, channels)], -1)


def _resized(pixels: NDArray[np.uint8], seen: Preprocessing) -> NDArray[np.uint8]:
    """PIXELS (H, W, C) in the network's size, with antialiasing: PyTorch takes two thirds of Pillow's time."""
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    image = interpolate(image, (seen.size, seen.size), mode=seen.interpolation, antialias=True)
    return np.stack(list(image[0].numpy()), -1)


def _window(width: int, height: int, key: tuple[int, int, int], min_area: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part of a picture: torchvision's RandomResizedCrop with other numbers.

    The first of ten drawn shapes (sides of 3:4 to 4:3) that fits, anywhere; else the largest of such sides, in the
    middle.
    """
    seed, epoch, index = key
    *tries, (across, down) = uniform(seed, "view", epoch, 22 * index + np.arange(22)).reshape(11, 2).tolist()
    for area, shape in tries:
        pixels, ratio = width * height * (min_area + (1 - min_area) * area), (4 / 3) ** (2 * shape - 1)
        wide, high = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(across * (width - wide + 1)), int(down * (height - high + 1))
            break
    else:
        wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _scaled(part: Image.Image, key: tuple[int, int, int], scale: tuple[int, int], seen: Preprocessing) -> Image.Image:
    """A window of the network's size of PART, whose shorter side gets a length in SCALE (he2015 section 3.4)."""
    random = np.random.Generator(np.random.Philox(fold("scale", *key)))
    side = max(int(random.integers(scale[0], scale[1] + 1)), seen.size)
    part = seen.resized(part, min(part.size), side)
    left, top = (int(random.integers(0, length - seen.size + 1)) for length in part.size)
    return part.crop((left, top, left + seen.size, top + seen.size))
