"""Faster R-CNN and Mask R-CNN on torchvision's parts: what all regions share, proposals, and what regions become."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou

from ..data.preprocessing import normalization
from ..models.layers import freeze_bn
from ..models.network import Fan, build, initialise
from ..spec import Detector
from .backbones import Body, Pyramid, body, pool
from .proposals import proposer
from .recipe import Regions

Target = dict[
    str, Tensor
]  # boxes (n, 4) float32, labels (n,) int64 from 1, masks (n, H, W) uint8 where they are learnt
_FOREGROUND = 0.5  # IoU with a box from which a region is one of its class
_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # targets divided by 0.1, 0.1, 0.2, 0.2 (correctness point 42)


@dataclass(frozen=True)
class View:
    """The shared maps of one picture at one scale, the scaled picture, and scaled pixels for one of its own."""

    features: dict[str, Tensor]
    batch: ImageList
    factors: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the scaled picture."""
        return self.batch.image_sizes[0]

    def scaled(self, boxes: Tensor) -> Tensor:
        """BOXES (n, 4) of the picture in pixels of this scale."""
        return boxes * self.factors


class Heads(RoIHeads):
    """Torchvision's sampling of regions, and their layers; `background_from` as in `Regions`."""

    background_from = 0.0

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each proposal its box, and its label: 0 background, −1 neither."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        for boxes, truth, own in zip(proposals, gt_boxes, labels, strict=True):
            if self.background_from and len(truth):
                own[(own == 0) & (box_iou(truth, boxes).amax(0) < self.background_from)] = -1
        return matched, labels


