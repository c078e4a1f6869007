"""CIFAR training with its input: the usual script, and a run of the library."""

import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, RandomSampler

from resnets import families, recipes
from resnets.run import events
from resnets.training.train import Step

from .inputs import CIFAR, data
from .plain import PlainResNet
from .usual import CIFAR_CHAIN, Cifar, chain


def script(layers: int, batch: int, updates: int, workers: int = 2) -> Callable[[], dict[str, Any]]:
    """The usual script: eager fp32, PIL transforms, a DataLoader with workers, SGD with momentum."""
    torch.manual_seed(0)
    model, images = PlainResNet(layers).train(), Cifar(chain(CIFAR_CHAIN, "cifar10"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    drawn = RandomSampler(images, num_samples=batch * updates)
    loader = DataLoader(images, batch, sampler=drawn, num_workers=workers, persistent_workers=True)

    def call() -> dict[str, Any]:
        loss_sum, wrong = 0.0, 0
        for inputs, labels in loader:
            logits = model(inputs)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum, wrong = loss_sum + loss.item(), wrong + int((logits.argmax(1) != labels).sum())
        return {"loss": loss_sum / updates, "train_error": 100 * wrong / (batch * updates)}

    return call


def run(layers: int, batch: int, updates: int) -> Callable[[], dict[str, Any]]:
    """One run by the recipe `quick`, as `resnets train` does it: every call takes it so many updates further."""
    recipe = recipes.recipe("quick", families.network(f"cifar_resnet{layers}"), str(data(CIFAR)))
    assert recipe.training.batch_size == batch
    folder = tempfile.TemporaryDirectory()
    steps = (event for event in events(recipe, Path(folder.name)) if isinstance(event, Step))
    next(steps)  # start-up ends with the first update

    def call(kept: Any = folder) -> dict[str, Any]:
        done = list(islice(steps, updates))
        wrong = sum(step.mistakes for step in done) / sum(step.images for step in done)
        return {"loss": sum(step.loss for step in done) / updates, "train_error": 100 * wrong}

    return call
