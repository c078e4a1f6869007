"""Localization (he2015 appendix C): a per-class RPN, the original R-CNN on its proposals, and the error of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.rpn import permute_and_flatten
from torchvision.ops import box_iou, clip_boxes_to_image, nms

from ..data.preprocessing import Preprocessing, normalization
from ..errors import DataError, safe_text
from ..models.device import device_of, moved
from ..models.network import Fan, ResidualNetwork, build, initialise
from ..models.vgg import VGGNetwork
from ..spec import VGG, AnyNetwork
from .average_precision import overlaps
from .localization_recipe import LocalizationRecipe, Row
from .objects import DetectionSet, Objects, Scenes
from .proposals import Anchors
from .windows import Window, square, whole

GUESSES = 5
_RIGHT = 0.5  # IoU from which a box is right, and a region is one of its class
_MATCHER = Matcher(0.7, 0.3, allow_low_quality_matches=True)
_ANCHORED = BoxCoder((1.0, 1.0, 1.0, 1.0))  # RPN's targets are not normalised, R-CNN's are (correctness point 42)
_REGIONAL = BoxCoder((10.0, 10.0, 5.0, 5.0))
_LEAST = 1.0  # pixels; a proposal that is thinner is none


class ProposalNetwork(nn.Module):
    """RPN in a per-class form: a 3×3 convolution on the last map, then binary scores and box deltas of every class."""

    def __init__(self, recipe: LocalizationRecipe) -> None:
        super().__init__()
        spec, self.classes = recipe.network, recipe.network.classes
        self.stride = stride_of(spec)
        self.network = _trunk(spec, recipe.training.fan, head=False)
        self.anchors = Anchors(recipe.anchors, self.stride)
        self.count: int = self.anchors.num_anchors_per_location()[0]
        width = spec.widths[-1] if isinstance(spec, VGG) else spec.features
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.scores = nn.Conv2d(width, self.count * self.classes, 1)
        self.deltas = nn.Conv2d(width, self.count * self.classes * 4, 1)
        initialise(self.hidden, recipe.training.fan)  # narrow networks learn nothing behind a deviation of 0.01
        _small(self.scores, 0.01)
        _small(self.deltas, 0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (N, C, H, W) → logits (N, P, classes), deltas (N, P, classes, 4), and the P anchors (P, 4)."""
        hidden = F.relu(self.hidden(self.network.forward_features(x)))
        count, _, height, width = hidden.shape
        shape = (count, self.count, self.classes, height, width)
        scores = permute_and_flatten(self.scores(hidden), *shape)
        deltas = permute_and_flatten(self.deltas(hidden), count, self.count, self.classes * 4, height, width)
        self.anchors.set_cell_anchors(torch.float32, x.device)
        (anchors,) = self.anchors.grid_anchors([[height, width]], [[self.stride] * 2])  # type: ignore[list-item]
        return scores.float(), deltas.float().unflatten(2, (self.classes, 4)), anchors


