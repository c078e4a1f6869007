"""Detections: suppression, refinement, voting, scales and ensembles against slow, literal references."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from resnets.detection.detect import adjacent, chosen, detect, tensor_of, voted
from resnets.detection.rcnn import DetectorNetwork
from resnets.detection.recipe import Inference, Regions
from resnets.families import network
from resnets.spec import Detector

SMALL = Regions((200, 100), (50, 20), smallest=2.0, anchors=32, regions=16)
SPEC = Detector(network("slim_resnet18"), 3, anchors=(16, 32), pooling="align", bn="live")
TESTING = Inference(64, 128, score=0.05)


@pytest.fixture(scope="module")
def models():
    """Two detectors with random weights."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = DetectorNetwork(SPEC, SMALL).eval()
        torch.nn.init.normal_(model.heads.box_predictor.cls_score.weight, std=0.3)
        torch.nn.init.normal_(model.heads.box_predictor.bbox_pred.weight, std=0.05)
        found.append(model)
    return found


@pytest.fixture(scope="module")
def image():
    """A picture of 80 × 64."""
    return torch.from_numpy(np.random.default_rng(0).random((3, 64, 80), np.float32))


def iou(a, b):
    """Of two boxes, in plain numbers."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def suppressed(boxes, scores, labels, least):
    """NMS of each class, literally: the indices that stay, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= least for j in kept):
            kept.append(i)
    return kept


def reference(boxes, scores, testing):
    """What `chosen` gives, literally."""
    rows = [
        (box, score, label) for candidates, each in zip(boxes, scores, strict=True)
        for label, (box, score) in enumerate(zip(candidates, each, strict=True), 1) if score > testing.score
    ]  # fmt: skip
    box, score, label = ([row[i] for row in rows] for i in range(3))
    found = []
    for i in suppressed(box, score, label, testing.nms)[: testing.limit]:
        final = box[i]
        if testing.refine:
            votes = [j for j in range(len(box)) if label[j] == label[i] and iou(box[j], box[i]) >= testing.voting]
            weight = sum(score[j] for j in votes)
            final = [sum(score[j] * box[j][side] for j in votes) / weight for side in range(4)]
        found.append((*final, score[i], label[i]))
    return found


@pytest.mark.parametrize("refine", [False, True])
def test_suppression_and_voting_against_the_literal_reference(refine):
    """On boxes with many overlaps."""
    generator = np.random.default_rng(3)
    corner = generator.uniform(0, 40, (60, 3, 2))
    boxes = np.concatenate((corner, corner + generator.uniform(10, 40, (60, 3, 2))), 2)
    scores = generator.random((60, 3))
    testing = replace(TESTING, refine=refine)
    box, score, label = chosen(torch.tensor(boxes), torch.tensor(scores), testing)
    found = torch.cat((box, score[:, None], label[:, None]), 1).numpy()
    wanted = np.array(reference(boxes.tolist(), scores.tolist(), testing))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_voting_by_hand():
    """Two boxes of IoU 0.6 vote with 0.9 and 0.3; one of another class and one further away do not."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 10], [0, 0, 10, 4]])
    scores, labels = torch.tensor([0.9, 0.3, 0.8, 0.7]), torch.tensor([1, 1, 2, 1])
    found = voted(boxes, scores, labels, torch.tensor([0]), 0.5)
    assert found[0].tolist() == pytest.approx([0, 0, 10, (0.9 * 10 + 0.3 * 6) / 1.2])


def test_adjacent_scales_by_hand():
    """Of factors 1, 2 and 4: 200 px lies between 1 and 2, 100 px between 2 and 4, both ends are kept inside."""
    boxes = torch.tensor([[0.0, 0, 200, 200], [0, 0, 100, 100], [0, 0, 10, 10], [0, 0, 900, 900]])
    assert adjacent(boxes, [1.0, 2.0, 4.0]).tolist() == [0, 1, 1, 0]
    assert adjacent(boxes, [1.0]).tolist() == [0, 0, 0, 0]
    assert adjacent(boxes / 2, [1.0, 2.0, 4.0], 112).tolist() == [0, 1, 1, 0]


def test_refinement_scores_the_regressed_boxes(models, image):
    """The union of first and second predictions, as the paper says, by the network's own parts."""
    model, testing = models[0], replace(TESTING, refine=True)
    with torch.inference_mode():
        view = model.view(image, 64, 128)
        boxes = model.propose(view)
        rows = []
        for _ in range(2):
            logits, deltas = model.predicted(model.seen(view.features, [view.scaled(boxes)], [view.shape]))
            score, box = logits.softmax(1)[:, 1:], model.decoded(deltas, boxes)
            rows.append((box, score))
            best = score.argmax(1)
            boxes = torch.stack([box[i, best[i]] for i in range(len(best))])
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, 80)
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, 64)
        box, score = torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])
        box[..., 0::2] = box[..., 0::2].clamp(0, 80)
        box[..., 1::2] = box[..., 1::2].clamp(0, 64)
        sides = box[..., 2:] - box[..., :2]
        score = score * (sides >= 0.01).all(-1)
        wanted = reference(box.tolist(), score.tolist(), testing)
    found = detect([model], image, testing)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.scores, [row[4] for row in wanted], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, [row[:4] for row in wanted], atol=1e-2)


