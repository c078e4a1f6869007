"""Region proposals: Caffe's anchors, and the RPN of arXiv:1506.01497 on torchvision's."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from ..spec import Detector
from .backbones import Body, Pyramid
from .recipe import Regions

RATIOS = (0.5, 1.0, 2.0)  # of height to width
_CELL = 16  # pixels of py-faster-rcnn's base anchor, whose sides are rounded


class Anchors(AnchorGenerator):
    """Py-faster-rcnn's anchors: sides rounded at a base of 16 pixels, centres in the middle of a cell.

    Its inclusive boxes around 7.5 are half-open ones around 8: half a stride of 16.
    """

    def __init__(self, sides: tuple[int, ...], stride: int) -> None:
        self.middle = stride / 2
        super().__init__((sides,), (RATIOS,))

    def generate_anchors(
        self,
        scales: list[int],
        aspect_ratios: list[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> Tensor:
        """The anchors of a cell, (ratios · sides, 4), in py-faster-rcnn's order: ratio by ratio."""
        rows = [shape(side, ratio) for ratio in aspect_ratios for side in scales]
        half = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in rows], dtype=dtype, device=device)
        return half + self.middle


def shape(side: float, ratio: float) -> tuple[float, float]:
    """Width and height of the anchor of SIDE: those of 16 × 16 of that RATIO, rounded, then scaled."""
    width = round(math.sqrt(_CELL * _CELL / ratio))
    return width * side / _CELL, round(width * ratio) * side / _CELL


class Head(RPNHead):
    """RPN's layers, whose answers are float32 whatever they were computed in."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box deltas of every map."""
        logits, deltas = super().forward(x)
        return [each.float() for each in logits], [each.float() for each in deltas]


class Proposals(RegionProposalNetwork):
    """RPN; where `inside_only`, anchors that cross the border of the picture neither match nor teach."""

    inside_only = True
    _shapes: Sequence[tuple[int, int]] = ()

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals (P, 4) of each image, best first, and the two losses in training."""
        self._shapes = images.image_sizes
        return super().forward(images, features, targets)

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels 1, 0 and −1 (no lesson) of every anchor, and the box that it should become."""
        if not self.inside_only:
            return super().assign_targets_to_anchors(anchors, targets)
        inside = [_inside(each, shape) for each, shape in zip(anchors, self._shapes, strict=True)]
        kept = [each[within] for each, within in zip(anchors, inside, strict=True)]
        labels, boxes = super().assign_targets_to_anchors(kept, targets)
        for i, within in enumerate(inside):
            labels[i] = labels[i].new_full(within.shape, -1.0).masked_scatter(within, labels[i])
            whole = anchors[i].clone()
            whole[within] = boxes[i]
            boxes[i] = whole
        return labels, boxes


def _inside(anchors: Tensor, shape: tuple[int, int]) -> Tensor:
    """Which anchors lie in a picture of SHAPE (height, width); all, where none does."""
    height, width = shape
    within = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    return within if within.any() else torch.ones_like(within)


def proposer(spec: Detector, numbers: Regions, shared: Body) -> Proposals:
    """RPN on the maps of SHARED."""
    anchors: nn.Module
    if isinstance(shared, Pyramid):
        anchors = AnchorGenerator(tuple((side,) for side in spec.anchors), (RATIOS,) * len(spec.anchors))
    else:
        anchors = Anchors(spec.anchors, shared.stride)
    head = Head(shared.out_channels, anchors.num_anchors_per_location()[0])  # type: ignore[operator]
    tops: list[dict[str, Any]] = [
        dict(zip(("training", "testing"), pair, strict=True)) for pair in (numbers.before_nms, numbers.kept)
    ]
    made = Proposals(anchors, head, 0.7, 0.3, numbers.anchors, 0.5, *tops, numbers.nms)  # type: ignore[arg-type]
    made.inside_only = numbers.inside_only
    return made
