import numpy as np

from resnets.detection.objects import Detections, DetectionSet, Objects
from resnets.detection.scenes import digit_scenes


def test_plain_lists_become_arrays():
    objects = Objects.of([[1, 2, 3, 4]], [2], crowd=[True])
    assert (objects.boxes.dtype, objects.labels.dtype, objects.difficult.dtype) == (np.float32, np.int64, bool)
    assert (objects.difficult.tolist(), objects.crowd.tolist(), len(objects)) == ([False], [True], 1)
    empty = Objects.of([], [])
    assert (empty.boxes.shape, empty.labels.shape, len(Detections.of([], [], []))) == ((0, 4), (0,), 0)


def test_select_takes_every_array_along():
    objects = Objects(
        np.arange(8, dtype=np.float32).reshape(2, 4),
        np.array([1, 2]),
        np.array([False, True]),
        np.array([True, False]),
        np.arange(2, dtype=np.uint8)[:, None, None],
        np.array([5.0, 6.0]),
    )
    kept = objects.select(~objects.crowd)
    assert kept.boxes.tolist() == [[4, 5, 6, 7]]
    assert (kept.labels.tolist(), kept.difficult.tolist(), kept.crowd.tolist()) == ([2], [True], [False])
    assert kept.masks is not None
    assert kept.areas is not None
    assert (kept.masks.tolist(), kept.areas.tolist()) == ([[[1]]], [6.0])
    found = Detections.of([[0, 0, 1, 1], [0, 0, 2, 2]], [0.1, 0.2], [1, 2]).select(np.array([1, 0]))
    assert (found.labels.tolist(), found.masks) == ([2, 1], None)


def test_parts_are_those_that_are_not_empty():
    scenes = digit_scenes("digits-scene").train
    whole = DetectionSet("x", ("a",), scenes, scenes.subset([]), None)
    assert list(whole.parts) == ["train"]
