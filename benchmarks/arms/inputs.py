"""Real inputs, from the folder that RESNETS_DATA names."""

import os
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.data.cifar import read_cifar
from resnets.data.preprocessing import NORMALIZATIONS, Preprocessing
from resnets.data.sources import Files


def data(name: str) -> Path:
    """The folder NAME below that of RESNETS_DATA."""
    return Path(os.environ["RESNETS_DATA"], name)


CIFAR, PHOTOGRAPHS, WEIGHTS = "cifar-10-batches-bin", "imagenet-sample", "weights/resnet20-12fca82f.th"
CIFAR_SEEN = Preprocessing(32, 3, "crop", 1.0, "bilinear", *NORMALIZATIONS["cifar10"])


@cache
def cifar(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and labels of the train or test part."""
    return getattr(read_cifar(data(CIFAR)), part)


def photographs() -> Files:
    """The ImageNet photographs; the label is the number of the file."""
    paths = sorted(data(PHOTOGRAPHS).glob("*.JPEG"))
    sizes = tuple(path.stat().st_size for path in paths)
    return Files(data(PHOTOGRAPHS), tuple(path.name for path in paths), sizes, np.arange(len(paths)))
