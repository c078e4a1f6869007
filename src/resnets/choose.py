"""What `train` does with a folder of pictures when it is told nothing else: chosen from the data and the machine."""

import os
from dataclasses import dataclass
from statistics import median
from typing import Any

from .data.check import fit_for
from .data.datasets import Dataset
from .data.sources import sizes_of

_LOOKED_AT = 200  # pictures
_IMAGES_SEEN = 60_000  # by a whole training: what a network of 20 layers needs to learn from a few thousand pictures
_SGD = {"optimizer": "sgd", "momentum": 0.9}
_WINDOWS = {"crop": "resized", "flip": "random", "normalize": "imagenet", "crop_pct": 0.875}

# Up to which median shorter side in pixels: the network, and fields of the recipe.
_ROWS: tuple[tuple[float, str, dict[str, Any]], ...] = (
    (48, "cifar_resnet20", {"size": 32}),
    (112, "cifar_resnet20", {"size": 64, "batch_size": 64, "lr": 0.2, "ema": 0.99, **_WINDOWS, **_SGD}),
    (float("inf"), "resnet18", {"size": 128}),
)


@dataclass(frozen=True)
class Choice:
    """A network, fields of the recipe, and a reason for each."""

    network: str
    fields: dict[str, Any]
    reasons: dict[str, str]


def choose(dataset: Dataset, cores: int | None = None) -> Choice:
    """Network, size, length and fit rule for DATASET on a machine with so many CORES (None: this one)."""
    cores = cores or len(os.sched_getaffinity(0))
    sizes = sizes_of(dataset.train, _LOOKED_AT)
    side = median(min(size) for size in sizes) if sizes else 128
    _, network, fields = next(row for row in _ROWS if side <= row[0])
    count = len(dataset.train)
    epochs = round(min(max(_IMAGES_SEEN / count, 10), 60))
    pixels = fields["size"]
    fit, why, _ = fit_for(sizes)
    seen = f"of {len(sizes)} pictures looked at"
    reasons = {
        "network": f"the shorter side is {side:g} pixels in the median {seen}, and there are {cores} cores",
        "size": f"{pixels} pixels keep most of what {side:g} show"
        if pixels <= side
        else f"{side:g} pixels need no more",
        "epochs": f"{count} training pictures, about {_IMAGES_SEEN:,} views in all",
        "fit": why,
    }
    return Choice(network, {**fields, "epochs": epochs, "fit": fit}, reasons)
