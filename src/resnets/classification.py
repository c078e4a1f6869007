"""The job of classification: cross-entropy on batches of labelled images."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data.batches import Batch, testing_batches, training_batches
from .data.preprocessing import Preprocessing
from .data.sources import Source
from .evaluation.evaluate import Evaluation, evaluate
from .recipe import Recipe

Watch = Callable[[Batch, Tensor], None]


class Classification:
    """What `train` asks for, and `evaluate` for the same model."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        source: Source,
        preprocessing: Preprocessing,
        classes: tuple[str, ...],
        workers: int = 0,
    ) -> None:
        self.model, self.recipe, self.source = model, recipe, source
        self.preprocessing, self.classes, self.workers = preprocessing, classes, workers
        self.seed = recipe.seed
        self.format = torch.channels_last if recipe.training.channels_last else torch.contiguous_format

    def batches(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Training batches from batch BATCH of epoch EPOCH on, without end: the schedule ends the run."""
        plan = (self.recipe.training.batch_size, 2**31, (epoch, batch))
        augmentation = self.recipe.augmentation
        return training_batches(self.source, self.preprocessing, augmentation, self.seed, plan, self.workers)

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

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Mean cross-entropy in nats, and the number of wrong top-1 answers."""
        training = self.recipe.training
        images = batch.images.contiguous(memory_format=self.format)
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            logits = self.model(images)
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=training.label_smoothing)
        return loss, int((logits.detach().argmax(1) != batch.labels).sum())

    def evaluate(self, model: nn.Module, part: Source, watch: Watch = lambda batch, scores: None) -> Evaluation:
        """Test MODEL on PART."""
        batches = testing_batches(part, self.preprocessing, 256, self.workers)
        return evaluate([model], batches, self.classes, watch=watch)
