"""Random numbers as a pure function of (seed, epoch, sample index): no state to save, no worker to depend on."""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(64)
def fold(*keys: int | str) -> int:
    """A 63-bit seed from integers and words."""
    text = "/".join(map(str, keys)).encode("utf-8", "surrogatepass")  # file names may hold any byte
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def uniform(seed: int, stream: str, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1), one per sample; every `stream` is independent of the others."""
    base = np.uint64(fold(seed, stream, epoch))
    bits = _mix(_mix(base + _GOLDEN * (indices.astype(np.uint64) + np.uint64(1))))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, stream: str, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normally distributed numbers, one per sample, from two uniform ones (Box and Muller 1958)."""
    radius, angle = (uniform(seed, f"{stream}-{part}", epoch, indices) for part in ("radius", "angle"))
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of the samples in an epoch: a permutation of 0 … count − 1."""
    return np.random.Generator(np.random.Philox(fold(seed, "order", epoch))).permutation(count)
