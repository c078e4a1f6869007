"""Where the images of one part of a data set are: in memory, or in files."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError
from .images import ImageError, decode, read_bytes
from .randomness import fold


class Source(Protocol):
    """Labelled pictures: `labels` is int64 (N,), `name(i)` tells a person which picture i is."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...  # noqa: D102

    def picture(self, index: int) -> Image.Image: ...  # noqa: D102

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

    def picture(self, index: int) -> Image.Image:
        """Image INDEX."""
        pixels = self.images[index]
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)

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
    """Pictures in files below `root`, decoded when asked for; names are relative to it."""

    root: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Path relative to the root."""
        return self.names[index]

    def picture(self, index: int) -> Image.Image:
        """Picture INDEX, upright. Raises ImageError, also for a file of another size than when it was listed."""
        data = read_bytes(self.root / self.names[index])
        if len(data) != self.sizes[index]:
            raise ImageError("changed since start")
        return decode(data)

    def fingerprint(self) -> str:
        """A hash of the sorted (path, size) pairs and labels; where the root lies does not matter."""
        rows = sorted((os.fsencode(n), s, int(y)) for n, s, y in zip(self.names, self.sizes, self.labels, strict=True))
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def subset(self, indices: NDArray[np.int64]) -> "Files":
        """The files at INDICES, in that order."""
        names, sizes = (tuple(values[i] for i in indices) for values in (self.names, self.sizes))
        return replace(self, names=names, sizes=sizes, labels=self.labels[indices])

    def relabel(self, labels: NDArray[np.int64]) -> "Files":
        """The same files with other labels."""
        return replace(self, labels=labels)


def hold_out(source: Source, fractions: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    """Indices of the parts that FRACTIONS of every class make, and last the rest: stratified, seeded, stable.

    Which part a sample falls into depends on the seed and its own name, so that new files move few old ones. Every
    part gets at least one of each class that has as many samples as there are parts; the rest gets one of every
    class. Raises UsageError for fractions that leave nothing.
    """
    if not all(fraction >= 0 for fraction in fractions) or sum(fractions) >= 1:
        held = " and ".join(f"{fraction:g}" for fraction in fractions)
        raise UsageError(f"cannot hold out {held} of the images: fractions are 0 or more and add up to less than 1")
    labels = np.asarray(source.labels)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: fold(seed, "split", source.name(i)))
        start, least = 0, int(len(members) > len(fractions))
        for place, fraction in enumerate(fractions):
            later = sum(f > 0 for f in fractions[place + 1 :])
            most = len(members) - 1 - least * later
            stop = min(start + max(least * (fraction > 0), round(fraction * len(members))), most)
            parts[place] += members[start:stop]
            start = stop
        parts[-1] += members[start:]
    return [np.array(sorted(part), dtype=np.int64) for part in parts]
