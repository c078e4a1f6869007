"""The job of classification: cross-entropy on batches of labelled images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import v2

from .data.batches import Batch, training_batches
from .data.course import Course
from .data.preprocessing import Preprocessing
from .data.randomness import fold
from .data.sources import Source
from .evaluation.evaluate import Evaluation
from .evaluation.protocol import Protocol
from .evaluation.scoring import ONE_CROP, Scores, merged, scored
from .evaluation.views import view_batches
from .models.bypass import only
from .models.device import device_of, moved
from .recipe import Recipe
from .training.distributed import Processes
from .training.train import ALONE

_TESTED = 256  # images of the training size that a test looks at together


@dataclass
class Classification:
    """What `train` asks for, and `evaluate` for the same model; TOGETHER with other processes, each does its part.

    It computes where its model is.
    """

    model: nn.Module
    recipe: Recipe
    source: Source
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    workers: int = 0
    together: Processes = ALONE
    check: Callable[[], None] = lambda: None  # called between the batches of a test; what it raises ends the test

    def __post_init__(self) -> None:
        training = self.recipe.training
        self.seed, self.device = self.recipe.seed, device_of(self.model)
        weighed = training.balance == "loss"
        self.weights = class_weights(self.source.labels, len(self.classes)).to(self.device) if weighed else None
        self.format = torch.channels_last if training.channels_last else torch.contiguous_format

    def batches(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Training batches from batch BATCH of epoch EPOCH on, without end: the schedule ends the run."""
        training = self.recipe.training
        process = (self.together.rank, self.together.size)
        even = training.balance == "sampling"
        course = Course(self.seed, training.batch_size, (epoch, batch), balanced=even, process=process)
        return training_batches(self.source, self.preprocessing, self.recipe.augmentation, course, self.workers)

    def name(self, index: int) -> str:
        """The name of training image INDEX."""
        return self.source.name(index)

    def prepare(self, epoch: int) -> None:
        """Training mode; while only the classifier learns, the body is frozen in eval mode."""
        head_only = epoch < self.recipe.training.head_epochs
        classifier = str(getattr(self.model, "classifier_name", ""))
        self.model.train(not head_only)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not head_only or name.startswith(f"{classifier}."))

    @property
    def micro_batch(self) -> int:
        """How many images pass the network together; 0 for all of a batch."""
        return self.recipe.training.micro_batch

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy in nats, and the number of wrong top-1 answers (of mixed images: for the larger part)."""
        training = self.recipe.training
        images, targets = self._mixed(moved(batch.images, self.device), moved(batch.labels, self.device))
        images = images.contiguous(memory_format=self.format)
        with self._precision(), self._active():
            logits = self.model(images)
        summed = F.cross_entropy(
            logits.float(), targets, self.weights, reduction="sum", label_smoothing=training.label_smoothing
        )
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        return summed / len(batch), (logits.detach().argmax(1) != labels).sum()

    def _precision(self) -> AbstractContextManager[object]:
        """Where the recipe says bf16, convolutions and products are computed in it."""
        halves = self.recipe.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if halves else nullcontext()

    def _active(self) -> AbstractContextManager[None]:
        """The recipe's number of units, the same ones in all parts of an update: `train` seeds PyTorch for each."""
        active = self.recipe.training.active_units
        return only(self.model, active, fold("active", torch.initial_seed())) if active else nullcontext()

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels after mixup or cutmix, one of them at random: soft labels (N, classes)."""
        augmentation, count = self.recipe.augmentation, len(self.classes)
        kinds = ((v2.MixUp, augmentation.mixup), (v2.CutMix, augmentation.cutmix))
        mixes = [kind(alpha=alpha, num_classes=count) for kind, alpha in kinds if alpha]
        return v2.RandomChoice(mixes)(images, labels) if mixes and len(images) > 1 else (images, labels)

    def evaluate(self, model: nn.Module, part: Source, protocol: Protocol = ONE_CROP) -> Evaluation:
        """Test MODEL on every image of PART once."""
        shard = (self.together.rank, self.together.size)
        batches = view_batches(part, self.preprocessing, protocol, _TESTED, self.workers, shard)
        size, count = self.preprocessing.size, len(self.classes)
        found = scored([model], batches, count, protocol, size, lambda batch, scores: self.check())
        return Evaluation(self.classes, gathered(found, self.together), protocol)

    def alone(self) -> "Classification":
        """The job as one process does it."""
        return replace(self, together=ALONE)


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """The weight of each class in the loss, (classes,): inverse to its share, 1 on average over the images."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (np.maximum(counts, 1) * np.count_nonzero(counts))).float()


def gathered(found: Scores, together: Processes) -> Scores:
    """The scores that all processes have found, each image once, in the order of their index."""
    if together.size == 1:
        return found
    bad = tuple((name, reason) for name, reason in together.gather_json([list(pair) for pair in found.bad]))
    gather = together.gather
    return merged([Scores(gather(found.indices), gather(found.labels), gather(found.scores), bad)])
