"""Batches of pictures with boxes: what mirroring does to both."""

from dataclasses import replace

import numpy as np
import pytest

from resnets.detection.job import mirrored
from resnets.detection.objects import Objects


@pytest.mark.parametrize(("axis", "box"), [(1, [3, 1, 5, 4]), (0, [1, 0, 3, 3])])
def test_a_mirrored_box_lies_on_the_same_pixels(axis, box):
    """A bright rectangle of 2 × 3 in a picture of 6 × 4, and its mask; twice is nothing."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1:4, 1:3] = 255
    objects = replace(Objects.of([[1, 1, 3, 4]], [1]), masks=(pixels[None, :, :, 0] > 0).astype(np.uint8))
    turned, found = mirrored(pixels, objects, axis)
    assert found.boxes.tolist() == [box]
    left, top, right, bottom = box
    wanted = np.zeros((4, 6), bool)
    wanted[top:bottom, left:right] = True
    assert np.array_equal(turned[..., 0] > 0, wanted)
    assert np.array_equal(found.masks[0] > 0, wanted)
    back, again = mirrored(turned, found, axis)
    assert np.array_equal(back, pixels)
    assert np.array_equal(again.boxes, objects.boxes)