def test_one_scale_twice_is_one_scale(models, image):
    """The maximum of a scale with itself changes nothing; another scale does."""
    plain = detect(models[:1], image, TESTING)
    same = detect(models[:1], image, replace(TESTING, scales=(64,)))
    other = detect(models[:1], image, replace(TESTING, scales=(48, 64, 96)))
    np.testing.assert_allclose(same.scores, plain.scores, rtol=1e-5)
    assert len(other) != len(plain) or not np.allclose(other.boxes, plain.boxes)


def test_an_ensemble_of_one_is_the_model(models, image):
    """The same detector twice proposes everything twice, and scores it the same; two are not one."""
    one, twice = detect(models[:1], image, TESTING), detect([models[0], models[0]], image, TESTING)
    np.testing.assert_allclose(twice.scores, one.scores, rtol=1e-5)
    np.testing.assert_allclose(twice.boxes, one.boxes, atol=1e-3)
    both = detect(models, image, TESTING)
    assert len(both) != len(one) or not np.allclose(both.scores, one.scores)


def test_detections_lie_in_their_picture(models, image):
    """Boxes in the picture's own pixels, best first, labels from 1."""
    found = detect(models[:1], image, TESTING)
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2] <= 80).all()
    assert (found.boxes[:, 3] <= 64).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels) <= {1, 2, 3}


@pytest.mark.parametrize(
    "changes", [{}, {"design": "FPN", "anchors": (8, 16, 32, 64, 128), "pooling": "align"}], ids=["C4", "FPN"]
)
def test_masks_are_pasted_into_their_boxes(changes):
    """One mask a detection, as large as the picture, nothing outside of the box and its rim."""
    torch.manual_seed(0)
    model = DetectorNetwork(replace(SPEC, masks=True, **changes), SMALL).eval()
    found = detect([model], torch.rand(3, 64, 80), replace(TESTING, score=0.0, limit=5))
    assert found.masks is not None
    assert found.masks.shape == (len(found), 64, 80)
    for mask, (left, top, right, bottom) in zip(found.masks, found.boxes, strict=True):
        outside = mask.copy()
        outside[max(0, int(top) - 2) : int(bottom) + 3, max(0, int(left) - 2) : int(right) + 3] = 0
        assert not outside.any()


def test_pixels_become_a_tensor():
    """Colours first, from 0 to 1."""
    found = tensor_of(np.array([[[255, 0, 51]]], np.uint8))
    assert found[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


def test_no_proposals_are_no_detections(models, image):
    """Where RPN drops everything as too small, nothing is found, with refinement and without."""
    model = DetectorNetwork(SPEC, replace(SMALL, smallest=1000.0)).eval()
    for refine in (False, True):
        assert len(detect([model], image, replace(TESTING, refine=refine))) == 0
    assert len(detect([model], image, replace(TESTING, scales=(48, 64)))) == 0
