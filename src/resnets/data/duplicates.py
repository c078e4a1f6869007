"""Pictures that are the same, or nearly: hashes of files and pixels, and a perceptual hash of what is shown."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE, _LOW = 32, 8  # a gray thumbnail, and how many of its frequencies count in each direction
_COSINES = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_LOW)[:, None] / (2 * _SIDE))
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # five, so that one is equal where four bits differ
_BITS = 4
_AT_ONCE = 4096  # pairs
_NEIGHBOURS = 64  # that a picture is compared with in each band
_CORRELATION = 0.9  # of thumbnails; on CIFAR-10 it parts copies from planes in an equal sky
_PLAIN = 2.0  # standard deviation of gray values under which there is nothing to compare
SMALLEST = 16  # pixels a side, under which every digit resembles another


def look(picture: Image.Image | NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    """The perceptual hash of a picture, 64 bits, and a gray thumbnail, uint8 (16, 16).

    The hash tells which of the lowest 64 frequencies (DCT-II) of a thumbnail are above their median: size, brightness,
    contrast and compression change few of its bits. It is 0 where there is nothing to compare.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture.mean(axis=2).astype(np.uint8))
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    gray = np.asarray(small, np.float64)
    thumbnail = gray.reshape(16, 2, 16, 2).mean((1, 3)).astype(np.uint8)
    if min(picture.size) < SMALLEST or gray.std() < _PLAIN:
        return 0, thumbnail
    waves = (_COSINES @ gray @ _COSINES.T).ravel()
    waves[0] = np.inf  # brightness says nothing; the bit marks a hash
    return int.from_bytes(np.packbits(waves > np.median(waves[1:])).tobytes(), "big"), thumbnail


def same(keys: Iterable[bytes]) -> list[list[int]]:
    """Groups of two or more places that hold equal KEYS; an empty key equals none."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        if key:
            places.setdefault(key, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def near(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of places whose pictures nearly agree: at most 4 bits of the hash, and the thumbnails correlate.

    In n log n steps: sorted by each of five bands of bits, of which one is equal in such a pair, every picture is
    compared with its next 64 of an equal band.
    """
    above: dict[int, int] = {}

    def top(place: int) -> int:
        while place in above:
            place = above[place]
        return place

    for ones, others in _pairs(hashes):
        alike = _correlations(thumbnails[ones], thumbnails[others]) >= _CORRELATION
        for one, other in zip(ones[alike].tolist(), others[alike].tolist(), strict=True):
            low, high = sorted((top(one), top(other)))
            if low != high:
                above[high] = low
    groups: dict[int, list[int]] = {}
    for place in sorted({*above, *above.values()}):
        groups.setdefault(top(place), []).append(place)
    return list(groups.values())


def _pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of pictures whose hashes nearly agree, some at a time; equal hashes in the first band only."""
    used = np.flatnonzero(hashes)
    for shift, width in _BANDS:
        band = hashes[used] >> np.uint64(shift) & np.uint64(2**width - 1)
        order = used[np.lexsort((hashes[used], band))]
        band, ordered = np.sort(band), hashes[order]
        for step in range(1, _NEIGHBOURS + 1):
            equal = band[step:] == band[:-step]
            if not equal.any():
                break
            differing = np.bitwise_count(ordered[step:] ^ ordered[:-step])
            found = np.flatnonzero(equal & (differing <= _BITS) & ((differing > 0) | (shift == 0)))
            for some in np.array_split(found, len(found) // _AT_ONCE + 1):
                yield order[some], order[some + step]


def _correlations(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlation of thumbnails (N, 16, 16), pair by pair; 0 for one without contrast."""
    a, b = (values.reshape(len(values), 16 * 16).astype(np.float32) for values in (ones, others))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return (a * b).sum(1) / np.sqrt(np.maximum((a * a).sum(1) * (b * b).sum(1), 1))
