"""Scenes of digits: the same for ever, tight boxes, masks that do not touch, parts that share no digit."""

import hashlib
import pickle

import numpy as np
import pytest
from annotated_trees import all_sound

from resnets.detection.datasets import open_detection
from resnets.detection.scenes import STYLES, _digits
from resnets.errors import UsageError

GOLDEN = {"digits-scene": "7330e35684acd5ed", "digits-single": "4f26971272230c3c"}


@pytest.mark.parametrize("name", list(STYLES))
def test_scenes(name):
    found = open_detection(name)
    assert {part: len(one) for part, one in found.parts.items()} == {"train": 600, "val": 100, "test": 200}
    assert found.classes == tuple("0123456789")
    counts, sides = [], []
    for part in found.parts.values():
        some = part.subset(range(0, 100, 4))
        all_sound(some)
        for i in range(len(some)):
            pixels, objects = some.pixels(i), some.objects(i, masks=True)
            assert (pixels.dtype, pixels.shape) == (np.uint8, (96, 96, 3))
            assert objects.masks is not None
            assert objects.masks.sum(0).max() == 1
            for box, mask in zip(objects.boxes.astype(int), objects.masks, strict=True):
                rows, columns = np.nonzero(mask)
                assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                sides.append(max(box[2:] - box[:2]))
            counts.append(len(objects))
    style = STYLES[name]
    assert (min(counts), max(counts)) == (style.fewest, style.most)
    assert max(sides) <= style.largest
    assert len(set(sides)) > 10


@pytest.mark.parametrize("name", list(STYLES))
def test_a_scene_is_the_same_for_ever(name):
    part = open_detection(name).parts["test"]
    made = hashlib.sha256()
    for i in (0, 57, 199):
        made.update(part.pixels(i).tobytes() + part.objects(i).boxes.tobytes() + part.objects(i).labels.tobytes())
    assert made.hexdigest()[:16] == GOLDEN[name]


def test_a_subset_and_a_copy_in_another_process_have_the_same_scenes():
    whole = open_detection("digits-scene").train
    some = pickle.loads(pickle.dumps(whole.subset(np.array([5, 3]))))
    assert [some.name(i) for i in range(2)] == ["train/5", "train/3"]
    assert (some.pixels(1) == whole.pixels(3)).all()
    assert some.image_id(0) == 6
    some.pixels(1)[:] = 0
    assert some.pixels(1).any()
    assert len({one.fingerprint() for one in (whole, some, whole.subset(range(600)))}) == 2


def test_parts_share_no_digit_and_no_scene():
    parts = {part: {digit.tobytes() for digit in _digits(part)[0]} for part in ("train", "val", "test")}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["val"]
    first = [one.pixels(0).tobytes() for one in open_detection("digits-scene").parts.values()]
    assert len(set(first)) == 3


def test_scenes_take_no_parts():
    with pytest.raises(UsageError, match="digits-scene has its own parts"):
        open_detection("digits-scene", parts={"train": "all"})
