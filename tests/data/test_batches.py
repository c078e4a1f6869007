"""Batches: order, augmentation and bad files are functions of seed, epoch and index, and of nothing else."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.data import batches as module
from resnets.data.batches import mean_image, training_batches
from resnets.data.course import Course, batches_per_epoch
from resnets.data.preprocessing import Preprocessing
from resnets.data.randomness import fold, order, uniform
from resnets.data.sources import Arrays, Files
from resnets.data.transforms import augment, random_view
from resnets.errors import DataError
from resnets.recipe import Augmentation

pytestmark = pytest.mark.filterwarnings("ignore:This process .* multi-threaded:DeprecationWarning")
PLAIN = Preprocessing(8, 3, crop_pct=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
PIXELS = np.random.default_rng(0).integers(1, 256, (37, 8, 8, 3), dtype=np.uint8)
MEMORY = Arrays(PIXELS, np.arange(37) % 5, "train")


@pytest.fixture
def files(tmp_path):
    """Thirteen pictures of several sizes; picture i is labelled i."""
    rng = np.random.default_rng(1)
    for i in range(13):
        size = 9 + i, 20 - i, 3
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return listing(tmp_path, 13)


def listing(root, count):
    names = tuple(f"{i}.png" for i in range(count))
    return Files(root, names, tuple((root / name).stat().st_size for name in names), np.arange(count))


def flat(batches):
    return [(b.images.numpy().tobytes(), b.labels.tolist(), b.indices.tolist(), b.bad, b.images.shape) for b in batches]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(1, 300))
def test_order_is_a_permutation_of_seed_and_epoch(seed, epoch, count):
    samples = order(seed, epoch, count)
    assert sorted(samples.tolist()) == list(range(count))
    assert np.array_equal(samples, order(seed, epoch, count))
    if count > 20:
        assert not np.array_equal(samples, order(seed, epoch + 1, count))
        assert not np.array_equal(samples, order(seed + 1, epoch, count))


def test_random_numbers_are_pinned():
    """A run that is resumed by a later version must go on with the same numbers."""
    assert fold(0, "order", 0) == 3991725939186754870
    assert order(0, 0, 8).tolist() == [1, 4, 3, 0, 7, 6, 5, 2]
    assert uniform(0, "flip", 0, np.arange(2)).tolist() == [0.9910763589603605, 0.15346061549362522]

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    found = uniform(5, "x", 9, np.array([0, 12345]))
    golden, base = 0x9E3779B97F4A7C15, fold(5, "x", 9)
    assert found.tolist() == [(mix(mix((base + golden * (i + 1)) % 2**64)) >> 11) / 2**53 for i in (0, 12345)]


def test_uniform_is_of_the_sample_and_spread_evenly():
    indices = np.arange(100_000)
    numbers = uniform(7, "flip", 3, indices)
    assert 0 <= numbers.min() < 1e-4 < 1 - 1e-4 < numbers.max() < 1
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 5000).max() < 350  # five deviations
    chosen = np.random.default_rng(0).permutation(100_000)[:1000]
    assert np.array_equal(uniform(7, "flip", 3, chosen), numbers[chosen])
    assert len(uniform(7, "flip", 3, indices[:0])) == 0
    keys = [(7, "flip", 4), (8, "flip", 3), (7, "crop-x", 3), (7, "crop-y", 3)]
    table = np.stack([numbers, numbers[np.roll(indices, 1)], *(uniform(*key, indices) for key in keys)])
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 0.016  # five deviations of 100,000 pairs


def test_every_window_occurs_and_every_image_has_one():
    """Correctness point 20: offsets 0 to 8 inclusive, 9 × 9 positions, zeros after normalisation."""
    count = 3000
    y, x = np.mgrid[1:9, 1:9]
    pixels = np.broadcast_to((10 * y + x)[None, ..., None], (count, 8, 8, 3)).astype(np.uint8)
    unit = replace(PLAIN, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    answer = augment(pixels, np.arange(count), 0, 0, Augmentation(flip="none"), unit).round()
    padded = np.pad(10 * y + x, 4)
    places = {padded[i : i + 8, j : j + 8].tobytes(): (i, j) for i in range(9) for j in range(9)}
    found = [places[channel.astype(padded.dtype).tobytes()] for image in answer for channel in image]
    assert found[0::3] == found[1::3] == found[2::3]
    counts = np.zeros((9, 9), int)
    np.add.at(counts, tuple(np.array(found[::3]).T), 1)
    assert counts.min() > 10
    assert counts.max() < 75


@pytest.mark.parametrize(("border", "edge"), [("after", (0, 0, 0)), ("before", (-2, -2, -2))])
def test_what_stands_in_the_border(border, edge):
    corner = next(i for i in range(999) if uniform(0, "crop-y", 0, np.array([i]))[0] < 1 / 9)  # four rows of border
    answer = augment(PIXELS[:1], np.array([corner]), 0, 0, Augmentation(border=border, flip="none"), PLAIN)[0]
    assert np.allclose(answer[:, :4], np.array(edge, np.float32)[:, None, None], atol=1e-6)
    assert (np.abs(answer[:, 4:] - np.array(edge)[:, None, None]) > 1e-3).any()
    if border == "after":
        assert (answer[:, :4] == 0).all()


def test_the_mean_image_is_subtracted_before_or_after_the_window():
    mean = np.random.default_rng(2).random((8, 8, 3))
    seen = replace(PLAIN, mean=(0.0,) * 3).with_pixel_mean(mean)
    indices = np.arange(37)
    y, x = ((uniform(0, stream, 2, indices) * 9).astype(int) for stream in ("crop-y", "crop-x"))
    for border, mode in (("after", "constant"), ("before", "constant"), ("reflect", "reflect")):
        answer = augment(PIXELS, indices, 2, 0, Augmentation(border=border, flip="none"), seen)
        for i in range(37):
            first = PIXELS[i] / 255 - mean if border == "after" else PIXELS[i] / 255
            window = np.pad(first, ((4, 4), (4, 4), (0, 0)), mode)[y[i] : y[i] + 8, x[i] : x[i] + 8]
            expected = window if border == "after" else window - mean
            assert np.abs(np.moveaxis(answer[i], 0, -1) - expected).max() < 1e-6


def test_flips():
    still = PLAIN.normalise(PIXELS)
    indices = np.arange(37)

    def mirrored(kind, epoch, chosen=indices):
        answer = augment(PIXELS[chosen], chosen, epoch, 0, Augmentation(crop="none", flip=kind), PLAIN)
        same = (answer == still[chosen]).all((1, 2, 3))
        assert ((answer == still[chosen][..., ::-1]).all((1, 2, 3)) != same).all()  # whole images, one way or the other
        return ~same

    assert not mirrored("none", 0).any()
    assert 5 < mirrored("random", 0).sum() < 32
    assert (mirrored("random", 0) != mirrored("random", 1)).any()
    assert np.array_equal(mirrored("random", 3)[[30, 4, 9]], mirrored("random", 3, np.array([30, 4, 9])))
    for epoch in range(4):
        assert np.array_equal(mirrored("alternating", epoch), mirrored("alternating", 0) ^ bool(epoch % 2))
    assert 5 < mirrored("alternating", 0).sum() < 32


def test_random_views_are_windows_of_the_picture():
    y, x = np.mgrid[:64, :64]
    picture = Image.fromarray(np.stack([4 * x, 4 * y, 0 * x], -1).astype(np.uint8))
    rule, seen = Augmentation(crop="resized", min_area=0.3), replace(PLAIN, size=16, crop_pct=0.5)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    views = [random_view(picture, (0, epoch, 3), rule, seen) for epoch in range(200)]
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(views[7], random_view(picture, (0, 7, 3), rule, seen))
    assert len({view.tobytes() for view in views}) > 190
    assert len({random_view(picture, (s, 7, i), rule, seen).tobytes() for s in range(5) for i in range(5)}) > 20
    spans = np.array([[np.ptp(v[..., 0].astype(int)), np.ptp(v[..., 1].astype(int))] for v in views]) / 252 * 16 / 15
    assert 0.25 < spans.prod(1).min() < 0.4
    assert spans.prod(1).max() > 0.9
    assert (views[0][..., 2] == 0).all()
    edges = Image.fromarray(np.where(np.asarray(picture) % 32 < 16, 0, 200).astype(np.uint8))
    linear, cubic = (
        random_view(edges, (0, 0, 3), rule, replace(seen, interpolation=kind)) for kind in ("bilinear", "bicubic")
    )
    assert not np.array_equal(cubic, linear)


@pytest.mark.parametrize("crop", ["pad", "resized"])
@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_workers_and_start_change_nothing(kind, crop, files):
    source = MEMORY if kind == "arrays" else files
    rule = Augmentation(crop=crop, pad=2, flip="random")
    whole = flat(training_batches(source, PLAIN, rule, Course(3, 4, (0, 0), 3)))
    per_epoch = batches_per_epoch(len(source), 4)
    assert len(whole) == 3 * per_epoch
    for workers in (1, 2):
        assert flat(training_batches(source, PLAIN, rule, Course(3, 4, (0, 0), 3), workers)) == whole
    assert flat(training_batches(source, PLAIN, rule, Course(3, 4, (1, 2), 3), 2)) == whole[per_epoch + 2 :]
    assert flat(training_batches(source, PLAIN, rule, Course(3, 4, (2, 0), 3))) == whole[2 * per_epoch :]
    assert flat(training_batches(source, PLAIN, rule, Course(4, 4, (0, 0), 3))) != whole
    seen = [index for _, _, indices, _, _ in whole[:per_epoch] for index in indices]
    assert seen == order(3, 0, len(source))[: len(seen)].tolist()
    assert all(source.labels[indices].tolist() == labels for _, labels, indices, _, _ in whole)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(12, 4, [4, 4, 4]), (14, 4, [4, 4, 4, 2]), (13, 4, [4, 4, 4]), (3, 8, [3]), (1, 8, [1]), (2, 1, [1, 1])],
)
def test_the_last_batch_counts_unless_it_is_one_image(count, batch, sizes):
    source = MEMORY.subset(np.arange(count))
    found = [len(b) for b in training_batches(source, PLAIN, Augmentation(), Course(0, batch, (0, 0), 1))]
    assert found == sizes
    assert batches_per_epoch(count, batch) == len(sizes)


def test_cifar_has_391_updates_an_epoch():
    assert (batches_per_epoch(50_000, 128), batches_per_epoch(45_000, 128)) == (391, 352)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_gives_way_to_the_next_good_one(files, workers):
    for name in ("4.png", "5.png"):
        (files.root / name).write_bytes(b"broken" * 20)
    files = listing(files.root, 13)
    found = list(training_batches(files, PLAIN, Augmentation(crop="none"), Course(0, 13, (0, 0), 1), workers))
    (batch,) = found
    wanted = order(0, 0, 13)
    assert batch.indices.tolist() == [6 if i in (4, 5) else i for i in wanted]
    assert batch.labels.tolist() == batch.indices.tolist()
    assert {name for name, _ in batch.bad} == {"4.png", "5.png"}
    assert "unknown" in batch.bad[0][1]
    tested = list(module.testing_batches(files, PLAIN, 5, workers))
    assert [i for b in tested for i in b.indices] == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12]
    assert [name for b in tested for name, _ in b.bad] == ["4.png", "5.png"]


@pytest.mark.parametrize("workers", [0, 2])
def test_no_readable_file_at_all(files, workers):
    for name in files.names:
        (files.root / name).write_bytes(b"x")
    files = listing(files.root, 13)
    with pytest.raises(DataError, match=r"^no picture can be read; the first is \d+\.png: [^\n]*$"):
        list(training_batches(files, PLAIN, Augmentation(), Course(0, 4, (0, 0), 1), workers))
    tested = list(module.testing_batches(files, PLAIN, 6, workers))
    assert [(len(b), len(b.bad), tuple(b.images.shape)) for b in tested[:2]] == [(0, 6, (0, 3, 8, 8))] * 2
    with pytest.raises(DataError, match="no picture"):
        mean_image(files, PLAIN)


def test_files_that_change_after_the_listing(files):
    """F-41."""
    (files.root / "2.png").unlink()
    Image.new("RGB", (30, 30)).save(files.root / "7.png")
    reasons = dict(row for b in module.testing_batches(files, PLAIN, 4) for row in b.bad)
    assert set(reasons) == {"2.png", "7.png"}
    assert reasons["7.png"] == "changed since start"
    batch = next(training_batches(files, PLAIN, Augmentation(crop="resized"), Course(0, 13, (0, 0), 1)))
    assert dict(batch.bad) == reasons
    assert not {2, 7} & set(batch.indices.tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 37), st.integers(1, 50))
def test_testing_sees_each_image_once_and_in_order(count, batch_size):
    found = list(module.testing_batches(MEMORY.subset(np.arange(count)), PLAIN, batch_size))
    assert [i for b in found for i in b.indices] == list(range(count))
    assert all(len(b) == batch_size for b in found[:-1])
    assert np.array_equal(
        np.concatenate([PLAIN.normalise(PIXELS[:0]), *(b.images for b in found)]), PLAIN.normalise(PIXELS[:count])
    )


def test_images_of_another_size_are_fitted_once(monkeypatch):
    half = replace(PLAIN, size=4)
    batch = next(islice(module.testing_batches(MEMORY, half, 37), 1))
    expected = np.stack([half(MEMORY.picture(i)) for i in range(37)])
    assert np.array_equal(batch.images, expected)
    cropped = replace(PLAIN, crop_pct=0.5)
    batch = next(module.testing_batches(MEMORY, cropped, 37))
    assert np.array_equal(batch.images[3], cropped(MEMORY.picture(3)))
    assert module.fitted(MEMORY, PLAIN) is MEMORY


@pytest.mark.parametrize("size", [8, 4])
def test_random_views_of_images_in_memory_come_from_the_whole_image(size):
    rule, seen = Augmentation(crop="resized", flip="none", min_area=0.2), replace(PLAIN, size=size)
    batch = next(training_batches(MEMORY, seen, rule, Course(3, 37, (0, 0), 1)))
    views = np.stack([random_view(MEMORY.picture(i), (3, 0, i), rule, seen) for i in batch.indices.tolist()])
    assert np.allclose(batch.images, seen.normalise(views), atol=1e-6)
    assert not np.allclose(batch.images, np.stack([seen(MEMORY.picture(i)) for i in batch.indices.tolist()]))


def test_mean_image_is_the_mean(files):
    assert np.abs(mean_image(MEMORY, PLAIN) - PIXELS.mean(0) / 255).max() < 1e-7
    views = np.stack([PLAIN.view(files.picture(i)) for i in range(13)])
    assert np.abs(mean_image(files, PLAIN) - views.mean(0) / 255).max() < 1e-7
