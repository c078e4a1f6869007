"""Localization by hand: errors, windows, losses, proposals and R-CNN against literal references."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from located import GT, SIDE, TOP5, small
from PIL import Image

from resnets.detection.datasets import open_detection
from resnets.detection.localization import (
    Localizer,
    ProposalNetwork,
    RegionNetwork,
    assigned,
    localized,
    one_class_each,
    proposal_loss,
    region_loss,
    stride_of,
)
from resnets.detection.localization_job import Localization, visible
from resnets.detection.localization_recipe import Row
from resnets.detection.objects import Objects
from resnets.detection.windows import Window, square, whole
from resnets.families import network
from resnets.spec import VGG

TWO = Objects.of([[0, 0, 10, 10], [20, 0, 30, 10]], [3, 3])


@pytest.mark.parametrize(
    ("labels", "boxes", "right"),
    [
        ([3], [[0, 0, 10, 10]], True),
        ([3], [[0, 0, 10, 5]], True),  # an IoU of exactly 0.5
        ([3], [[0, 0, 10, 4.99]], False),
        ([3], [[20, 0, 30, 9]], True),  # ANY of the boxes
        ([3], [[10, 0, 20, 10]], False),
        ([2], [[0, 0, 10, 10]], False),
        ([1, 2, 4, 5, 3], [[0, 0, 10, 10]] * 5, True),
        ([1, 2, 4, 5, 6], [[0, 0, 10, 10]] * 5, False),
        ([1, 3, 4, 5, 2], [[0, 0, 10, 10], [50, 50, 60, 60], *[[0, 0, 10, 10]] * 3], False),  # its own box counts
        ([1, 3], [[50, 50, 60, 60], [0, 0, 10, 10]], True),  # fewer than five
        ([], np.zeros((0, 4)), False),
    ],
)
def test_the_error_by_hand(labels, boxes, right):
    assert localized(labels, np.array(boxes, np.float32), TWO) is right


def test_classification_needs_no_box():
    assert localized([1, 3], None, TWO)
    assert not localized([1, 2], None, TWO)


def test_anchors_learn_from_the_best_and_from_the_far():
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 30, 34, 34]])
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [12, 12, 20, 20], [30, 30, 40, 40]])
    labels, become = assigned(anchors, boxes)
    assert labels.tolist() == [1, 1, -1, 0, 1]  # the last is the best of the second box, with an IoU of 0.16
    assert become[labels == 1].tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [30, 30, 34, 34]]
    assert assigned(anchors, boxes[:0])[0].tolist() == [0] * 5


def test_windows_map_boxes_there_and_back():
    window = Window((10, 20, 30, 60), (20, 10))
    boxes = torch.tensor([[10.0, 20, 20, 40], [5, 60, 30, 100]])
    assert window.into(boxes).tolist() == [[0, 0, 10, 5], [-5, 10, 20, 20]]
    assert torch.allclose(window.back(window.into(boxes)), boxes)
    pixels = np.random.default_rng(0).integers(0, 255, (70, 50, 3), np.uint8)
    assert (Window((10, 20, 30, 60), (20, 40)).of(pixels) == pixels[20:60, 10:30]).all()
    assert Window((10.5, 20, 30, 60), (20, 10)).of(pixels).shape == (10, 20, 3)


def test_crops_and_whole_pictures():
    middle = square((100, 50), 24, 25)
    assert middle == Window((26, 1, 74, 49), (24, 24))
    assert square((100, 50), 24, 25, 1.0, 1.0).box[2:] == (100, 50)
    for scale in range(24, 60):  # never a hair over the edge, which Pillow refuses
        box = square((101, 53), 24, scale, 1.0, 1.0).box
        assert box[2] <= 101
        assert box[3] <= 53
    assert whole((100, 50), 25) == Window((0, 0, 100, 50), (50, 25))
    assert whole((1000, 10), 20).size == (80, 20)  # a strip is squashed


def test_boxes_in_a_crop():
    boxes = torch.tensor([[-5.0, 0, 5, 10], [30, 0, 40, 10], [31, 0, 41, 10], [2, 3, 4, 5]])
    assert visible(boxes, 32).tolist() == [[0, 0, 5, 10], [30, 0, 32, 10], [2, 3, 4, 5]]


def sigmoid_loss(logit, target):
    """Of one logistic regression, literally."""
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if target else 1 - p)


def test_proposal_loss_by_hand():
    """All four anchors of an image chosen: the logistic regression of its class, smooth L1 (sigma 3) of the box."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50], [60, 0, 70, 10], [0, 60, 10, 70]])
    boxes, labels = [torch.tensor([[1.0, 0, 11, 10]])], torch.tensor([2])
    scores = torch.tensor([[[0.5, 1.0], [-1, 0.2], [0.3, -2], [0, 0]]])
    deltas = torch.zeros(1, 4, 2, 4)
    loss, wrong = proposal_loss((scores, deltas, anchors), labels, boxes, sampled=8)
    classes = sum(sigmoid_loss(float(scores[0, anchor, 1]), anchor == 0) for anchor in range(4))
    box = 0.5 * 0.1**2 * 9  # |0.1| is below 1/9
    assert loss.item() == pytest.approx((classes + box) / 4, rel=1e-5)
    assert wrong.item() == 0  # the best anchor of class 2 overlaps by 9/11
    scores[0, 1, 1] = 3.0
    assert proposal_loss((scores, deltas, anchors), labels, boxes, 8)[1].item() == 1
    assert proposal_loss((scores, deltas, anchors), labels, [boxes[0][:0]], 8)[1].item() == 0  # no box in the crop


