"""Copies of pictures: what counts as one, what does not, and at what cost."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from resnets.data.duplicates import look, near, same


def scene(seed, size=(160, 120)):
    """A picture of large shapes, different for every seed."""
    dice = np.random.default_rng(seed)
    coarse = Image.fromarray(dice.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def recompressed(picture, quality):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue()))


def groups(pictures):
    looks = [look(picture) for picture in pictures]
    return near(np.array([h for h, _ in looks], np.uint64), np.stack([t for _, t in looks]))


COPIES = {
    "recompressed": lambda p: recompressed(p, 30),
    "smaller": lambda p: p.resize((53, 40)),
    "squashed": lambda p: p.resize((100, 100)),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.8),
    "gray": lambda p: p.convert("L"),
    "soft": lambda p: p.filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=list(COPIES))
def test_copies_are_found(change):
    originals = [scene(seed) for seed in range(30)]
    copies = [change(picture) for picture in originals]
    assert groups([*originals, *copies]) == [[i, i + 30] for i in range(30)]


@pytest.mark.parametrize("change", [lambda p: p.transpose(0), lambda p: p.crop((60, 40, 160, 120))])
def test_other_views_are_no_copies(change):
    originals = [scene(seed) for seed in range(30)]
    assert groups([*originals, *map(change, originals)]) == []


def test_different_pictures_are_no_copies():
    assert groups([scene(seed) for seed in range(600)]) == []


def test_plain_and_tiny_pictures_are_not_compared():
    plain = [Image.new("RGB", (64, 64), (n, n, n)) for n in range(0, 250, 5)]
    noise = np.random.default_rng(0)
    calm = [Image.fromarray((128 + noise.integers(0, 2, (64, 64))).astype(np.uint8)) for _ in range(20)]
    tiny = [scene(0, (15, 40))] * 5
    assert {look(picture)[0] for picture in (*plain, *calm, *tiny)} == {0}
    assert groups([*plain, *calm, *tiny]) == []


def test_alike_hashes_of_other_pictures():
    """The second check: the same few waves, but what is seen there is not the same."""
    one, other = (np.zeros((16, 16), np.uint8) for _ in range(2))
    one[:8], other[8:] = 200, 200
    assert near(np.array([5, 5], np.uint64), np.stack([one, other])) == []
    assert near(np.array([5, 5], np.uint64), np.stack([one, one])) == [[0, 1]]


def slow_pairs(hashes):
    return {
        (i, j) for i in range(len(hashes)) for j in range(i) if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= 4
    }


def test_pairs_are_those_of_a_slow_search():
    dice = np.random.default_rng(0)
    hashes = dice.integers(1, 2**63, 60, dtype=np.uint64)
    for step in range(8):  # neighbours of neighbours, 0 to 6 bits away
        flips = [sum(1 << int(b) for b in dice.choice(64, step % 7, replace=False)) for _ in range(60)]
        hashes = np.concatenate([hashes, hashes[:60] ^ np.array(flips, np.uint64)])
    everywhere = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (len(hashes), 1, 1))
    parent = list(range(len(hashes)))
    for i, j in slow_pairs(hashes):
        a, b = parent[i], parent[j]
        parent = [min(a, b) if p in (a, b) else p for p in parent]
    slow = [[i for i, p in enumerate(parent) if p == top] for top in sorted(set(parent))]
    assert near(hashes, everywhere) == [group for group in slow if len(group) > 1]


def test_channels_are_averaged():
    five = np.random.default_rng(0).integers(0, 256, (40, 40, 5), dtype=np.uint8)
    (mine, small), (other, gray) = look(five), look(Image.fromarray(five.mean(axis=2).astype(np.uint8)))
    assert mine == other
    assert np.array_equal(small, gray)


def test_the_cost_is_bounded_where_everything_is_alike():
    dice = np.random.default_rng(0)
    hashes = dice.integers(1, 2**63, 20_000, dtype=np.uint64)
    hashes[::4] = 77  # equal hashes of other pictures
    thumbnails = dice.integers(0, 256, (20_000, 16, 16), dtype=np.uint8)
    thumbnails[1::4] = thumbnails[1]
    hashes[1::4] = 2**40 - 1 - (np.arange(5000, dtype=np.uint64) & np.uint64(3))  # and of one picture
    began = time.perf_counter()
    assert near(hashes, thumbnails) == [list(range(1, 20_000, 4))]
    assert time.perf_counter() - began < 20


def test_same():
    assert same([b"a", b"", b"b", b"a", b"", b"b", b"a", b"c"]) == [[0, 3, 6], [2, 5]]
