"""Run lengths: COCO's text is read as hotcoco writes it, and damage is found before hotcoco sees it."""

import sys
import tracemalloc

import numpy as np
import pytest

from resnets.detection.masks import Packed, mask_of, outline_of, packed, runs_along, runs_in, runs_of, unpacked
from resnets.errors import EnvironmentProblem

SIZE = (37, 23)


def blobs(count):
    generator = np.random.default_rng(0)
    for number in range(count):
        rough = generator.random((SIZE[1], SIZE[0]))
        yield (rough < (0.01, 0.5, 0.99)[number % 3]).astype(np.uint8)
    yield np.zeros((SIZE[1], SIZE[0]), np.uint8)
    yield np.ones((SIZE[1], SIZE[0]), np.uint8)
    yield np.tri(SIZE[1], SIZE[0], dtype=np.uint8)


def runs(mask):
    """Lengths of runs of 0 and 1 in turn, counted one by one down the columns."""
    lengths, last = [0], 0
    for value in mask.T.reshape(-1).tolist():
        if value != last:
            lengths.append(0)
            last = value
        lengths[-1] += 1
    return lengths


def test_text_lists_and_masks_are_the_same():
    pytest.importorskip("hotcoco")
    for mask in blobs(30):
        text = packed(mask)
        assert unpacked(text["counts"]).tolist() == runs(mask)
        assert runs_of(text, SIZE) == text
        for outline in (text, {"size": [23, 37], "counts": runs(mask)}):
            checked = outline_of(outline, SIZE)
            assert checked is not None
            assert (mask_of(checked, SIZE) == mask).all()


def test_long_runs_have_several_characters():
    pytest.importorskip("hotcoco")
    mask = np.zeros((900, 1100), np.uint8)
    mask[3:, 500] = 1
    mask[7, 700:] = 1
    assert unpacked(packed(mask)["counts"]).tolist() == runs(mask)


def test_every_damaged_character_is_found_or_harmless():
    pytest.importorskip("hotcoco")
    text = packed(next(iter(blobs(1))))["counts"]
    refused = 0
    for at in range(len(text)):
        for character in "0?O_o~\x7fé \n":
            value = {"size": [23, 37], "counts": text[:at] + character + text[at + 1 :]}
            try:
                checked = runs_of(value, SIZE)
            except ValueError:
                refused += 1
            else:
                assert mask_of(checked, SIZE).shape == (23, 37)
    assert refused > 6 * len(text)


def test_polygons_are_joined():
    pytest.importorskip("hotcoco")
    outline = outline_of([[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 12, 10, 12, 12, 10, 12.0]], SIZE)
    assert outline is not None
    mask = mask_of(outline, SIZE)
    expected = np.zeros((23, 37), np.uint8)
    expected[:4, :4] = 1
    expected[10:12, 10:12] = 1
    assert (mask == expected).all()


def test_packed_masks_are_the_masks():
    pytest.importorskip("hotcoco")
    masks = np.stack(list(blobs(4)))
    light = Packed.of(masks)
    assert Packed.of(light) is light
    assert (len(light), light.shape) == (7, (23, 37))
    assert (light.pixels == masks).all()
    assert light.areas.tolist() == masks.sum((1, 2)).tolist()
    for which in (slice(None, None, -1), np.array([2, 0]), masks.sum((1, 2)) > 100, np.zeros(7, bool)):
        assert (light[which].pixels == masks[which]).all()
        assert light[which].pixels.shape == masks[which].shape
    listed = Packed(({"size": [23, 37], "counts": runs(masks[1])},), (23, 37))
    assert listed.areas.tolist() == [masks[1].sum()]
    assert (listed.pixels[0] == masks[1]).all()


def test_outlines_on_a_picture_that_is_said_to_be_huge_take_no_memory():
    pytest.importorskip("hotcoco")
    size = (30_000, 30_000)
    outline = outline_of([[0, 0, 4, 0, 4, 4, 0, 4]], size)
    assert outline is not None
    tracemalloc.start()
    try:
        found = [runs_along(outline, size), runs_in((3, 4, 7, 9), size)]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert Packed(tuple(found), size).areas.tolist() == [16, 20]


def test_no_outline():
    assert outline_of(None, SIZE) is None
    assert outline_of([], SIZE) is None


def test_without_hotcoco_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(EnvironmentProblem, match=r'pip install "resnets\[detection\]"'):
        packed(np.zeros((2, 2), np.uint8))
