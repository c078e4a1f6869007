"""What a run begins with: the network that fits its data, its preprocessing, its first weights, its workers."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import bundle
from .data.batches import mean_image
from .data.datasets import Dataset
from .data.preprocessing import NORMALIZATIONS, Preprocessing, normalization
from .data.sources import Arrays, Source
from .errors import unknown
from .models import load_weights
from .models.weights import fit_weights
from .recipe import Recipe
from .record import model_folder

log = logging.getLogger(__name__)
_LEAST_SHARED_MEMORY = 256 << 20  # bytes that workers need to hand batches over


def fit_network(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the network's classes, channels and size as the data has them."""
    channels = recipe.network.channels
    if isinstance(dataset.train, Arrays):
        channels = dataset.train.images.shape[-1]
    network = replace(recipe.network, classes=len(dataset.classes), channels=channels, size=recipe.size)
    return replace(recipe, network=network)


def preprocessing_of(recipe: Recipe, dataset: Dataset) -> Preprocessing:
    """The preprocessing of a recipe; "pixel-mean" is computed from the training part."""
    channels, pixel_mean = recipe.network.channels, recipe.normalize == "pixel-mean"
    if not pixel_mean and recipe.normalize not in NORMALIZATIONS:
        raise unknown("normalization", recipe.normalize, [*NORMALIZATIONS, "pixel-mean"])
    mean, std = normalization("none" if pixel_mean else recipe.normalize, channels)
    plain = Preprocessing(recipe.size, channels, recipe.fit, recipe.crop_pct, recipe.interpolation, mean, std)
    return plain.with_pixel_mean(mean_image(dataset.train, plain)) if pixel_mean else plain


def start_from(model: Any, weights: str, origin: str) -> list[str]:
    """Load a weights file, or the model of a run or model folder, into MODEL; answers what to tell the user."""
    path = Path(weights)
    if path.is_dir() or path.name == "latest":
        own = bundle.load(model_folder(path))
        return list(fit_weights(model, own.tensors, weights, own.network).notes)
    return list(load_weights(model, path, origin or None).notes)


def helpful_workers(source: Source) -> int:
    """None for images in memory; for files one for every second core, given shared memory to hand batches over."""
    if isinstance(source, Arrays):
        return 0
    place = Path("/dev/shm")  # noqa: S108
    if place.is_dir() and shutil.disk_usage(place).free < _LEAST_SHARED_MEMORY:
        log.warning("too little shared memory in %s for workers; pictures are decoded in the main process", place)
        return 0
    return min(8, max(1, (os.cpu_count() or 1) // 2))
