"""What a run will cost, told before its first update: seconds from two measured updates, memory from its tensors."""

import copy
import time
from typing import Any

import torch
from torch import nn

from .analysis.complexity import complexity
from .classification import Classification
from .data.batches import Batch
from .data.images import ImageError
from .data.sources import Arrays, Source
from .models.fused import works
from .models.layers import set_compiled
from .recipe import Recipe
from .start import Cost

_LONG = 60.0  # seconds of a run; compiling takes up to fifteen and saves about a quarter
_IMAGES = 32  # at most, of a measured update
_BASE = 700 << 20  # bytes of Python, PyTorch and the loaded libraries
# Bytes that wait for the backward pass per output of a convolution, measured on resnet18, resnet50, cifar_resnet110.
_WAITING = {"fp32": 10.0, "bf16": 6.5, "auto": 10.0}


def decided(job: Classification, updates: int) -> tuple[str, Cost]:
    """The kernels of a new run of so many UPDATES, which JOB's model has from now on, and what it costs with them.

    Short runs are not worth the compiler's time; long ones take what is measured to be faster.
    """
    kernels, eager = job.recipe.training.kernels, cost(job, updates)
    if kernels != "auto":
        return kernels, eager
    if eager.seconds < _LONG or not job.recipe.training.channels_last or not works():
        return "eager", eager
    set_compiled(job.model, True)
    compiled = cost(job, updates)
    faster = compiled.seconds < eager.seconds
    set_compiled(job.model, faster)
    return ("compiled", compiled) if faster else ("eager", eager)


def cost(job: Classification, updates: int) -> Cost:
    """The cost of so many UPDATES of JOB; its model, data and random numbers are left as they are."""
    recipe, size = job.recipe, min(job.recipe.training.batch_size, _IMAGES)
    per_image = max(_computing(job, size) / size, _decoding(job.source) / max(job.workers, 1))
    images = updates * recipe.training.batch_size
    tests = updates / max(len(job.source) / recipe.training.batch_size, 1)
    held = len(job.source) * (recipe.val or 0.0) * tests / 3  # a test is the forward third of an update
    return Cost((images + held) * per_image / job.together.size, memory(recipe, job.model, job.together.size))


def memory(recipe: Recipe, model: nn.Module, processes: int = 1) -> int:
    """Bytes at the peak of training: weights, gradients, momentum, averages, activations of what passes together."""
    training = recipe.training
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    together = min(training.micro_batch or training.batch_size, -(-training.batch_size // processes))
    activations = complexity(recipe.network).activations * together * _WAITING[training.precision]
    return _BASE + weights * (4 if training.ema else 3) + round(activations / max(1, training.recompute / 2))


def _computing(job: Classification, images: int) -> float:
    """Seconds of the faster of two updates with so many images."""
    network, classes = job.recipe.network, len(job.classes)
    own: Any = copy.copy(job)
    own.model = copy.deepcopy(job.model)
    own.prepare(job.recipe.training.head_epochs)
    optimizer = torch.optim.SGD(own.model.parameters(), lr=0.0, momentum=0.9)
    pixels = torch.rand(images, network.channels, network.size, network.size)
    batch = Batch(pixels, torch.arange(images) % classes, torch.arange(images).numpy())
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        own.loss(batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _decoding(source: Source) -> float:
    """Seconds that a picture takes to read, from eight of them; nothing for images in memory."""
    if isinstance(source, Arrays):
        return 0.0
    began, read = time.perf_counter(), 0
    for index in range(0, len(source), max(1, len(source) // 8)):
        try:
            source.picture(index)
            read += 1
        except ImageError:
            continue
    return (time.perf_counter() - began) / max(read, 1)
