"""VOC's average precision: by hand, against the +1 formula of inclusive boxes written out, and its rules one by one."""

from fractions import Fraction

import numpy as np
import pytest

from resnets.detection.average_precision import mean, overlaps, voc_average_precision
from resnets.detection.objects import Detections, Objects
from resnets.errors import NumericError

A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
FAR = (80, 80, 90, 90)


def measured(found, truth, points="area", classes=1):
    return voc_average_precision(found, truth, classes, points=points)


def test_by_hand():
    truth = [Objects.of([A, B], [1, 1]), Objects.of([A, C], [1, 1])]
    found = [Detections.of([A, FAR, B], [0.9, 0.8, 0.3], [1, 1, 1]), Detections.of([C], [0.7], [1])]
    # best first: right, wrong, right, right; 4 objects. Precision 1, 1/2, 2/3, 3/4 → envelope 1, 3/4, 3/4, 3/4.
    assert measured(found, truth) == [pytest.approx((1 + 0.75 + 0.75) / 4)]
    # recalls 1/4, 1/4, 2/4, 3/4: 1 at 0, 0.1, 0.2; 3/4 at 0.3 … 0.7; 0 at 0.8, 0.9, 1
    assert measured(found, truth, "11") == [pytest.approx((3 * 1 + 5 * 0.75) / 11)]


def test_a_recall_of_three_tenths_reaches_the_point_at_0_3():
    boxes = [(20 * k, 0, 20 * k + 10, 10) for k in range(10)]
    found = [Detections.of(boxes[:3], [0.9, 0.8, 0.7], [1, 1, 1])]
    assert measured(found, [Objects.of(boxes, [1] * 10)], "11") == [pytest.approx(4 / 11)]


def test_the_second_detection_of_an_object_is_wrong():
    truth = [Objects.of([A, B], [1, 1])]
    found = [Detections.of([A, A, B], [0.9, 0.8, 0.7], [1, 1, 1])]
    assert measured(found, truth) == [pytest.approx((1 + 2 / 3) / 2)]


def test_difficult_objects_count_neither_way():
    truth = [Objects.of([A, B], [1, 1], difficult=[True, False])]
    found = [Detections.of([A, A, B], [0.9, 0.8, 0.7], [1, 1, 1])]
    assert measured(found, truth) == [1.0]
    assert measured([Detections.of([A], [0.9], [1])], truth) == [0.0]


def test_the_match_is_the_best_of_all_objects_difficult_ones_included():
    plain, difficult = (0, 0, 10, 10), (0, 0, 10, 8)
    truth = [Objects.of([plain, difficult], [1, 1], difficult=[False, True])]
    assert measured([Detections.of([difficult], [0.9], [1])], truth) == [0.0]
    assert measured([Detections.of([plain], [0.9], [1])], truth) == [1.0]


def test_crowds_are_like_difficult_objects():
    truth = [Objects.of([A, B], [1, 1], crowd=[True, False])]
    assert measured([Detections.of([A, B], [0.9, 0.8], [1, 1])], truth) == [1.0]


def test_half_is_not_enough():
    truth = [Objects.of([(0, 0, 10, 10)], [1])]
    assert measured([Detections.of([(0, 0, 10, 5)], [1], [1])], truth) == [0.0]
    assert measured([Detections.of([(0, 0, 10, 5.001)], [1], [1])], truth) == [1.0]


def test_equal_scores_keep_their_order():
    truth = [Objects.of([A], [1]), Objects.of([], [])]
    right, wrong = Detections.of([A], [0.5], [1]), Detections.of([FAR], [0.5], [1])
    assert measured([right, wrong], truth) == [1.0]
    assert measured([wrong, right], truth[::-1]) == [0.5]


def test_a_class_without_objects_has_no_value_and_is_not_in_the_mean():
    truth = [Objects.of([A, B], [1, 3], difficult=[False, True])]
    values = measured([Detections.of([A, B, A], [0.9, 0.8, 0.7], [1, 2, 4])], truth, classes=4)
    assert values == [1.0, None, None, None]
    assert mean(values) == 1.0
    assert mean([None]) is None
    assert mean([0.25, None, 0.75]) == 0.5


