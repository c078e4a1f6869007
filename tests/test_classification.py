"""The loss of a batch: class weights, mixed images, parts of a batch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resnets import families
from resnets.classification import Classification, class_weights
from resnets.data.batches import Batch
from resnets.data.course import Course, balanced
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.models import create_model
from resnets.recipe import change
from resnets.recipes import quick
from resnets.training.train import _gradients

LABELS = np.array([0] * 12 + [1] * 3 + [2] * 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
SOURCE = Arrays(PIXELS, LABELS, "train")


def job(**changes):
    network = families.network("cifar_resnet8")
    recipe = change(quick(network, "digits"), precision="fp32", channels_last=False, batch_size=8, **changes)
    torch.manual_seed(0)
    model = create_model(network, 3)
    return Classification(model, recipe, SOURCE, Preprocessing(8), ("a", "b", "c"))


def batch(labels=LABELS):
    images = torch.from_numpy(np.random.default_rng(1).standard_normal((len(labels), 3, 8, 8), dtype=np.float32))
    return Batch(images, torch.from_numpy(labels), np.arange(len(labels)))


def test_class_weights_by_hand():
    assert class_weights(LABELS, 3).tolist() == pytest.approx([16 / 36, 16 / 9, 16 / 3])
    assert float(class_weights(LABELS, 3)[LABELS].mean()) == pytest.approx(1)
    assert class_weights(np.array([0, 0, 2, 2]), 3)[[0, 2]].tolist() == [1, 1]


def test_balanced_loss_is_the_weighted_cross_entropy():
    weighed = job(balance="loss")
    loss, mistakes = weighed.loss(batch())
    logits = weighed.model(batch().images).detach()
    each = F.cross_entropy(logits, batch().labels, reduction="none")
    assert loss.item() == pytest.approx(float((each * class_weights(LABELS, 3)[LABELS]).mean()), rel=1e-6)
    assert mistakes == int((logits.argmax(1) != batch().labels).sum())


def test_balanced_sampling_draws_every_class_equally_often_and_each_sample_of_a_class_in_turn():
    for epoch in range(5):
        draws = balanced(3, epoch, LABELS)
        assert len(draws) == len({*draws.tolist()}) == len(LABELS)  # a repeated sample is a draw of its own
        counts = np.bincount(LABELS[draws % len(LABELS)])
        assert counts.max() - counts.min() <= 1
        rare = draws[LABELS[draws % len(LABELS)] == 1] % len(LABELS)
        repeats = np.bincount(rare)[12:15]
        assert repeats.max() - repeats.min() <= 1
    assert not np.array_equal(balanced(3, 0, LABELS), balanced(3, 1, LABELS))
    keys = [key for keys in Course(3, 8, epochs=1, balanced=True).keys(LABELS) for key in keys]
    assert [draw for _, draw in keys] == balanced(3, 0, LABELS).tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [16, 17, 18, 50])
def test_processes_share_every_batch_in_order_and_none_gets_a_single_image(size, count):
    labels = np.zeros(count, dtype=np.int64)
    whole = list(Course(0, 16, epochs=2).keys(labels))
    parts = [list(Course(0, 16, epochs=2, process=(rank, size)).keys(labels)) for rank in range(size)]
    for i, keys in enumerate(whole):
        assert [key for part in parts for key in part[i]] == keys
        assert 1 not in [len(part[i]) for part in parts]


def test_mixed_images_have_soft_labels_and_the_same_ones_again():
    mixed = job(mixup=0.4, cutmix=1.0)
    given = batch()
    torch.manual_seed(5)
    images, targets = mixed._mixed(given.images, given.labels)
    assert targets.shape == (16, 3)
    assert targets.sum(1).tolist() == pytest.approx([1.0] * 16)
    assert not torch.equal(images, given.images)
    torch.manual_seed(5)
    again, _ = mixed._mixed(given.images, given.labels)
    assert torch.equal(images, again)
    plain = job()
    assert plain._mixed(given.images, given.labels)[0] is given.images


def test_micro_batches_add_up_to_the_gradient_of_the_whole():
    """In eval mode, where BN is a constant: then parts of a batch do not know of each other."""
    gradients = []
    for micro in (0, 5, 16, 3):
        task = job(micro_batch=micro)
        task.model.eval()
        loss, _ = _gradients(task, batch())
        gradients.append((loss, torch.cat([p.grad.flatten() for p in task.model.parameters()])))
    for loss, gradient in gradients[1:]:
        assert loss == pytest.approx(gradients[0][0], rel=1e-6)
        assert torch.allclose(gradient, gradients[0][1], atol=1e-6)
    assert [len(part) for part in batch().parts(5)] == [5, 5, 6]  # a last part of one image joins the one before
    assert [len(part) for part in batch().parts(7)] == [7, 7, 2]
