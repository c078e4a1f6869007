"""Whether probabilities are what they say, and the temperature that makes them so (Guo et al., arXiv:1706.04599)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .metrics import guesses, ranks

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0  # temperatures
_AT_ONCE = 4096  # images
_ENOUGH, _ACCEPTED = 100, 0.95  # images that a threshold is taken from, and the share of answers that reach it


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error in percent, mean negative log likelihood in nats, and the bins of a reliability plot.

    Bin b of 15 holds the images whose answer has a probability in (b/15, (b+1)/15]; the first holds 0 as well, and an
    answer whose probability is no number, which counts as 0. The error is the mean over the images of the distance
    between the share of right answers and the mean probability of their bin (section 2 of the paper).
    """

    ece: float
    loss: float
    bins: list[dict[str, Any]]


def calibration(scores: Tensor, labels: Tensor, temperature: float = 1.0) -> Calibration:
    """How well the softmax of scores (N, classes) / TEMPERATURE fits labels (N,); None of the answers changes."""
    hits, confidences, losses = _answers(scores, labels, temperature)
    edges = np.arange(BINS + 1) / BINS
    place = np.clip(np.searchsorted(edges, confidences) - 1, 0, BINS - 1)
    bins, gap = [], 0.0
    for low, high, inside in zip(edges[:-1], edges[1:], (place == b for b in range(BINS)), strict=True):
        images = int(inside.sum())
        accuracy, confidence = (float(v[inside].mean()) if images else None for v in (hits, confidences))
        gap += images * abs(accuracy - confidence) if accuracy is not None and confidence is not None else 0.0
        shown = [None if v is None else round(v, 6) for v in (confidence, accuracy)]
        row = {"low": round(float(low), 6), "high": round(float(high), 6), "images": images}
        bins.append({**row, "confidence": shown[0], "accuracy": shown[1]})
    count = max(len(hits), 1)
    return Calibration(round(100 * gap / count, 6), float(losses.sum()) / count, bins)


def fit_temperature(scores: Tensor | NDArray[np.floating], labels: Tensor | NDArray[np.int64]) -> float:
    """The temperature between 0.05 and 20 that minimises the negative log likelihood of softmax(scores / temperature).

    The likelihood is convex in 1 / temperature: Newton's steps, halving the bracket where one leaves it. Images with a
    score that is not finite are left out. 1 where there are fewer than two images or no minimum, as when no answer is
    wrong: the smaller the temperature, the better.
    """
    values, own = torch.as_tensor(scores), torch.as_tensor(labels)
    finite = values.isfinite().all(1)
    values, own = values[finite], own[finite]
    low, high = 1 / HIGHEST, 1 / LOWEST
    if len(own) < 2 or _slope(values, own, high)[0] <= 0:
        return 1.0
    if _slope(values, own, low)[0] >= 0:
        return HIGHEST
    sharpness = 1.0
    for _ in range(100):
        slope, curvature = _slope(values, own, sharpness)
        low, high = (sharpness, high) if slope < 0 else (low, sharpness)
        step = sharpness - slope / curvature if curvature > 0 else low
        last, sharpness = sharpness, step if low < step < high else (low * high) ** 0.5
        if abs(sharpness - last) <= 1e-9 * sharpness:
            break
    return 1 / sharpness


def reject_threshold(scores: Tensor | NDArray[np.floating], temperature: float) -> float:
    """The probability that 95 % of the answers reach (arXiv:1610.02136); 0 below 100 images, which tell too little."""
    values = torch.as_tensor(scores)
    values = values[values.isfinite().all(1)]
    if len(values) < _ENOUGH:
        return 0.0
    confidences = [(some.double() / temperature).softmax(1).amax(1).numpy() for some in values.split(_AT_ONCE)]
    return float(np.quantile(np.concatenate(confidences), 1 - _ACCEPTED))


def _slope(scores: Tensor, labels: Tensor, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log likelihood of softmax(scores · sharpness)."""
    slope = curvature = 0.0
    for some, own in zip(scores.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True):
        values = some.double()
        values = values - values.gather(1, own[:, None])
        weights = (values * sharpness).softmax(1)
        mean = (weights * values).sum(1)
        slope += float(mean.sum())
        curvature += float(((weights * values.square()).sum(1) - mean.square()).sum())
    return slope / len(labels), curvature / len(labels)


def _answers(
    scores: Tensor, labels: Tensor, temperature: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Of each image: whether it is a hit, the probability of the answer, and minus the log of the right one's."""
    hits, confidences, losses = [np.zeros(0, np.bool_)], [np.zeros(0)], [np.zeros(0)]
    for some, own in zip(scores.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True):
        logs = (some.double() / temperature).log_softmax(1)
        hits.append((ranks(some, own) == 0).numpy())
        confidences.append(logs.gather(1, guesses(some)[:, None])[:, 0].exp().nan_to_num(0.0).numpy())
        losses.append(-logs.gather(1, own[:, None])[:, 0].numpy())
    return np.concatenate(hits), np.concatenate(confidences), np.concatenate(losses)
