"""Average precision as PASCAL VOC measures it (Everingham et al. 2010, sections 4.2; 2015, section 3).

VOC counts pixels inclusively and adds 1 to every width; half-open boxes have that very width without the 1.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import NumericError
from .objects import Detections, Objects

Points = Literal["11", "area"]


def voc_average_precision(
    found: Sequence[Detections], truth: Sequence[Objects], classes: int, iou: float = 0.5, points: Points = "area"
) -> list[float | None]:
    """The average precision of classes 1 … CLASSES, None for one that no picture has (but for difficult objects).

    FOUND and TRUTH go picture by picture. A detection belongs to the object of its class that it overlaps most,
    difficult ones included; it is right if the overlap is more than IOU and no better detection has taken the object.
    With a difficult object, or a crowd, it counts neither way. Equal scores keep the order of FOUND.
    points: "11" is VOC 2007's mean over the recalls 0, 0.1 … 1, "area" that under the curve, since 2010.
    """
    if not all(np.isfinite(picture.scores).all() for picture in found):
        raise NumericError("a score of a detection is not a finite number; the model has diverged")
    average = {"11": _eleven_points, "area": _area}[points]
    positives = np.zeros(classes + 1, np.int64)
    verdicts: dict[int, list[tuple[NDArray[np.float32], NDArray[np.int8]]]] = {}
    for picture, objects in zip(found, truth, strict=True):
        ignored = objects.difficult | objects.crowd
        positives += np.bincount(objects.labels[~ignored], minlength=classes + 1)
        for label in np.unique(picture.labels):
            mine, here = picture.labels == label, objects.labels == label
            shared, scores = overlaps(picture.boxes[mine], objects.boxes[here]), picture.scores[mine]
            verdicts.setdefault(int(label), []).append((scores, _judged(shared, scores, ignored[here], iou)))
    return [
        average(_ranked(verdicts.get(label, [])), int(positives[label])) if positives[label] else None
        for label in range(1, classes + 1)
    ]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean over the classes that have a value, None if none has."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def overlaps(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of every box of FIRST (n, 4) with every one of SECOND (m, 4): (n, m)."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b)]
    return common / np.maximum(areas[0] + areas[1] - common, np.finfo(np.float64).tiny)


def _ranked(verdicts: Sequence[tuple[NDArray[np.float32], NDArray[np.int8]]]) -> NDArray[np.bool_]:
    """Right or wrong for every detection of a class that counts, best first."""
    if not verdicts:
        return np.zeros(0, bool)
    scores, judged = (np.concatenate(part) for part in zip(*verdicts, strict=True))
    ranked = judged[np.argsort(-scores, kind="stable")]
    return ranked[ranked >= 0] == 1


def _judged(
    shared: NDArray[np.float64], scores: NDArray[np.float32], ignored: NDArray[np.bool_], iou: float
) -> NDArray[np.int8]:
    """1 right, 0 wrong, −1 neither, for detections of a class that overlap objects as SHARED (n, m) says."""
    verdicts = np.zeros(len(scores), np.int8)
    if not shared.size:
        return verdicts
    best, taken = shared.argmax(1), np.zeros(len(ignored), bool)
    for index in np.argsort(-scores, kind="stable"):
        at = best[index]
        if shared[index, at] > iou:
            verdicts[index] = -1 if ignored[at] else not taken[at]
            taken[at] = True
    return verdicts


def _curve(verdicts: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Right ones among the first 1, 2 … detections, and the best precision there or later."""
    right = np.cumsum(verdicts, dtype=np.int64)
    precision = right / np.arange(1, len(right) + 1)
    return right, np.maximum.accumulate(precision[::-1])[::-1]


def _area(verdicts: NDArray[np.bool_], positives: int) -> float:
    _, best = _curve(verdicts)
    return float(best[verdicts].sum() / positives)  # recall rises by 1 / positives at each right one


def _eleven_points(verdicts: NDArray[np.bool_], positives: int) -> float:
    right, best = _curve(verdicts)
    reached = [np.flatnonzero(10 * right >= tenth * positives)[:1] for tenth in range(11)]  # whole numbers: 0.3 is 0.3
    return float(sum(best[at].sum() for at in reached) / 11)