class RegionNetwork(nn.Module):
    """R-CNN (arXiv:1311.2524): the whole network on a warped region, with two sibling layers in place of its own."""

    def __init__(self, recipe: LocalizationRecipe) -> None:
        super().__init__()
        spec = recipe.network
        self.network = _trunk(spec, recipe.training.fan, head=True)
        self.scores = nn.Linear(spec.features, spec.classes + 1)
        self.deltas = nn.Linear(spec.features, spec.classes * 4)
        _small(self.scores, 0.01)
        _small(self.deltas, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (N, C, H, W) → logits (N, 1 + classes), 0 background, and deltas (N, classes, 4)."""
        seen = self.network(x)
        return self.scores(seen).float(), self.deltas(seen).float().unflatten(1, (-1, 4))


def stride_of(spec: AnyNetwork) -> int:
    """Pixels of the input between neighbours of the last map."""
    if isinstance(spec, VGG):
        return 2 ** len(spec.convs)
    return spec.stem.stride * (2 if spec.stem.pool else 1) * math.prod(stage.stride for stage in spec.stages)


def _trunk(spec: AnyNetwork, fan: Fan, head: bool) -> ResidualNetwork | VGGNetwork:
    """The network without its classifier; a VGG without its hidden layers too where no HEAD is wanted."""
    network = build(spec)
    initialise(network, fan)
    name = network.classifier_name
    network.set_submodule(name if head else name.partition(".")[0], nn.Identity())
    return network


def _small(layer: nn.Conv2d | nn.Linear, deviation: float) -> None:
    nn.init.normal_(layer.weight, std=deviation)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def assigned(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (P,) of ANCHORS (P, 4), 1, 0 and −1 (no lesson), and the boxes (P, 4) that they should become.

    Positive from an IoU of 0.7 with one of BOXES (n, 4), or where none is better for a box; negative below 0.3.
    """
    if not len(boxes):
        return anchors.new_zeros(len(anchors)), anchors
    match = _MATCHER(box_iou(boxes, anchors))
    return (match >= 0).float() - (match == Matcher.BETWEEN_THRESHOLDS).float(), boxes[match.clamp(min=0)]


def proposal_loss(
    found: tuple[Tensor, Tensor, Tensor], labels: Tensor, boxes: Sequence[Tensor], sampled: int
) -> tuple[Tensor, Tensor]:
    """The loss of what a ProposalNetwork FOUND, and in how many images the best box of the class is wrong.

    Of each image SAMPLED anchors teach its own class, half of them positive: the class's logistic regression, and its
    box by smooth L1 (sigma 3). labels: (N,) from 1.
    """
    scores, deltas, anchors = found
    lessons, matched = zip(*(assigned(anchors, own) for own in boxes), strict=True)
    picked = BalancedPositiveNegativeSampler(sampled, 0.5)(list(lessons))
    positive, negative = (torch.stack(each).bool() for each in picked)
    image, anchor = torch.where(positive | negative)
    own, right = labels[image] - 1, positive[image, anchor]
    loss = F.binary_cross_entropy_with_logits(scores[image, anchor, own], right.float(), reduction="sum")
    moves, anchored = deltas[image, anchor, own][right], anchors[anchor][right]
    targets = _ANCHORED.encode_single(torch.stack(matched)[image, anchor][right], anchored)
    loss = loss + F.smooth_l1_loss(moves, targets, beta=1 / 9, reduction="sum")
    rows = torch.arange(len(labels), device=labels.device)
    best = scores.detach()[rows, :, labels - 1].argmax(1)
    decoded = _ANCHORED.decode_single(deltas.detach()[rows, best, labels - 1], anchors[best])
    wrong = [(box_iou(own, box[None]) < _RIGHT).all() for own, box in zip(boxes, decoded, strict=True) if len(own)]
    return loss / max(1, len(image)), torch.stack(wrong).sum() if wrong else labels.new_zeros(())


def region_loss(
    found: tuple[Tensor, Tensor], labels: Tensor, boxes: Sequence[Tensor], side: int
) -> tuple[Tensor, Tensor]:
    """The loss of what a RegionNetwork FOUND in regions warped to SIDE, and how many it called something else.

    BOXES (n, 4) are in pixels of the warped region, which all of IoU and deltas is the same in. A region is of its
    image's class from an IoU of 0.5 on, else background.
    """
    scores, deltas = found
    region = scores.new_tensor([[0, 0, side, side]])
    overlap, which = zip(*(box_iou(own, region)[:, 0].max(0) for own in boxes), strict=True)
    nearest = torch.stack([own[best] for own, best in zip(boxes, which, strict=True)])
    positive = torch.stack(overlap) >= _RIGHT
    targets = _REGIONAL.encode_single(nearest, region.expand(len(nearest), 4))
    lines = torch.where(positive)[0]
    label = labels * positive
    loss = F.cross_entropy(scores, label, reduction="sum")
    loss = loss + F.smooth_l1_loss(deltas[lines, labels[lines] - 1], targets[lines], reduction="sum")
    return loss / len(label), (scores.detach().argmax(1) != label).sum()


def preprocessing_of(recipe: LocalizationRecipe) -> Preprocessing:
    """How the central crop becomes an input."""
    mean, std = normalization(recipe.normalize, recipe.network.channels)
    return Preprocessing(
        recipe.size, recipe.network.channels, crop_pct=recipe.size / recipe.tested[0], mean=mean, std=std
    )


@dataclass
class Localizer:
    """What names and places the object of a picture; its networks are in eval mode and on one device."""

    recipe: LocalizationRecipe
    classifier: nn.Module | None = None
    rpn: ProposalNetwork | None = None
    rcnn: RegionNetwork | None = None

    def __post_init__(self) -> None:
        self.preprocessing = preprocessing_of(self.recipe)

    @torch.inference_mode()
    def answer(self, pixels: NDArray[np.uint8], row: Row, label: int) -> tuple[list[int], NDArray[np.float32] | None]:
        """The guesses of ROW, best first (LABEL where the class is given), and a box (n, 4) for each."""
        windows = self._windows(pixels, row.testing == "1-crop")
        labels = self.guessed(pixels, windows)[: row.guesses] if row.guesses else [label]
        if row.method == "classification":
            return labels, None
        found = self.proposed(pixels, windows, labels, 1 if row.method == "RPN" else self.recipe.proposals)
        if row.method != "RPN":
            found = [self._refined(pixels, boxes, label) for boxes, label in zip(found, labels, strict=True)]
        return labels, torch.cat(found).cpu().numpy()

    def _windows(self, pixels: NDArray[np.uint8], middle: bool) -> list[Window]:
        picture, recipe = pixels.shape[1::-1], self.recipe
        return (
            [square(picture, recipe.size, recipe.tested[0])] if middle else [whole(picture, s) for s in recipe.tested]
        )

    def _seen(self, network: nn.Module, pixels: NDArray[np.uint8], windows: Sequence[Window]) -> Tensor:
        images = self.preprocessing.normalise(np.stack([window.of(pixels) for window in windows]))
        return moved(torch.from_numpy(images), device_of(network)).contiguous(memory_format=torch.channels_last)

    def guessed(self, pixels: NDArray[np.uint8], windows: Sequence[Window]) -> list[int]:
        """Up to five labels, from 1, best first: the mean of the probabilities over WINDOWS."""
        assert self.classifier is not None
        each = [self.classifier(self._seen(self.classifier, pixels, [window])).softmax(1) for window in windows]
        scores = torch.cat(each).mean(0)
        return (scores.topk(min(GUESSES, len(scores))).indices + 1).tolist()

    @torch.inference_mode()
    def proposals(self, pixels: NDArray[np.uint8], label: int) -> Tensor:
        """RPN's boxes (n, 4) of a class in the whole picture, best first."""
        return self.proposed(pixels, self._windows(pixels, middle=False), [label], self.recipe.proposals)[0].cpu()

    def proposed(
        self, pixels: NDArray[np.uint8], windows: Sequence[Window], labels: Sequence[int], count: int
    ) -> list[Tensor]:
        """RPN's best boxes (n, 4) of each class in LABELS, at most COUNT, in pixels of the picture."""
        assert self.rpn is not None
        scores, boxes = list[Tensor](), list[Tensor]()
        for window in windows:
            logits, deltas, anchors = self.rpn(self._seen(self.rpn, pixels, [window]))
            wanted = torch.tensor(labels, device=logits.device) - 1
            moves = deltas[0][:, wanted].transpose(0, 1)
            decoded = _ANCHORED.decode_single(moves.reshape(-1, 4), anchors.repeat(len(labels), 1))
            scores.append(logits[0][:, wanted].T)
            boxes.append(clip_boxes_to_image(window.back(decoded), pixels.shape[:2]).view(moves.shape))
        pairs = zip(torch.cat(boxes, 1), torch.cat(scores, 1), strict=True)
        return [_best(box, score, self.recipe.nms, count, pixels.shape) for box, score in pairs]

    def _refined(self, pixels: NDArray[np.uint8], boxes: Tensor, label: int) -> Tensor:
        """The box (1, 4) that R-CNN likes best, from proposals (n, 4) of a class."""
        assert self.rcnn is not None
        side = (self.recipe.size, self.recipe.size)
        windows = [Window((box[0], box[1], box[2], box[3]), side) for box in boxes.tolist()]
        scores, deltas = self.rcnn(self._seen(self.rcnn, pixels, windows))
        best = scores.softmax(1)[:, label].argmax()
        found = _REGIONAL.decode_single(deltas[best, label - 1][None], boxes[best][None])
        return clip_boxes_to_image(found, pixels.shape[:2])


def _best(boxes: Tensor, scores: Tensor, iou: float, count: int, shape: Sequence[int]) -> Tensor:
    """The COUNT best of BOXES (P, 4) after suppression; the whole picture where none has an area."""
    able = torch.where((boxes[:, 2:] - boxes[:, :2] >= _LEAST).all(1))[0]
    kept = able[nms(boxes[able], scores[able], iou)[:count]]
    return boxes[kept] if len(kept) else boxes.new_tensor([[0, 0, shape[1], shape[0]]])


def localized(labels: Sequence[int], boxes: NDArray[np.float32] | None, objects: Objects) -> bool:
    """Whether one of the guesses is right: an IoU of at least 0.5 with ANY box of its class (correctness point 53).

    labels: guessed classes; boxes: one each, (n, 4), None where the class alone counts.
    """
    for number, label in enumerate(labels):
        own = objects.boxes[objects.labels == label]
        if len(own) and (boxes is None or overlaps(boxes[number : number + 1], own).max() >= _RIGHT):
            return True
    return False


def objects_of(part: Scenes, index: int) -> Objects:
    """What is on a picture, without crowds."""
    objects = part.objects(index)
    return objects.select(~objects.crowd)


def one_class_each(dataset: DetectionSet) -> DetectionSet:
    """DATASET without pictures that have no box. Raises DataError for a picture with boxes of several classes."""
    parts, notes = dict[str, Scenes](), list(dataset.notes)
    for name, part in dataset.parts.items():
        kept = list[int]()
        for index in range(len(part)):
            labels = sorted(set(objects_of(part, index).labels.tolist()))
            if len(labels) > 1:
                told = " and ".join(safe_text(dataset.classes[label - 1]) for label in labels[:2])
                where = safe_text(part.name(index))
                raise DataError(f"{where} has boxes of {told}; localization takes pictures of one class each")
            kept += [index] * len(labels)
        if left_out := len(part) - len(kept):
            notes.append(f"{name}: {left_out} of {len(part)} pictures have no box and are left out")
        parts[name] = part.subset(kept)
    if not len(parts.get("train", ())):
        raise DataError(f"{dataset.name}: no training picture has a box")
    return replace(dataset, **{"val": None, "test": None, **parts}, notes=tuple(notes))  # type: ignore[arg-type]
