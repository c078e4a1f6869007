"""How far an engine may be from PyTorch's own fp32 outputs, and its refusal beyond that."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.preprocessing import Preprocessing
from ..errors import NumericError

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # inputs (N, C, H, W) → logits (N, classes)
COMPARED = 16  # inputs
ENOUGH = 100  # images from which on a share of equal answers says something


@dataclass(frozen=True)
class Tolerance:
    """The largest difference of a logit, as a fraction of the largest one, and the least share of equal answers."""

    difference: float
    agreement: float = 0.0


TOLERANCES = {
    "fp32": Tolerance(1e-4),
    "bf16": Tolerance(0.05),
    "int8": Tolerance(2.0, agreement=0.97),
    "pixels": Tolerance(0.02, agreement=0.97),  # of a probability, where another library resizes
}


@dataclass(frozen=True)
class Difference:
    """What lies between logits and those of the reference, over N images.

    largest: of any logit, as a fraction of the reference's largest magnitude. agreement: the share of images with the
    same first class.
    """

    largest: float
    agreement: float
    images: int


def compare(reference: NDArray[np.float32], found: NDArray[np.float32], scale: float | None = None) -> Difference:
    """The difference of logits (N, classes) from those of the REFERENCE; what is not finite is infinitely far.

    scale: what it is a fraction of, where not the reference's largest magnitude.
    """
    scale = scale or max(float(np.abs(reference).max()), 1e-12)
    largest = float(np.abs(found.astype(np.float64) - reference).max()) / scale
    agreement = float(np.mean(found.argmax(1) == reference.argmax(1)))
    return Difference(largest if np.isfinite(largest) else float("inf"), agreement, len(reference))


def refuse(what: str, precision: str, difference: Difference) -> None:
    """Raise NumericError where DIFFERENCE is beyond the tolerance of PRECISION; WHAT names the engine or file."""
    allowed = TOLERANCES[precision]
    if not difference.largest <= allowed.difference:
        far, most = difference.largest, allowed.difference
        raise NumericError(f"{what} is refused: its outputs differ from PyTorch's by {far:.1e}, allowed is {most:.0e}")
    if difference.images >= ENOUGH and difference.agreement < allowed.agreement:
        share = f"{100 * difference.agreement:.1f} % of {difference.images} images"
        least = f"{100 * allowed.agreement:g} %"
        raise NumericError(f"{what} is refused: it answers like PyTorch on {share}, at least {least} are asked for")


def noise(preprocessing: Preprocessing, images: int = COMPARED) -> NDArray[np.uint8]:
    """Random pictures as the network sees them, uint8 (N, size, size, channels), always the same."""
    side, channels = preprocessing.size, preprocessing.channels
    return np.random.default_rng(0).integers(0, 256, (images, side, side, channels), dtype=np.uint8)
