"""Where the images of one part of a data set are: in memory, or in files."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .images import ImageError, Limits, decode_any, read_bytes
from .images import pixels as decode_pixels


class Source(Protocol):
    """Labelled pictures: `labels` is int64 (N,), `name(i)` tells a person which picture i is."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...  # noqa: D102

    def picture(self, index: int, enough: int = 0) -> Image.Image | NDArray[np.uint8]: ...  # noqa: D102

    def pixels(self, index: int) -> NDArray[np.uint8]: ...  # noqa: D102

    def fingerprint(self) -> str: ...  # noqa: D102

    def subset(self, indices: NDArray[np.int64]) -> "Source": ...  # noqa: D102

    def relabel(self, labels: NDArray[np.int64]) -> "Source": ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Arrays:
    """Decoded images in memory, uint8 (N, H, W, channels); `numbers` are those of the whole that a subset is of."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    part: str = "image"
    numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Part and number."""
        return f"{self.part}/{index if self.numbers is None else self.numbers[index]}"

    def picture(self, index: int, enough: int = 0) -> Image.Image:
        """Image INDEX."""
        pixels = self.images[index]
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Image INDEX, (H, W, channels)."""
        return self.images[index]

    def fingerprint(self) -> str:
        """A hash of every pixel and label."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()

    def subset(self, indices: NDArray[np.int64]) -> "Arrays":
        """The images at INDICES, in that order."""
        numbers = np.arange(len(self)) if self.numbers is None else self.numbers
        return replace(self, images=self.images[indices], labels=self.labels[indices], numbers=numbers[indices])

    def relabel(self, labels: NDArray[np.int64]) -> "Arrays":
        """The same images with other labels."""
        return replace(self, labels=labels)


@dataclass(frozen=True, eq=False)
class Files:
    """Pictures in files below `root`, decoded when asked for; names are relative to it.

    groups: what stays on one side of a split, for each file; empty where every file stands for itself.
    """

    root: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: NDArray[np.int64]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Path relative to the root."""
        return self.names[index]

    def picture(self, index: int, enough: int = 0) -> Image.Image | NDArray[np.uint8]:
        """Picture INDEX, upright, or its channels (H, W, C) where they are no colours. Raises ImageError.

        enough: as in `Limits`; whoever sees a picture by a model's preprocessing gives its `enough`, so that all see
        the same.
        """
        return decode_any(self.data(index), Limits(enough=enough))

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """The pixels of `picture`, (H, W, C). Raises ImageError."""
        return decode_pixels(self.data(index))

    def data(self, index: int) -> bytes:
        """The bytes of file INDEX. Raises ImageError, also for a file that has gone or changed its size."""
        path, size = self.root / self.names[index], self.sizes[index]
        if size and not os.path.lexists(path):
            raise ImageError("changed since start")
        data = read_bytes(path)
        if len(data) != size:
            raise ImageError("changed since start")
        return data

    def fingerprint(self) -> str:
        """A hash of the sorted (path, size) pairs and labels; where the root lies does not matter."""
        rows = sorted((os.fsencode(n), s, int(y)) for n, s, y in zip(self.names, self.sizes, self.labels, strict=True))
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def subset(self, indices: NDArray[np.int64]) -> "Files":
        """The files at INDICES, in that order."""
        names, sizes = (tuple(values[i] for i in indices) for values in (self.names, self.sizes))
        groups = tuple(self.groups[i] for i in indices) if self.groups else ()
        return replace(self, names=names, sizes=sizes, labels=self.labels[indices], groups=groups)

    def relabel(self, labels: NDArray[np.int64]) -> "Files":
        """The same files with other labels."""
        return replace(self, labels=labels)


def sizes_of(source: Source, count: int) -> list[tuple[int, int]]:
    """(width, height) of about COUNT pictures spread over SOURCE, without those that cannot be read."""
    found = list[tuple[int, int]]()
    for index in range(0, len(source), max(1, len(source) // count)):
        with suppress(ImageError):
            height, width = np.asarray(source.picture(index)).shape[:2]
            found.append((width, height))
    return found
