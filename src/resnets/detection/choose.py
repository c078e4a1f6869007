"""Scale and anchors that fit a set of pictures, with the reasons."""

from dataclasses import replace

import numpy as np

from .objects import DetectionSet
from .recipe import DetectionRecipe

_LOOKED_AT = 300  # pictures
_SHARES = (0.15, 0.5, 0.85)  # of the boxes, whose sides the anchors have
_STEP = 4  # pixels that a side is a multiple of


def fitted(recipe: DetectionRecipe, dataset: DetectionSet) -> DetectionRecipe:
    """RECIPE with a scale no larger than the pictures are, and with anchors as large as their boxes."""
    if not len(dataset.train):
        return recipe
    step = max(1, len(dataset.train) // _LOOKED_AT)
    indices = range(0, len(dataset.train), step)
    shorter = [min(dataset.train.size(index)) for index in indices]
    usual = int(np.median(shorter)) if shorter else recipe.scales[-1]
    scale = min(recipe.scales[-1], usual)
    ratio = recipe.longest / recipe.scales[-1]
    boxes = [dataset.train.objects(index).boxes * scale / side for index, side in zip(indices, shorter, strict=True)]
    sides = np.concatenate([np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])) for box in boxes])
    count = len(recipe.detector.anchors)
    anchors = recipe.detector.anchors
    reasons = [f"shorter side {scale}: the pictures have {usual} pixels"]
    if len(sides) and recipe.detector.design == "C4" and count == len(_SHARES):
        found = [max(_STEP, _STEP * round(float(side) / _STEP)) for side in np.quantile(sides, _SHARES)]
        anchors = tuple(sorted(set(found)))
        reasons.append(
            f"anchors of {', '.join(map(str, anchors))}: 15, 50 and 85 % of the boxes are smaller, in scaled pixels"
        )
    return replace(
        recipe, scales=(scale,), longest=round(scale * ratio), reasons=tuple(reasons),
        testing=replace(recipe.testing, scale=scale, longest=round(scale * ratio)),
        detector=replace(recipe.detector, anchors=anchors),
    )  # fmt: skip