class DetectorNetwork(nn.Module):
    """A detector as its value describes it: in training pictures and targets → losses, in testing `detect` leads.

    The losses are Fast R-CNN's: smooth L1 of a region turns at 1, not at torchvision's 1/9. Pictures are float32
    (3, H, W) in 0 … 1, of any size; boxes are in their pixels.
    """

    def __init__(self, spec: Detector, numbers: Regions, normalize: str = "imagenet", fan: Fan = "fan_in") -> None:
        super().__init__()
        self.spec, self.numbers = spec, numbers
        network = build(spec.network)
        initialise(network, fan)
        self.body: Body = body(spec, network)
        self.rpn = proposer(spec, numbers, self.body)
        if spec.bn == "live":  # torchvision's deviation of 0.01 is meant for wide layers behind trained ones
            initialise(cast(nn.Module, self.rpn.head.conv), fan)
        seen = self.body.region_channels * (2 if spec.context else 1)
        predictor = FastRCNNPredictor(seen, spec.classes + 1)
        nn.init.normal_(predictor.cls_score.weight, std=0.01)  # arXiv:1504.08083 section 2.3
        nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
        for layer in (predictor.cls_score, predictor.bbox_pred):
            nn.init.zeros_(layer.bias)
        self.heads = Heads(
            pool(spec, self.body), None, predictor, _FOREGROUND, _FOREGROUND, numbers.regions, numbers.foreground,
            _WEIGHTS, 0.0, 0.5, 0,
        )  # fmt: skip
        self.heads.background_from = numbers.background_from
        self.mask_layers, self.mask_pool = _mask_layers(spec, self.body)
        self.mean, self.std = normalization(normalize, spec.network.channels)
        if spec.bn == "frozen":
            freeze_bn(self.body)

    def at(self, scales: Sequence[int], longest: int) -> GeneralizedRCNNTransform:
        """What scales pictures to one of SCALES on their shorter side, at most LONGEST, and puts them into a batch."""
        sides: Any = list(scales)  # torchvision says one int, and takes several
        made = GeneralizedRCNNTransform(sides, longest, list(self.mean), list(self.std))
        return made.train(self.training)

    def forward(
        self, images: list[Tensor], targets: list[Target], scales: Sequence[int], longest: int, learns: str = "all",
        proposals: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The losses of a batch, and "wrong", how many of its images have a box that was called something else.

        learns: "all", or the losses of "rpn" or of "regions" only. proposals: in place of RPN's own, in pixels of the
        picture.
        """
        sizes = [image.shape[-2:] for image in images]
        batch, scaled = self.at(scales, longest)(images, targets)
        assert scaled is not None
        self._least(sizes, batch.image_sizes)
        features = self.body(batch.tensors.contiguous(memory_format=torch.channels_last))
        losses: dict[str, Tensor] = {}
        if learns == "regions" and proposals is not None:
            shapes = zip(sizes, batch.image_sizes, strict=True)
            boxes = [
                given * _factors(old, new).to(given.device) for given, (old, new) in zip(proposals, shapes, strict=True)
            ]
        else:
            boxes, losses = self.rpn(batch, features, scaled)
        if learns == "rpn":
            return {**losses, "wrong": torch.zeros((), dtype=torch.int64, device=images[0].device)}
        return {**losses, **self._region_losses(features, boxes, batch.image_sizes, scaled)}

    def _region_losses(
        self, features: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]], targets: list[Target]
    ) -> dict[str, Tensor]:
        boxes, matched, labels, deltas = self.heads.select_training_samples(boxes, targets)
        seen, maps = self._regions(features, boxes, shapes)
        logits, found = self.predicted(seen)
        label, delta, count = torch.cat(labels), torch.cat(deltas), max(1, sum(map(len, labels)))
        positive = label > 0
        own = found.view(len(label), -1, 4)[positive, label[positive]]
        losses = {
            "class": F.cross_entropy(logits, label, reduction="sum") / count,
            "box": F.smooth_l1_loss(own, delta[positive], reduction="sum") / count,
        }
        missed = (logits.detach().argmax(1) != label) & positive
        losses["wrong"] = torch.stack([each.any() for each in missed.split([len(each) for each in labels])]).sum()
        if self.mask_layers is not None:
            chosen = [each > 0 for each in labels]
            inside = [box[where] for box, where in zip(boxes, chosen, strict=True)]
            which = [match[where] for match, where in zip(matched, chosen, strict=True)]
            logits = self._mask_logits(features, inside, shapes, maps[positive])
            masks, names = [t["masks"] for t in targets], [t["labels"] for t in targets]
            losses["mask"] = maskrcnn_loss(logits, inside, masks, names, which)
        return losses

    def seen(self, features: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
        """What the two sibling layers see of each region, (R, C); with context the whole image beside it."""
        return self._regions(features, boxes, shapes)[0]

    def _regions(
        self, features: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """What is seen of each region, and its map (R, c, h, w).

        All that is pooled passes the region's layers together, so that live BN has one set of statistics of it.
        """
        pooled = self.heads.box_roi_pool(features, boxes, shapes)
        if not self.spec.context:
            maps = self.body.region_map(pooled)
            return self.body.region(maps), maps
        whole = [torch.tensor([[0.0, 0, width, height]], device=pooled.device) for height, width in shapes]
        maps = self.body.region_map(torch.cat((pooled, self.heads.box_roi_pool(features, whole, shapes))))
        own, around = self.body.region(maps).split([len(pooled), len(shapes)])
        counts = torch.tensor([len(box) for box in boxes], device=own.device)
        return torch.cat((own, around.repeat_interleave(counts, 0)), 1), maps[: len(pooled)]

    def predicted(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, 1 + classes) and box deltas (R, 4 · (1 + classes)), float32."""
        logits, deltas = self.heads.box_predictor(seen)
        return logits.float(), deltas.float()

    def decoded(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The boxes (R, classes, 4) that DELTAS make of BOXES (R, 4), in the same pixels."""
        found = self.heads.box_coder.decode(deltas, [boxes])  # of no boxes it has another shape
        return found.reshape(len(boxes), self.spec.classes + 1, 4)[:, 1:]

    def view(self, image: Tensor, scale: int, longest: int) -> View:
        """The shared maps of a picture (3, H, W) at a scale."""
        batch, _ = self.at((scale,), longest)([image])
        features = self.body(batch.tensors.contiguous(memory_format=torch.channels_last))
        self._least([image.shape[-2:]], batch.image_sizes)
        return View(features, batch, _factors(image.shape[-2:], batch.image_sizes[0]).to(image.device))

    def _least(self, old: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> None:
        """Let RPN drop proposals below `smallest`, in pixels of the picture, as py-faster-rcnn does."""
        self.rpn.min_size = self.numbers.smallest * min(now[0] / was[0] for was, now in zip(old, new, strict=True))

    def propose(self, view: View) -> Tensor:
        """RPN's proposals (P, 4) in pixels of the picture, best first."""
        boxes, _ = self.rpn(view.batch, view.features)
        return boxes[0] / view.factors

    def masks(self, view: View, boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (n, side, side) that a point of each box (n, 4), in pixels of the picture, is its object's."""
        logits = self._mask_logits(view.features, [view.scaled(boxes)], [view.shape])
        return logits[torch.arange(len(labels)), labels].float().sigmoid()

    def _mask_logits(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        shapes: list[tuple[int, int]],
        maps: Tensor | None = None,
    ) -> Tensor:
        """Logits (n, classes, side, side) of the masks in BOXES, whose MAPS are known in training."""
        assert self.mask_layers is not None
        if self.mask_pool is not None:
            maps = self.mask_pool(features, boxes, shapes)
        elif maps is None:
            maps = self.body.region_map(self.heads.box_roi_pool(features, boxes, shapes))
        return self.mask_layers(maps).float()


def _mask_layers(spec: Detector, shared: Body) -> tuple[nn.Sequential | None, nn.Module | None]:
    """The mask branch of arXiv:1703.06870 figure 4, and what pools for it, None where it shares the region's map.

    It stands on C4's last stage; on the pyramid, with regions of 14×14 of its own, on four convolutions.
    """
    if not spec.masks:
        return None, None
    classes, convs = spec.classes + 1, [256] * 4
    if isinstance(shared, Pyramid):
        layers = [MaskRCNNHeads(shared.map_channels, convs, 1), MaskRCNNPredictor(256, 256, classes)]
        return nn.Sequential(*layers), pool(spec, shared, 14)
    return nn.Sequential(MaskRCNNPredictor(shared.map_channels, 256, classes)), None


def _factors(old: Sequence[int], new: Sequence[int]) -> Tensor:
    """What x and y of a box are multiplied by between two (height, width)."""
    down, right = new[0] / old[0], new[1] / old[1]
    return torch.tensor([right, down, right, down])
