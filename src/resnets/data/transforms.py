"""Augmentation: a pure function of (seed, epoch, sample index), over whole batches of bytes where it can be."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from ..recipe import Augmentation
from .preprocessing import Preprocessing
from .randomness import fold, uniform


def augment(
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    epoch: int,
    seed: int,
    augmentation: Augmentation,
    preprocessing: Preprocessing,
) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) → the network's input, float32 (N, C, H, W): normalise, pad and crop, flip, in that order.

    One crop and one flip per image; offsets 0 … 2·pad inclusive (correctness point 20).
    """
    before = augmentation.border == "before" and augmentation.crop == "pad"
    if before:
        pixels = _windows(pixels, indices, epoch, seed, augmentation.pad)
    images = pixels * preprocessing.scale - preprocessing.offset
    if augmentation.crop == "pad" and not before:
        images = _windows(images, indices, epoch, seed, augmentation.pad)
    images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    flipped = _flipped(indices, epoch, seed, augmentation.flip)
    images[flipped] = images[flipped][..., ::-1]
    return images


def _windows(images: NDArray, indices: NDArray[np.int64], epoch: int, seed: int, pad: int) -> NDArray:
    """A random window of every zero-padded image: (N, H, W, C) → (N, H, W, C)."""
    count, height, width = images.shape[:3]
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    y, x = ((uniform(seed, stream, epoch, indices) * (2 * pad + 1)).astype(np.int64) for stream in ("crop-y", "crop-x"))
    return np.moveaxis(windows[np.arange(count), y, x], 1, -1)


def _flipped(indices: NDArray[np.int64], epoch: int, seed: int, kind: str) -> NDArray[np.bool_]:
    if kind == "none":
        return np.zeros(len(indices), np.bool_)
    if kind == "random":
        return uniform(seed, "flip", epoch, indices) < 0.5
    return ((uniform(seed, "flip", 0, indices) < 0.5).astype(np.int64) + epoch) % 2 == 1


def random_view(
    picture: Image.Image, key: tuple[int, int, int], augmentation: Augmentation, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """What the network sees of a training picture, uint8 (size, size, channels); KEY is (seed, epoch, sample index)."""
    if augmentation.crop != "resized":
        return preprocessing.view(picture)
    interpolation = v2.InterpolationMode(preprocessing.interpolation)
    crop = v2.RandomResizedCrop(preprocessing.size, (augmentation.min_area, 1.0), interpolation=interpolation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold("view", *key))
        window = crop(picture)
    return replace(preprocessing, fit="squash").view(window)
