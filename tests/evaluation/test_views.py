"""Views at exact pixel positions, and every picture once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.images import ImageError
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays, Files
from resnets.evaluation.protocol import PROTOCOLS, Protocol, protocol
from resnets.evaluation.views import positions, resized, view_batches, views

PLAIN = Preprocessing(224, mean=(0.0,) * 3, std=(1.0,) * 3)  # bytes / 255


def coordinates(width, height):
    """A picture whose pixel says where it is: red and green are column and row mod 251, blue both // 251."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 251, y % 251, x // 251 + 16 * (y // 251)], -1).astype(np.uint8)


def located(view):
    """Top, left of a view of `coordinates`, and whether it is mirrored; every pixel is checked."""
    pixels = np.rint(view.transpose(1, 2, 0) * 255).astype(np.int64)
    x, y = pixels[..., 0] + 251 * (pixels[..., 2] % 16), pixels[..., 1] + 251 * (pixels[..., 2] // 16)
    mirrored = x[0, 0] > x[0, -1]
    x = x[:, ::-1] if mirrored else x
    assert (np.diff(x, axis=1) == 1).all()
    assert (np.diff(y, axis=0) == 1).all()
    return int(y[0, 0]), int(x[0, 0]), bool(mirrored)


def seen(width, height, rule, seeing=PLAIN):
    picture = Image.fromarray(coordinates(width, height))
    return [[located(view) for view in scale] for scale in views(picture, seeing, rule)]


def test_ten_crops_of_the_whole_picture():
    """256 by 341: corners at 0 and 32, 0 and 117; the centre at 16, 58 (58.5 rounded down)."""
    (found,) = seen(341, 256, PROTOCOLS["10-crop"])
    corners = [(0, 0), (0, 117), (32, 0), (32, 117), (16, 58)]
    assert found == [(y, x, False) for y, x in corners] + [(y, x, True) for y, x in corners]


def test_ten_crops_of_the_central_square():
    """The square begins at column 42 (42.5 rounded down)."""
    (found,) = seen(341, 256, PROTOCOLS["10-crop-square"])
    corners = [(0, 42), (0, 74), (32, 42), (32, 74), (16, 58)]
    assert found == [(y, x, False) for y, x in corners] + [(y, x, True) for y, x in corners]


@pytest.mark.parametrize(("offset", "left"), [("floor", 58), ("ceil", 59), ("half-even", 58)])
def test_centre_offsets(offset, left):
    """Correctness point 30: Caffe, fb.resnet.torch, torchvision."""
    (found,) = seen(341, 256, protocol("10-crop", offset=offset))
    assert found[4] == (16, left, False)
    rule = Protocol("", "center", (256,), offset=offset)
    assert positions((256, 343), 256, 224, rule) == [(16, {"floor": 59}.get(offset, 60))]  # 59.5


def test_mirrored_crops_are_the_crops_of_the_mirrored_picture():
    """Correctness point 32: the same set in another order."""
    picture = coordinates(300, 256)
    one, other = (
        views(Image.fromarray(np.ascontiguousarray(p)), PLAIN, protocol("10-crop", offset="floor"))[0]
        for p in (picture, picture[:, ::-1])
    )
    assert {v.tobytes() for v in one} == {v.tobytes() for v in other}
    assert np.array_equal(one[5], other[1])  # the mirrored top left is the top right of the mirrored picture


def test_one_320_crop_of_320():
    (found,) = seen(400, 320, PROTOCOLS["320-crop"])
    assert found == [(0, 40, False)]
    (view,) = views(Image.fromarray(coordinates(400, 320)), PLAIN, PROTOCOLS["320-crop"])
    assert view.shape == (1, 3, 320, 320)


def test_dense_views_are_whole_pictures():
    found = views(Image.fromarray(coordinates(500, 375)), PLAIN, PROTOCOLS["multi-scale"])
    shapes = [(1, 3, 224, 298), (1, 3, 256, 341), (1, 3, 384, 512), (1, 3, 480, 640), (1, 3, 640, 853)]
    assert [view.shape for view in found] == shapes
    picture = Image.fromarray(coordinates(500, 375))
    assert np.array_equal(
        np.rint(found[1][0] * 255).transpose(1, 2, 0), np.asarray(picture.resize((341, 256), Image.Resampling.BILINEAR))
    )
    rule = protocol("dense", scales=(375,), flip=True)
    assert seen(500, 375, rule) == [[(0, 0, False), (0, 0, True)]]


def test_a_small_networks_scales_are_in_proportion():
    small = replace(PLAIN, size=32, crop_pct=1.0)
    assert [v.shape[2:] for v in views(Image.new("RGB", (32, 32)), small, PROTOCOLS["multi-scale"])] == [
        (32, 32), (37, 37), (55, 55), (69, 69), (91, 91)
    ]  # fmt: skip
    (found,) = seen(40, 37, PROTOCOLS["10-crop"], small)
    assert found[:5] == [(0, 0, False), (0, 8, False), (5, 0, False), (5, 8, False), (2, 4, False)]


def test_one_crop_is_the_models_own_view():
    picture = Image.fromarray(coordinates(300, 280))
    for seeing in (Preprocessing(96), Preprocessing(96, fit="pad"), Preprocessing(96, fit="squash")):
        (own,) = views(picture, seeing, PROTOCOLS["1-crop"])
        assert np.array_equal(own, seeing(picture)[None])
        (both,) = views(picture, seeing, PROTOCOLS["1-crop-flip"])
        assert np.array_equal(both, np.stack([own[0], own[0, :, :, ::-1]]))
    centre = Protocol("", "center", (256,))
    (same,) = views(picture, Preprocessing(224), centre)
    assert np.array_equal(same, Preprocessing(224)(picture)[None])


def test_shifts_by_hand():
    seeing = Preprocessing(3, 1, crop_pct=1.0, mean=(0.0,), std=(1 / 255,))
    pixels = np.arange(1, 10, dtype=np.uint8).reshape(3, 3)
    (found,) = views(Image.fromarray(pixels), seeing, PROTOCOLS["shifts"])
    assert found.shape == (18, 1, 3, 3)
    assert np.rint(found[0, 0]).tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert np.rint(found[1, 0]).tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert np.rint(found[4, 0]).tolist() == pixels.tolist()
    assert np.rint(found[8, 0]).tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert np.rint(found[9, 0]).tolist() == [[0, 0, 0], [2, 1, 0], [5, 4, 0]]
    (two,) = views(Image.fromarray(pixels), seeing, protocol("shifts", shift=2))
    assert np.rint(two[8, 0]).tolist() == [[9, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_padded_and_squashed_pictures():
    picture = Image.fromarray(np.full((100, 50, 3), 200, np.uint8))
    pad = replace(PLAIN, fit="pad", mean=(0.5, 0.25, 0.0))
    pixels = resized(picture, pad, 256, "bilinear-antialias")
    assert pixels.shape == (256, 256, 3)
    assert (pixels[:, 64:192] == 200).all()
    assert (pixels[:, :64] == [128, 64, 0]).all()
    assert (pixels[:, 192:] == [128, 64, 0]).all()
    squashed = replace(PLAIN, fit="squash")
    assert [v.shape for v in views(picture, squashed, PROTOCOLS["multi-scale"])][-1] == (1, 3, 640, 640)
    for seeing in (pad, squashed):
        whole = replace(seeing, size=256)
        assert np.array_equal(resized(picture, seeing, 256, "bilinear-antialias"), whole.view(picture))
        assert [v.shape for v in views(picture, seeing, PROTOCOLS["10-crop"])] == [(10, 3, 224, 224)]


def test_a_mean_image_fits_its_own_size_only():
    """Correctness point 19: subtracted after the crop; elsewhere its mean per channel."""
    mean = np.random.default_rng(0).random((8, 8, 3))
    seeing = Preprocessing(8, crop_pct=1.0).with_pixel_mean(mean)
    picture = Image.fromarray(coordinates(9, 9))
    (crops,) = views(picture, seeing, PROTOCOLS["10-crop"])
    expected = np.asarray(picture)[1:9, 0:8] / 255 - mean
    assert np.allclose(crops[2].transpose(1, 2, 0), expected, atol=1e-6)
    assert np.allclose(crops[7].transpose(1, 2, 0), expected[:, ::-1], atol=1e-6)  # mirrored after the subtraction
    (whole,) = views(picture, seeing, PROTOCOLS["dense"])
    assert np.allclose(whole[0].transpose(1, 2, 0), np.asarray(picture) / 255 - mean.mean((0, 1)), atol=1e-5)


def test_interpolations():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    wide = replace(PLAIN, interpolation="bicubic", size=20)
    for name, filter in (("bilinear-antialias", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        rule = protocol("dense", interpolation=name, scales=(224,))
        expected = np.asarray(picture.resize((30, 20), filter))
        assert np.array_equal(np.rint(views(picture, wide, rule)[0][0] * 255).transpose(1, 2, 0), expected)
    own = views(picture, wide, protocol("dense", scales=(224,)))
    assert np.array_equal(own[0], views(picture, wide, rule)[0])


def test_bilinear_without_antialias_by_hand():
    """A third of the size: each pixel is the middle one of three; half: the mean of the two in the middle of four."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    third = resized(Image.fromarray(pixels), PLAIN, 4, "bilinear")
    assert np.array_equal(third, pixels[1::3, 1::3])
    sixth = resized(Image.fromarray(pixels), PLAIN, 2, "bilinear").astype(float)
    middle = pixels.astype(float)
    expected = (middle[2::6, 2::6] + middle[3::6, 2::6] + middle[2::6, 3::6] + middle[3::6, 3::6]) / 4
    assert np.abs(sixth - expected).max() <= 0.5


def test_other_channels_and_absurd_shapes():
    many = np.random.default_rng(0).integers(0, 256, (20, 30, 5), dtype=np.uint8)
    seeing = Preprocessing(20, 5, crop_pct=1.0, mean=(0.0,) * 5, std=(1.0,) * 5)
    (view,) = views(many, seeing, protocol("dense", scales=(224,)))
    assert np.array_equal(np.rint(view[0] * 255).transpose(1, 2, 0), many)
    gray = Preprocessing(20, 1, crop_pct=1.0, mean=(0.0,), std=(1.0,))
    assert views(Image.fromarray(many[..., :3]), gray, PROTOCOLS["dense"])[0].shape == (1, 1, 23, 34)
    with pytest.raises(ImageError, match="too long and thin"):
        views(Image.new("RGB", (3000, 10)), PLAIN, PROTOCOLS["dense"])
    with pytest.raises(ImageError, match="channels"):
        views(many, PLAIN, PROTOCOLS["dense"])
    assert resized(Image.new("L", (10, 10)), replace(gray, size=1024), 2926, "bicubic").shape == (2926, 2926, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven pictures of three shapes, of which two cannot be read."""
    root = tmp_path_factory.mktemp("pictures")
    shapes = [(40, 30), (30, 40), (32, 32)]
    names, sizes = [], []
    for i in range(11):
        path = root / f"{i:02d}.png"
        Image.fromarray(coordinates(*shapes[i % 3]) + np.uint8(i)).save(path)
        if i in (4, 9):
            path.write_bytes(b"no picture at all")
        names.append(path.name)
        sizes.append(path.stat().st_size)
    return Files(root, tuple(names), tuple(sizes), np.arange(11) % 4)


SMALL = Preprocessing(32)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_picture_once_in_any_batches_and_shards(folder, name, batch_size):
    rule = PROTOCOLS[name]
    whole = list(view_batches(folder, SMALL, rule, batch_size))
    assert np.concatenate([b.indices for b in whole]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert torch.cat([b.labels for b in whole]).tolist() == [0, 1, 2, 3, 1, 2, 3, 0, 2]
    assert [bad[0] for b in whole for bad in b.bad] == ["04.png", "09.png"]
    for world in (2, 3):
        parts = [list(view_batches(folder, SMALL, rule, batch_size, shard=(r, world))) for r in range(world)]
        mixed = [parts[i % world][i // world] for i in range(len(whole))]
        assert sum(map(len, parts)) == len(whole)
        for one, other in zip(whole, mixed, strict=True):
            assert np.array_equal(one.indices, other.indices)
            assert one.bad == other.bad
    for batch in whole:
        for number, groups in enumerate(batch.scales):
            for rows, images in groups:
                for row, image in zip(rows.tolist(), images, strict=True):
                    expected = views(folder.picture(int(batch.indices[row])), SMALL, rule)[number]
                    assert np.array_equal(image.numpy(), expected)


def test_workers_change_nothing(folder):
    for name in ("10-crop", "shifts"):
        one, two = (list(view_batches(folder, SMALL, PROTOCOLS[name], 40, workers)) for workers in (0, 1))
        assert [b.indices.tolist() for b in one] == [b.indices.tolist() for b in two]
        for a, b in zip(one, two, strict=True):
            for (rows, images), (others, same) in zip(a.scales[0], b.scales[0], strict=True):
                assert torch.equal(rows, others)
                assert torch.equal(images, same)


def test_arrays():
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    source = Arrays(images, np.arange(7))
    small = replace(SMALL, crop_pct=1.0)
    for name in ("1-crop", "shifts", "10-crop", "dense"):
        for batch in view_batches(source, small, PROTOCOLS[name], 30):
            (groups,) = batch.scales
            ((rows, found),) = groups
            assert rows.tolist() == list(range(len(batch)))
            for index, image in zip(batch.indices, found, strict=True):
                assert np.allclose(image, views(source.picture(index), small, PROTOCOLS[name])[0], atol=1e-6)
