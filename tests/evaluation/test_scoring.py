"""Every protocol against a slow, literal reference, and what must be exact."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from literal import probabilities
from PIL import Image
from torch import nn

from resnets.data import batches as loading
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays, Files
from resnets.errors import UsageError
from resnets.evaluation.metrics import Counts
from resnets.evaluation.protocol import PROTOCOLS, parse
from resnets.evaluation.scoring import Scores, averaged, merged, scored
from resnets.evaluation.views import view_batches, views
from resnets.models import create_model
from resnets.spec import Conv, Network, Stage, Stem, Unit

DATA = os.environ.get("RESNETS_DATA")
CHOICES = [
    *PROTOCOLS,
    "dense:dense=i,flip=true",
    "dense:dense=ii",
    "10-crop:average=logits",
    "dense:interpolation=bicubic",
]


def realistic(model, size, seed=0):
    """BN statistics of what really passes, so that the scores keep their scale with depth."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.inference_mode():
        model.train()(torch.randn(4, model.spec.channels, size, size, generator=generator))
    return model.eval()


def network(name="resnet18", size=64, classes=10, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return realistic(create_model(name, classes), size, seed)


@pytest.fixture(scope="module")
def photographs():
    if not DATA:
        pytest.skip("RESNETS_DATA names no folder with imagenet-sample")
    root = Path(DATA, "imagenet-sample")
    names = tuple(sorted(p.name for p in root.glob("*.JPEG"))[::25])
    return Files(root, names, tuple((root / name).stat().st_size for name in names), np.arange(len(names)) % 10)


def agrees(model, seeing, source, rule, batch_size=5):
    found = scored([model], view_batches(source, seeing, rule, batch_size), 10, rule, seeing.size)
    expected = np.log([probabilities(model, source.picture(i), seeing, rule) for i in range(len(source))])
    assert found.indices.tolist() == list(range(len(source)))
    assert expected.std() > 0.5  # the scores say something
    assert np.abs(found.scores.log_softmax(1).double().numpy() - expected).max() < 2e-5


@pytest.mark.data
@pytest.mark.parametrize("text", CHOICES)
def test_every_protocol_agrees_with_the_literal_reference(photographs, text):
    agrees(network(), Preprocessing(64), photographs, parse(text))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("text", CHOICES)
def test_every_protocol_agrees_with_the_literal_reference_at_224(photographs, text):
    agrees(network(size=224), Preprocessing(224), photographs, parse(text))


@pytest.mark.data
@pytest.mark.parametrize("text", ["1-crop", "10-crop", "dense", "multi-scale:scales=224+320,flip=true"])
def test_batches_and_shards_change_nothing(photographs, text):
    rule, model, seeing = parse(text), network("cifar_resnet20", 32), Preprocessing(32)
    labels = torch.from_numpy(photographs.labels)

    def run(batch_size, shard=(0, 1)):
        return scored([model], view_batches(photographs, seeing, rule, batch_size, shard=shard), 10, rule, 32)

    whole = run(7)
    counts = Counts.of(whole.scores, labels)
    for batch_size in (1, 3, 7):
        one = run(batch_size)
        assert (one.scores - whole.scores).abs().max() < 1e-5
        assert np.array_equal(Counts.of(one.scores, one.labels).confusion, counts.confusion)
        for world in (2, 3):
            parts = [run(batch_size, (rank, world)) for rank in reversed(range(world))]
            together = merged(parts)
            assert torch.equal(together.scores, one.scores)  # bit by bit: the same batches
            assert torch.equal(together.indices, one.indices)
            assert torch.equal(together.labels, labels)


def test_shapes_that_alternate_in_a_batch(tmp_path):
    """Pictures of one shape pass the network together; their scores go back to their own rows."""
    names, rng = tuple("abcde"), np.random.default_rng(0)
    for name, shape in zip(names, [(40, 32), (32, 32), (40, 32), (32, 44), (32, 32)], strict=True):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(tmp_path / name, "PNG")
    source = Files(tmp_path, names, tuple((tmp_path / n).stat().st_size for n in names), np.arange(5))
    agrees(network("cifar_resnet20", 32), SMALL, source, PROTOCOLS["dense"], 100)


def test_merging():
    def part(*indices):
        numbers = torch.tensor(indices)
        return Scores(numbers, numbers % 3, numbers[:, None] * torch.ones(1, 4), ((f"{indices[0]}", "torn"),))

    empty = Scores(*(torch.zeros(0, dtype=torch.int64),) * 2, torch.zeros(0, 4))
    whole = merged([part(4, 5), empty, part(2, 0)])
    assert whole.indices.tolist() == [0, 2, 4, 5]
    assert whole.labels.tolist() == [0, 2, 1, 2]
    assert whole.scores[:, 3].tolist() == [0, 2, 4, 5]
    assert whole.bad == (("2", "torn"), ("4", "torn"))
    assert len(merged([empty, empty])) == 0
    with pytest.raises(ValueError, match="scored twice"):
        merged([part(1, 2), part(2)])


SMALL = Preprocessing(32, crop_pct=1.0)


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return Arrays(pixels, np.arange(6) % 10)


def test_one_view_equals_the_plain_forward(images):
    model = network("cifar_resnet20", 32)
    x = torch.from_numpy(np.stack([SMALL(images.picture(i)) for i in range(6)]))
    with torch.inference_mode():
        expected = model(x)
    for text in ("1-crop", "1-crop:crops=center,scales=224", "1-crop:crops=dense,scales=224"):
        for dense in ("i", "ii", "iii") if "dense" in text else ("iii",):
            rule = replace(parse(text), dense=dense)
            found = scored([model], view_batches(images, SMALL, rule, 6), 10, rule, 32).scores
            assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
            assert "dense" in text or torch.equal(found, expected)
    plain = scored([model], loading.testing_batches(images, SMALL, 6), 10)
    assert torch.equal(plain.scores, expected)


def test_an_ensemble_of_one_equals_the_model(images):
    model = network("cifar_resnet20", 32)
    one, twice = (scored([model] * n, view_batches(images, SMALL, PROTOCOLS["shifts"]), 10).scores for n in (1, 2))
    assert torch.allclose(one.softmax(1), twice.softmax(1), atol=1e-6)
    assert averaged([one]) is one


def test_softmax_and_logits_are_not_the_same():
    """Correctness point 31, two classes by hand: 0.9 and 0.4 average to 0.65, their logits to 0.710."""
    scores = [torch.tensor([[np.log(p), np.log(1 - p)]]).float() for p in (0.9, 0.4)]
    assert averaged(scores).softmax(1)[0, 0] == pytest.approx(0.65)
    assert averaged(scores).exp().sum() == pytest.approx(1)
    logits = averaged(scores, "logits")
    assert logits.softmax(1)[0, 0] == pytest.approx(6**0.5 / (1 + 6**0.5))


def test_a_constant_image_scores_the_same_under_every_protocol():
    """Exact only where no convolution sees a border: here all kernels are 1×1 and nothing is pooled.

    With 3×3 kernels, dense testing of a larger constant picture sees the zeros around it less often. What `shifts` lets
    in is zero after normalisation, so there the image has the mean colour.
    """
    spec = Network(Stem(1, 8), (Stage(1, 8, 1), Stage(1, 16, 2)), Unit((Conv(1), Conv(1)), shortcut="B"), 5, size=32)
    model = realistic(create_model(spec), 32)
    seeing = Preprocessing(32, mean=(0.4, 0.2, 0.6), std=(0.2, 0.3, 0.4))
    for colour in ((102, 51, 153), (250, 3, 77)):
        pictures = Arrays(np.full((2, 50, 50, 3), colour, np.uint8), np.arange(2))
        expected = scored([model], view_batches(pictures, seeing, PROTOCOLS["1-crop"]), 5).scores.softmax(1)
        for text in CHOICES:
            if "shifts" in text and colour[0] == 250:
                continue
            rule = parse(text)
            found = scored([model], view_batches(pictures, seeing, rule), 5, rule, 32).scores.softmax(1)
            assert torch.allclose(found, expected, atol=1e-6), text


def test_ten_crops_of_a_constant_image_are_one_crop():
    model = network("cifar_resnet20", 32)
    pictures = Arrays(np.full((2, 60, 40, 3), (250, 3, 77), np.uint8), np.arange(2))
    one, *others = (
        scored([model], view_batches(pictures, SMALL, PROTOCOLS[name]), 10).scores.softmax(1)
        for name in ("1-crop", "1-crop-flip", "10-crop", "10-crop-square")
    )
    for other in others:
        assert torch.allclose(other, one, atol=1e-6)


def test_the_mode_is_left_as_it_was(images):
    model = network("cifar_resnet20", 32)
    model.train()
    model.layer1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rule = PROTOCOLS["dense"]
    scored([model], view_batches(images, SMALL, rule), 10, rule, 32)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(UsageError, match="a Linear cannot be tested densely"):
        scored([nn.Linear(1, 1)], [], 1, rule)


def test_dense_views_of_photographs_differ_from_crops(images):
    """The forms of correctness point 34 are three different functions."""
    model, found = network("cifar_resnet20", 32), []
    for form in ("i", "ii", "iii"):
        rule = replace(PROTOCOLS["dense"], dense=form)
        found.append(scored([model], view_batches(images, SMALL, rule), 10, rule, 32).scores.log_softmax(1))
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert (found[1] - found[2]).abs().max() > 1e-5
    assert views(images.picture(0), SMALL, PROTOCOLS["dense"])[0].shape == (1, 3, 37, 37)
