"""Augmented training input on one core, without a network."""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain as joined
from itertools import islice, repeat
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from resnets.data.batches import training_batches
from resnets.data.course import Course
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays, Source
from resnets.recipe import Augmentation

from .inputs import CIFAR_SEEN, cifar, photographs
from .usual import CIFAR_CHAIN, IMAGENET_CHAIN, Cifar, Folder, chain


def torchvision_cifar(images: int, batch: int = 128) -> Callable[[], dict[str, Any]]:
    """Random crops and flips of CIFAR-10, image by image."""
    return _drawn(DataLoader(Cifar(chain(CIFAR_CHAIN, "cifar10")), batch, shuffle=True), images // batch)


def torchvision_crops(images: int, batch: int = 100) -> Callable[[], dict[str, Any]]:
    """Random resized crops of photographs."""
    return _drawn(DataLoader(Folder(chain(IMAGENET_CHAIN, "imagenet")), batch, shuffle=True), images // batch)


def library_cifar(images: int, batch: int = 128) -> Callable[[], dict[str, Any]]:
    """The same by the library; black borders, as the peer's."""
    return _library(Arrays(*cifar("train")), CIFAR_SEEN, Augmentation(border="before"), (images, batch))


def library_crops(images: int, batch: int = 100, workers: int = 0) -> Callable[[], dict[str, Any]]:
    """The same by the library; windows of at least 8 % of the picture, as the peer's."""
    return _library(photographs(), Preprocessing(), Augmentation("resized", min_area=0.08), (images, batch), workers)


def _library(
    source: Source, seen: Preprocessing, augmentation: Augmentation, counts: tuple[int, int], workers: int = 0
) -> Callable[[], dict[str, Any]]:
    images, batch = counts
    stream = training_batches(source, seen, augmentation, Course(0, batch), workers)
    return _drawn(((each.images, each.labels) for each in stream), images // batch)


def _drawn(batches: Iterable[Any], count: int) -> Callable[[], dict[str, Any]]:
    """A call draws COUNT batches, pass after pass; mean and deviation of the last, per channel, are its output."""
    endless = joined.from_iterable(repeat(batches))

    def call() -> dict[str, Any]:
        images, _ = deque(islice(endless, count), maxlen=1).pop()
        return {"output": lambda: np.stack([f(images.numpy(), axis=(0, 2, 3)) for f in (np.mean, np.std)])}

    return call
