"""Scores: what networks answer to the views of a protocol, averaged once per image."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import Batch
from ..errors import UsageError
from ..models import ResidualNetwork, VGGNetwork
from ..models.dense import FullyConvolutional, map_side
from ..models.device import device_of, moved
from .protocol import PROTOCOLS, TRAINING_SIZE, Protocol
from .views import ViewBatch, single

Forward = Callable[[Tensor], Tensor]
ONE_CROP = PROTOCOLS["1-crop"]

_PIXELS = 16 * 32 * 32  # of images that pass a thread of a CPU together, so that maps stay in its cache
_FEWEST = 8  # images that do so, however large


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of images by their index in the source, sorted, each once; their softmax is the answer.

    indices, labels: int64 (N,); scores: float32 (N, classes); bad: what could not be read, (name, why), sorted.
    """

    indices: Tensor
    labels: Tensor
    scores: Tensor
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.indices)


def merged(parts: Sequence[Scores]) -> Scores:
    """The parts of one test as a whole, whatever their order. Raises ValueError where an image is in two of them."""
    indices, labels, scores = (torch.cat([getattr(p, name) for p in parts]) for name in ("indices", "labels", "scores"))
    order = indices.argsort()
    if len(indices.unique()) < len(indices):
        raise ValueError("an image was scored twice")
    return Scores(indices[order], labels[order], scores[order], tuple(sorted(bad for p in parts for bad in p.bad)))


def averaged(scores: Sequence[Tensor], average: str = "softmax") -> Tensor:
    """Scores (N, classes) whose softmax is the average of those of all SCORES, or of their "logits".

    One is given back as it is; of more the logarithm of the averaged softmax (correctness point 31).
    """
    if len(scores) == 1:
        return scores[0]
    if average == "logits":
        return torch.stack(list(scores)).mean(0)
    return torch.stack([each.log_softmax(1) for each in scores]).logsumexp(0) - math.log(len(scores))


def scored(
    models: Sequence[nn.Module],
    batches: Iterable[Batch | ViewBatch],
    classes: int,
    protocol: Protocol = ONE_CROP,
    size: int = TRAINING_SIZE,
    watch: Callable[[Any, Tensor], None] = lambda batch, scores: None,
) -> Scores:
    """The scores of MODELS (averaged) for every image of BATCHES, in eval mode; their mode is left as it was.

    Each model computes where it is; its scores are brought to the CPU.

    size: of the networks' input in training, which dense windows depend on. watch is called with every batch and its
    scores; what it raises ends the test.
    """
    parts = [Scores(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, classes))]
    with evaluating(models):
        forwards = [forward(model, protocol, size) for model in models]
        for batch in batches:
            seen = single(batch, protocol) if isinstance(batch, Batch) else batch
            scores = torch.zeros(0, classes)
            if len(seen):
                scores = averaged([_answer(each, seen, protocol.average) for each in forwards], protocol.average)
                watch(batch, scores)
            parts.append(Scores(torch.from_numpy(np.asarray(seen.indices)), seen.labels, scores, seen.bad))
    return merged(parts)


def forward(model: nn.Module, protocol: Protocol, size: int) -> Forward:
    """What gives the scores (N, classes), float32, of views (N, C, h, w) under PROTOCOL; MODEL is in eval mode.

    On a CPU so many pass together as its cache holds. Raises UsageError for dense testing of networks of others.
    """
    device = device_of(model)
    network = model if protocol.crops != "dense" else _dense(model, protocol, size, device)

    def answers(images: Tensor) -> Tensor:
        if device.type != "cpu":
            return network(moved(images, device)).float().cpu()
        few = max(_FEWEST, torch.get_num_threads() * _PIXELS // (images.shape[-2] * images.shape[-1]))
        return torch.cat([network(part).float() for part in images.split(few)])

    return answers


def _dense(model: nn.Module, protocol: Protocol, size: int, device: torch.device) -> Forward:
    """The scores of every place of the last feature map, averaged."""
    if not isinstance(model, ResidualNetwork | VGGNetwork):
        raise UsageError(f"a {type(model).__name__} cannot be tested densely; take another protocol")
    with torch.inference_mode(), device:
        pointwise = protocol.dense == "i" and isinstance(model, ResidualNetwork)
        window = 1 if pointwise else map_side(model, size)
        network = FullyConvolutional(model, window)

    def dense(images: Tensor) -> Tensor:
        places = network(images).float().flatten(2).unbind(2)
        return averaged(places, "softmax" if protocol.dense == "iii" else "logits")

    return dense


@torch.inference_mode()
def _answer(model: Forward, batch: ViewBatch, average: str) -> Tensor:
    """The scores (N, classes) of a batch: its views averaged at each scale, then the scales."""
    scales = []
    for groups in batch.scales:
        found = [averaged(_views(model, images).unbind(1), average) for _, images in groups]
        rows = torch.cat([rows for rows, _ in groups])
        scales.append(torch.cat(found)[rows.argsort()])
    return averaged(scales, average)


def _views(model: Forward, images: Tensor) -> Tensor:
    """The scores (n, views, classes) of images (n, views, C, h, w)."""
    return model(images.flatten(0, 1)).unflatten(0, images.shape[:2])


@contextmanager
def evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    """MODELS in eval mode; afterwards every module's mode is what it was."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
