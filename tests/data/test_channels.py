"""Pictures of any number of channels, from NumPy arrays: what is read, what is refused, and what the network sees."""

import io

import numpy as np
import pytest
from PIL import Image

from resnets.data.datasets import open_dataset
from resnets.data.images import ImageError, Limits, decode_any, oddities, read_any
from resnets.data.preprocessing import Preprocessing, bands

DICE = np.random.default_rng(0)


def saved(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 64)])
@pytest.mark.parametrize("kind", ["uint8", "<u2", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read(tmp_path, shape, kind, order):
    array = np.asarray(DICE.integers(0, 256, shape) * (257 if "2" in kind else 1), kind, order=order)
    (tmp_path / "x.npy").write_bytes(saved(array))
    picture = read_any(tmp_path / "x.npy")
    expected = (array.astype(np.int64) // (257 if "2" in kind else 1)).astype(np.uint8)
    if shape[2:] == (1,):
        expected = expected[..., 0]
    assert np.array_equal(np.asarray(picture), expected)
    if shape[2:] in ((), (1,), (3,)):
        assert picture.mode == ("RGB" if shape[2:] == (3,) else "L")
    else:
        assert (picture.dtype, picture.flags.c_contiguous) == (np.uint8, True)


def test_sixteen_bits_are_rounded():
    deep = np.array([[0, 128, 129, 257, 65407, 65535]], np.uint16)
    assert np.asarray(decode_any(saved(deep))).tolist() == [[0, 0, 1, 1, 255, 255]]
    assert oddities(saved(deep)) == ("16-bit",)
    assert oddities(saved(deep.astype(np.uint8))) == ()


GOOD = saved(np.zeros((4, 4, 5), np.uint8))
REFUSED = {
    "floats": (saved(np.zeros((4, 4), np.float32)), "NumPy array of float32; uint8 and uint16 are read"),
    "signed": (saved(np.zeros((4, 4), np.int16)), "NumPy array of int16; uint8 and uint16 are read"),
    "objects": (saved(np.array([{}]), allow_pickle=True), "NumPy array of object; uint8 and uint16 are read"),
    "a row": (saved(np.zeros(4, np.uint8)), "NumPy array of shape (4,)"),
    "a film": (saved(np.zeros((4, 4, 3, 2), np.uint8)), "NumPy array of shape (4, 4, 3, 2)"),
    "channels": (saved(np.zeros((4, 4, 65), np.uint8)), "NumPy array of shape (4, 4, 65)"),
    "nothing": (saved(np.zeros((0, 4), np.uint8)), "NumPy array of shape (0, 4)"),
    "too long": (saved(np.zeros((1, 30_001), np.uint8)), "image is 30001 x 1, at most 30000 a side"),
    "cut": (GOOD[:-7], "truncated"),
    "more": (GOOD + b"x", "damaged NumPy array"),
    "header lies": (GOOD.replace(b"(4, 4, 5)", b"(9, 9, 5)"), "truncated"),
    "header of code": (GOOD.replace(b"(4, 4, 5)", b"exit(1)  "), "damaged NumPy array"),
    "header cut": (GOOD[:40], "damaged NumPy array"),
    "version 3": (GOOD[:6] + b"\3" + GOOD[7:], "damaged NumPy array"),
    "negative": (GOOD.replace(b"(4, 4, 5)", b"(-4,-4,5)"), ""),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=list(REFUSED))
def test_arrays_are_refused(data, said):
    with pytest.raises(ImageError) as caught:
        decode_any(data)
    assert str(caught.value).startswith(said)


def test_limits_hold_before_anything_is_read():
    bomb = GOOD.replace(b"(4, 4, 5), ", b"(9000,9000)")
    with pytest.raises(ImageError, match="image is 9000 x 9000, at most 50 megapixels"):
        decode_any(bomb)
    with pytest.raises(ImageError, match="file of"):
        decode_any(GOOD, Limits(max_bytes=100))


def test_every_channel_is_resized_as_pillow_does():
    array = DICE.integers(0, 256, (9, 13, 5), np.uint8)
    for fit in ("crop", "pad", "squash"):
        five = Preprocessing(6, 5, fit, crop_pct=1.0, mean=(0.1, 0.2, 0.3, 0.4, 0.5), std=(1.0,) * 5)
        view = five.view(array)
        assert (view.shape, view.dtype) == ((6, 6, 5), np.uint8)
        for channel in range(5):
            one = Preprocessing(6, 1, fit, crop_pct=1.0, mean=(five.mean[channel],), std=(1.0,))
            assert np.array_equal(view[..., channel], one.view(Image.fromarray(array[..., channel]))[..., 0])
    assert five(array).shape == (5, 6, 6)


def test_three_channels_are_colours():
    array = DICE.integers(0, 256, (9, 13, 3), np.uint8)
    for fit in ("crop", "pad", "squash"):
        seen = Preprocessing(6, 3, fit)
        assert np.array_equal(seen.view(array), seen.view(Image.fromarray(array)))


@pytest.mark.parametrize(
    ("picture", "channels", "said"),
    [
        (np.zeros((4, 4, 5), np.uint8), 3, "picture of 5 channels, the network takes 3"),
        (np.zeros((4, 4, 5), np.uint8), 1, "picture of 5 channels, the network takes 1"),
        (Image.new("RGB", (4, 4)), 5, "picture of 3 channels, the network takes 5"),
        (Image.new("L", (4, 4)), 2, "picture of 1 channels, the network takes 2"),
    ],
)
def test_another_number_of_channels(picture, channels, said):
    with pytest.raises(ImageError, match=said):
        Preprocessing(4, channels, mean=(0.5,) * channels, std=(1.0,) * channels).view(picture)
    with pytest.raises(ImageError, match=said):
        bands(picture, channels)


def test_arrays_in_class_folders(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.npy").write_bytes(saved(np.full((4, 4, 6), 10 * label + i, np.uint8)))
    whole = open_dataset(str(tmp_path)).whole
    assert [int(whole.picture(i)[0, 0, 5]) for i in range(6)] == [0, 1, 2, 10, 11, 12]