def test_half_of_the_anchors_that_teach_are_positive():
    anchors = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]]).repeat(20, 1)
    scores = torch.zeros(2, 40, 3, requires_grad=True)
    boxes = [torch.tensor([[0.0, 0, 10, 10]])] * 2
    loss, _ = proposal_loss((scores, torch.zeros(2, 40, 3, 4), anchors), torch.tensor([1, 3]), boxes, 8)
    loss.backward()
    for image, label in ((0, 1), (1, 3)):
        assert (scores.grad[image].abs().sum(1) > 0).sum() == 8
        assert (scores.grad[image, ::2, label - 1] < 0).sum() == 4
        assert (scores.grad[image] != 0).sum() == 8  # of no other class


def test_region_loss_by_hand():
    """One region of its class and one of background, whose box teaches nothing."""
    scores = torch.tensor([[0.0, 1, 2], [1.0, 0, 0]])
    boxes = [torch.tensor([[0.0, 0, 32, 16], [0, 0, 32, 31]]), torch.tensor([[0.0, 0, 32, 15.9]])]
    deltas = torch.zeros(2, 2, 4)
    deltas[1] = 9.0
    loss, wrong = region_loss((scores, deltas), torch.tensor([2, 1]), boxes, 32)
    target = [0, 10 * (15.5 - 16) / 32, 0, 5 * math.log(31 / 32)]
    box = sum(0.5 * value**2 for value in target)
    classes = sum(-float(scores[i].log_softmax(0)[label]) for i, label in ((0, 2), (1, 0)))
    assert loss.item() == pytest.approx((classes + box) / 2, rel=1e-5)
    assert wrong.item() == 0
    assert region_loss((scores, deltas), torch.tensor([1, 1]), boxes, 32)[1].item() == 1


@pytest.fixture(scope="module")
def localizer(data):
    """All three networks with random weights that do say something."""
    torch.manual_seed(0)
    recipe = small(data)
    rpn, rcnn = ProposalNetwork(recipe), RegionNetwork(recipe)
    for layer in (rpn.scores, rpn.deltas, rcnn.scores, rcnn.deltas):
        torch.nn.init.normal_(layer.weight, std=0.1)
    classifier = replace(recipe, step="class").network
    from resnets.models import create_model

    return Localizer(recipe, create_model(classifier).eval(), rpn.eval(), rcnn.eval())


def test_proposals_of_each_class_against_a_literal_reference(localizer, data):
    """Two classes at once, at two scales: the best score of all anchors of a class, decoded by the paper's formulas."""
    pixels = open_detection(str(data)).test.pixels(0)
    labels, found = [3, 1], []
    for label in labels:
        rows = []
        for side in localizer.recipe.tested:
            window = whole((52, 44), side)
            seen = torch.from_numpy(localizer.preprocessing.normalise(window.of(pixels)))[None]
            with torch.inference_mode():
                scores, deltas, anchors = localizer.rpn(seen)
            for p, (x1, y1, x2, y2) in enumerate(anchors.tolist()):
                dx, dy, dw, dh = deltas[0, p, label - 1].tolist()
                cx, cy = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
                w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
                factor = window.size[0] / 52, window.size[1] / 44
                corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                box = [min(max(v / factor[i % 2], 0), (52, 44)[i % 2]) for i, v in enumerate(corners)]
                if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                    rows.append((float(scores[0, p, label - 1]), box))
        found.append(max(rows)[1])
    answered, boxes = localizer.answer(pixels, GT, 3)
    assert answered == [3]
    assert boxes[0] == pytest.approx(found[0], abs=1e-2)
    windows = [whole((52, 44), side) for side in localizer.recipe.tested]
    with torch.inference_mode():
        both = localizer.proposed(pixels, windows, labels, 4)
    assert [len(each) <= 4 for each in both] == [True, True]
    for each, best in zip(both, found, strict=True):
        assert each[0].tolist() == pytest.approx(best, abs=1e-2)
    assert torch.equal(localizer.proposals(pixels, 3), both[0])


