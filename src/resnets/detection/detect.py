"""From pictures to detections: Fast R-CNN's test, and the improvements of he2015 appendix B as switches."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from ..errors import NumericError
from .objects import Detections
from .rcnn import DetectorNetwork, View
from .recipe import Inference

_LEAST = 0.01  # pixels; a box that is thinner is none


def tensor_of(pixels: NDArray[np.uint8]) -> Tensor:
    """A picture (H, W, channels) as float32 (channels, H, W) in 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255


@torch.inference_mode()
def detect(models: Sequence[DetectorNetwork], image: Tensor, testing: Inference) -> Detections:
    """What MODELS find on a picture (3, H, W) in 0 … 1: one network, or an ensemble.

    Every network proposes, the union of the proposals is scored by every network, and scores and boxes are averaged.
    Masks are those of the first network. The networks are in eval mode.
    """
    views, size = [_pyramid(model, image, testing) for model in models], (int(image.shape[1]), int(image.shape[2]))
    boxes = torch.cat([model.propose(view[testing.scale]) for model, view in zip(models, views, strict=True)])
    scores, found = _scored(models, views, boxes, testing)
    if testing.refine and len(boxes):
        best = scores.argmax(1)
        again = clip_boxes_to_image(found[torch.arange(len(best)), best], size)
        more_scores, more = _scored(models, views, again, testing)
        scores, found = torch.cat((scores, more_scores)), torch.cat((found, more))
    kept, score, label = chosen(clip_boxes_to_image(found, size), scores, testing)
    masks = None
    if models[0].mask_layers is not None:
        masks = _pasted(models[0], views[0][testing.scale], kept, label, image)
    return Detections(kept.cpu().numpy(), score.cpu().numpy(), label.cpu().numpy(), masks)


def chosen(boxes: Tensor, scores: Tensor, testing: Inference) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, 4), scores and labels (from 1) that are left of boxes (R, classes, 4) and scores (R, classes).

    In each class NMS, then, with `refine`, box voting: every box that is left becomes the mean of the boxes of its
    class before NMS that overlap with it, weighted by their scores (arXiv:1505.01749 section 5). Best first.
    """
    classes = scores.shape[1]
    label = torch.arange(1, classes + 1, device=scores.device).expand_as(scores).reshape(-1)
    box, score = boxes.reshape(-1, 4), scores.reshape(-1)
    sides = box[:, 2:] - box[:, :2]
    able = torch.nonzero((score > testing.score) & (sides >= _LEAST).all(1))[:, 0]
    box, score, label = box[able], score[able], label[able]
    kept = batched_nms(box, score, label, testing.nms)[: testing.limit]
    final = voted(box, score, label, kept, testing.voting) if testing.refine else box[kept]
    return final, score[kept], label[kept]


def voted(boxes: Tensor, scores: Tensor, labels: Tensor, kept: Tensor, least: float) -> Tensor:
    """The boxes KEPT of BOXES (n, 4), each the mean of those of its label with an IoU of at least LEAST."""
    votes = (box_iou(boxes[kept], boxes) >= least) & (labels[kept][:, None] == labels[None])
    weights = (votes * scores).double()  # which autocast leaves alone
    return (weights @ boxes.double() / weights.sum(1, keepdim=True)).to(boxes.dtype)


def _pyramid(model: DetectorNetwork, image: Tensor, testing: Inference) -> dict[int, View]:
    """The picture at every scale that is asked for."""
    return {scale: model.view(image, scale, _longest(scale, testing)) for scale in {testing.scale, *testing.scales}}


def _longest(scale: int, testing: Inference) -> int:
    """The longer side's limit grows with the scale, so that both keep the picture's aspect ratio."""
    return round(testing.longest * max(1.0, scale / testing.scale))


def _scored(
    models: Sequence[DetectorNetwork], views: Sequence[dict[int, View]], boxes: Tensor, testing: Inference
) -> tuple[Tensor, Tensor]:
    """Scores (R, classes) and boxes (R, classes, 4) for regions (R, 4), averaged over MODELS."""
    scores, found = list[Tensor](), list[Tensor]()
    for model, view in zip(models, views, strict=True):
        logits, deltas = model.predicted(_seen(model, view, boxes, testing))
        scores.append(logits.softmax(1)[:, 1:])
        found.append(model.decoded(deltas, boxes))
    score, box = torch.stack(scores).mean(0), torch.stack(found).mean(0)
    if not (torch.isfinite(score).all() and torch.isfinite(box).all()):
        raise NumericError("the network's scores or boxes are not finite; train again with a smaller --lr")
    return score, box


def _seen(model: DetectorNetwork, views: dict[int, View], boxes: Tensor, testing: Inference) -> Tensor:
    """What the two sibling layers see of each region: at one scale, or the maximum over two adjacent ones."""
    view = views[testing.scale]
    if not testing.scales:
        return model.seen(view.features, [view.scaled(boxes)], [view.shape])
    scales = sorted(testing.scales)
    first = adjacent(boxes, [float(views[scale].factors.mean()) for scale in scales], testing.aim)
    seen: Tensor | None = None
    for number, scale in enumerate(scales):
        where = torch.nonzero((first == number) | (first + 1 == number))[:, 0]
        if len(where):
            view = views[scale]
            part = model.seen(view.features, [view.scaled(boxes[where])], [view.shape])
            seen = part.new_full((len(boxes), part.shape[1]), -torch.inf) if seen is None else seen
            seen[where] = torch.maximum(seen[where], part)
    return model.seen(view.features, [boxes], [view.shape]) if seen is None else seen


def adjacent(boxes: Tensor, factors: Sequence[float], aim: float = 224) -> Tensor:
    """For each region the first of the two adjacent scales between which it comes nearest to AIM² pixels.

    factors: of every scale, ascending. One scale alone has no neighbour and is taken for all.
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1).sqrt()
    last = max(len(factors) - 2, 0)
    fits = torch.stack([side * factor for factor in factors], 1) <= aim
    return (fits.sum(1) - 1).clamp(0, last)


def _pasted(model: DetectorNetwork, view: View, boxes: Tensor, labels: Tensor, image: Tensor) -> NDArray[np.uint8]:
    """Masks (n, H, W) of the boxes on their picture: 1 where a point is rather its object's."""
    if not len(boxes):
        return np.zeros((0, *image.shape[-2:]), np.uint8)
    points = model.masks(view, boxes, labels)
    size = (int(image.shape[1]), int(image.shape[2]))
    return (paste_masks_in_image(points[:, None], boxes, size)[:, 0] >= 0.5).to(torch.uint8).cpu().numpy()