def test_nothing_found_and_nothing_there():
    truth = [Objects.of([A], [1]), Objects.of([], [])]
    nothing = Detections.of([], [], [])
    for points in ("11", "area"):
        assert measured([nothing, nothing], truth, points) == [0.0]
        assert measured([nothing], truth[1:], points) == [None]


def test_a_score_that_is_no_number_is_named():
    with pytest.raises(NumericError, match="finite"):
        measured([Detections.of([A], [np.nan], [1])], [Objects.of([A], [1])])


def shared(box, other):
    """Intersection over union of inclusive boxes: 1 is added to every width."""
    width, height = (min(box[k + 2], other[k + 2]) - max(box[k], other[k]) + 1 for k in (0, 1))
    common = max(width, 0) * max(height, 0)
    return Fraction(common, sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)) - common)


def inclusive(found, truth, label, points):
    """The development kit's loop over inclusive whole-number boxes, in fractions."""
    objects = [
        [(box, odd) for box, one, odd in zip(inclusive_boxes(t), t.labels, t.difficult, strict=True) if one == label]
        for t in truth
    ]
    positives = sum(not odd for picture in objects for _, odd in picture)
    ranked = [
        (score, picture, box)
        for picture, rows in enumerate(found)
        for score, box, one in zip(rows.scores, inclusive_boxes(rows), rows.labels, strict=True)
        if one == label
    ]
    taken, verdicts = set(), []
    for _, picture, box in sorted(ranked, key=lambda row: -row[0]):
        matches = [shared(box, other) for other, _ in objects[picture]]
        best = max(range(len(matches)), key=matches.__getitem__, default=None)
        if best is None or matches[best] <= Fraction(1, 2):
            verdicts.append(0)
        elif not objects[picture][best][1]:
            verdicts.append(int((picture, best) not in taken))
            taken.add((picture, best))
    return averaged(verdicts, positives, points) if positives else None


def averaged(verdicts, positives, points):
    rights = [sum(verdicts[: n + 1]) for n in range(len(verdicts))]
    curve = [(Fraction(r, positives), Fraction(r, n)) for n, r in enumerate(rights, 1)]
    if points == "11":
        return float(
            sum(max((p for r, p in curve if r >= Fraction(t, 10)), default=0) for t in range(11)) / Fraction(11)
        )
    area, before = Fraction(0), Fraction(0)
    for recall in sorted({r for r, _ in curve}):
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return float(area)


def inclusive_boxes(rows):
    """Half-open boxes from 0 as VOC's inclusive ones from 1."""
    return [tuple(int(v) for v in (x1 + 1, y1 + 1, x2, y2)) for x1, y1, x2, y2 in rows.boxes]


def some_boxes(generator, count):
    corner = generator.integers(0, 12, (count, 2))
    return np.concatenate((corner, corner + generator.integers(4, 12, (count, 2))), 1)


@pytest.mark.parametrize("points", ["11", "area"])
def test_equals_the_inclusive_formula_on_whole_number_boxes(points):
    generator, seen = np.random.default_rng(4), set()
    for _ in range(60):
        truth, found = [], []
        for _ in range(4):
            n, m = generator.integers(0, 5), generator.integers(0, 9)
            there, labels = some_boxes(generator, n), generator.integers(1, 3, n)
            truth.append(Objects.of(there, labels, generator.random(n) < 0.25))
            near = generator.integers(0, n, m) if n else np.zeros(0, int)
            boxes = np.concatenate((there[near] + generator.integers(-1, 2, (len(near), 4)), some_boxes(generator, 2)))
            called = np.concatenate((labels[near], generator.integers(1, 3, 2)))
            found.append(Detections.of(boxes, np.round(generator.random(len(boxes)), 1), called))
        for label, value in enumerate(measured(found, truth, points, classes=2), 1):
            expected = inclusive(found, truth, label, points)
            assert value == (None if expected is None else pytest.approx(expected, abs=1e-12))
            seen.add(value)
    assert len(seen) > 50


def test_overlaps_of_boxes_without_area_are_zero():
    point = np.array([[3, 3, 3, 3]], np.float32)
    assert overlaps(point, point).tolist() == [[0.0]]
    assert overlaps(np.array([A], np.float32), np.zeros((0, 4), np.float32)).shape == (1, 0)
