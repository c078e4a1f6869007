"""Scale and anchors that fit a set of pictures, with the reasons."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..data.course import batches_per_epoch
from .objects import DetectionSet
from .recipe import DetectionRecipe

_LOOKED_AT = 300  # pictures
_SHARES = (1 / 6, 1 / 2, 5 / 6)  # of the boxes, whose sides the anchors have: the middle of each third
_STEP = 4  # pixels that a side is a multiple of
_SEEN = 40.0  # pixels that the middle box of every class should have: two and a half steps of a map of stride 16
_ENLARGED = 2  # times the pictures' own size that small objects may ask for
_GROWTH = 2  # times the recipe's own scale that small objects may ask for
_FEWEST = 32  # regions of a picture that teach, where its objects are few
_UPDATES = 2000  # after which a small detector has learnt from scratch, if each picture was seen often enough
_EPOCHS = (10, 200)  # at least, however many pictures, and at most, however few
_TESTS = 8  # on validation data, in the course of a run


def fitted(
    recipe: DetectionRecipe, dataset: DetectionSet, scales: Sequence[int] = (), longest: int = 0
) -> DetectionRecipe:
    """RECIPE at a scale that shows every class, with anchors as large as the boxes.

    Pictures are enlarged for small boxes alone, at most twice. Where none has many boxes, fewer regions of each teach:
    they are what an update spends its time on.

    scales, longest: what the user wishes instead. Every class counts as much as any other, however many boxes it has.
    """
    if not len(dataset.train):
        return resized(recipe, scales, longest)
    step = max(1, len(dataset.train) // _LOOKED_AT)
    indices = range(0, len(dataset.train), step)
    shorter = [min(dataset.train.size(index)) for index in indices]
    usual = int(np.median(shorter))
    found = [dataset.train.objects(index) for index in indices]
    sides = np.concatenate([_sides(one.boxes) / side for one, side in zip(found, shorter, strict=True)])  # in pictures
    labels = np.concatenate([one.labels for one in found])
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    smallest = min((float(np.median(sides[labels == name])) for name in names), default=1.0)
    plain = min(recipe.scales[-1], usual)
    wanted = min(_STEP * round(_SEEN / smallest / _STEP), _GROWTH * recipe.scales[-1], _ENLARGED * usual)
    made = resized(recipe, tuple(scales) or (max(plain, wanted),), longest)
    reasons = [f"shorter side {made.size}: {_why(made.size, scales, usual, wanted > plain)}"]
    if len(sides) and recipe.detector.design == "C4" and len(recipe.detector.anchors) == len(_SHARES):
        typical = quantiles(sides * made.size, 1 / counts[inverse], _SHARES)
        anchors = tuple(sorted({max(_STEP, _STEP * round(side / _STEP)) for side in typical}))
        reasons.append(
            f"anchors of {', '.join(map(str, anchors))}: 1, 3 and 5 sixths of the boxes are smaller, in scaled pixels, "
            "each class counted alike"
        )
        made = replace(
            made, detector=replace(made.detector, anchors=anchors),
            testing=replace(made.testing, aim=max(_STEP, round(typical[1]))),
        )  # fmt: skip
    most, part = max(len(one.boxes) for one in found), recipe.regions.foreground
    if (enough := max(_FEWEST, round(most / part))) < recipe.regions.regions:
        reasons.append(f"{enough} regions of a picture teach: none of {len(found)} has more than {most} boxes")
        made = replace(made, regions=replace(made.regions, regions=enough))
    return replace(made, reasons=tuple(reasons))


def long_enough(recipe: DetectionRecipe, pictures: int) -> DetectionRecipe:
    """RECIPE with as many epochs as so many PICTURES need: 2,000 updates, at least 10 epochs, at most 200."""
    each = batches_per_epoch(pictures, recipe.training.batch_size)
    epochs = min(max(_EPOCHS[0], -(-_UPDATES // each)), _EPOCHS[1])
    reason = (
        f"{epochs} epochs: {_UPDATES:,} updates of {recipe.training.batch_size} pictures, "
        f"but {_EPOCHS[0]} to {_EPOCHS[1]} epochs"
    )
    return replace(
        recipe, training=replace(recipe.training, epochs=epochs, updates=0), val_every=max(1, round(epochs / _TESTS)),
        reasons=(*recipe.reasons, reason),
    )  # fmt: skip


def quantiles(values: NDArray[np.floating], weights: NDArray[np.floating], shares: Sequence[float]) -> list[float]:
    """The VALUES (n,) below which the SHARES of the WEIGHTS (n,) lie."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][min(np.searchsorted(below, share), len(order) - 1)]) for share in shares]


def resized(recipe: DetectionRecipe, scales: Sequence[int], longest: int = 0) -> DetectionRecipe:
    """RECIPE at SCALES, of which the last one tests; the longer side may be as many times longer as before."""
    scales = tuple(scales) or recipe.scales
    longest = max(longest or round(recipe.longest / max(recipe.scales) * max(scales)), *scales)
    return replace(
        recipe, scales=scales, longest=longest, testing=replace(recipe.testing, scale=scales[-1], longest=longest)
    )


def _sides(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """The sides of squares as large as BOXES (n, 4)."""
    return np.sqrt(np.float64(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _why(scale: int, wished: Sequence[int], usual: int, small: bool) -> str:
    if wished:
        return "as asked for"
    if scale >= usual:
        return f"the pictures have {usual} pixels" + (", and small boxes" if scale > usual else "")
    return "one class has small boxes" if small else "enough for the boxes of every class"