def test_anchors_stand_in_the_middle_of_their_cells(localizer):
    """Of a map that does not divide the picture evenly too: cell k is k strides from the first."""
    _, _, anchors = localizer.rpn(torch.zeros(1, 3, 41, 38))
    middles = ((anchors[:, :2] + anchors[:, 2:]) / 2).unique(dim=0)
    assert middles.tolist() == [[2.0 + 4 * x, 2.0 + 4 * y] for x in range(10) for y in range(11)]
    assert stride_of(network("resnet50")) == 32
    assert stride_of(network("vgg16")) == 32
    assert stride_of(network("cifar_resnet20")) == 4


@pytest.mark.parametrize("spec", [network("slim_resnet18"), VGG((1,) * 5, False, 3, widths=(4, 4, 4, 4, 8), hidden=16)])
def test_other_networks(data, spec):
    """With a pooled stem, and a VGG, whose hidden layers only the regions pass."""
    recipe = small(data, network=replace(spec, classes=3), size=64)
    rpn, rcnn = ProposalNetwork(recipe).eval(), RegionNetwork(recipe).eval()
    scores, deltas, anchors = rpn(torch.zeros(2, 3, 70, 96))
    cells = (70 // 32 + (spec.features != 16)) * 3  # convolutions round up, pooling rounds down
    assert (scores.shape, deltas.shape, anchors.shape) == ((2, 9 * cells, 3), (2, 9 * cells, 3, 4), (9 * cells, 4))
    assert [tuple(each.shape) for each in rcnn(torch.zeros(2, 3, 64, 64))] == [(2, 4), (2, 3, 4)]


def test_five_guesses_of_three_classes(localizer, data):
    """As many as there are, each with its box in the picture, refined by R-CNN."""
    pixels = open_detection(str(data)).test.pixels(1)
    labels, boxes = localizer.answer(pixels, TOP5, 2)
    assert sorted(labels) == [1, 2, 3]
    assert boxes.shape == (3, 4)
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 52).all()
    assert (boxes[:, 3] <= 44).all()
    assert localizer.answer(pixels, Row("classification", "1-crop", 1), 2) == (labels_of(localizer, pixels), None)


def test_r_cnn_against_a_literal_reference(localizer, data):
    """Of all proposals the one with the highest probability of the class, moved by the class's own deltas."""
    pixels, rows = open_detection(str(data)).test.pixels(2), []
    for x1, y1, x2, y2 in localizer.proposals(pixels, 2).tolist():
        region = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR, (x1, y1, x2, y2))
        seen = torch.from_numpy(localizer.preprocessing.normalise(np.asarray(region)))[None]
        with torch.inference_mode():
            scores, deltas = localizer.rcnn(seen)
        dx, dy, dw, dh = deltas[0, 1].tolist()
        cx, cy = (x1 + x2) / 2 + dx / 10 * (x2 - x1), (y1 + y2) / 2 + dy / 10 * (y2 - y1)
        w, h = (x2 - x1) * math.exp(dw / 5), (y2 - y1) * math.exp(dh / 5)
        corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        rows.append((float(scores.softmax(1)[0, 2]), [min(max(v, 0), (52, 44)[i % 2]) for i, v in enumerate(corners)]))
    assert len(rows) > 1
    labels, boxes = localizer.answer(pixels, Row("RPN+RCNN", "dense"), 2)
    assert (labels, boxes[0].tolist()) == ([2], pytest.approx(max(rows)[1], abs=1e-2))


def test_boxes_stay_on_their_objects(localizer, data):
    """Crops of any scale and place, mirrored or not, and warped proposals: the class's channel is bright in the box."""
    train = one_class_each(open_detection(str(data))).train
    looked = 0
    for step, epoch, index in ((s, e, i) for s in ("rpn", "rcnn") for e in range(4) for i in range(len(train))):
        job = Localization(localizer.rpn, small(data, step=step), train, localizer)
        job.regions[index] = torch.tensor([[2.0, 3, 50, 40]])
        image, target = job._lesson(epoch, index)
        assert image.shape == (3, SIDE, SIDE)
        light = image[int(target["labels"][0]) - 1]
        for x1, y1, x2, y2 in target["boxes"].round().int().clamp(0, SIDE).tolist():
            inside = light[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            if inside.numel() > 30:
                looked += 1
                assert inside.mean() > 0, (step, epoch, index)  # 150 and more of 255; noise alone is below -0.5
    assert looked > 80


def labels_of(localizer, pixels):
    """The best class of the crop in the middle, literally."""
    window = square((52, 44), SIDE, 36)
    seen = torch.from_numpy(localizer.preprocessing.normalise(window.of(pixels)))[None]
    with torch.inference_mode():
        return [int(localizer.classifier(seen).argmax()) + 1]
