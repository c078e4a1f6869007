"""What a run will cost, told before its first update: seconds from two measured updates, memory from its tensors.

On a card, memory is what PyTorch held of it at the peak of those updates, a copy of the weights included.
"""

import copy
import re
import time
from dataclasses import replace
from typing import Any

import torch

from .analysis.complexity import complexity
from .classification import Classification
from .data.batches import Batch
from .data.images import ImageError
from .data.sources import Arrays, Source
from .errors import UsageError
from .models.device import wait_for
from .models.fused import works
from .models.layers import set_compiled
from .recipe import Recipe, change
from .spec import AnyNetwork, Network
from .start import Cost

_LONG = 20.0  # seconds of a run; compiling and measuring take about two, and save up to a third
_CLEARLY = 1.15  # times slower than eager ones, so that other work on the machine cannot be the reason
_IMAGES = 32  # at most, of an update that is measured first
_QUICK = 2.0  # seconds that an update may take to be measured whole
_BASE = 700 << 20  # bytes of Python, PyTorch and the loaded libraries
# Bytes that wait for the backward pass per output of a convolution, measured on resnet18, resnet50, cifar_resnet110,
# and bytes of a number.
_WAITING = {"fp32": (10.0, 4), "bf16": (6.5, 2), "auto": (10.0, 4)}
_SEGMENTS = (2, 4, 8, 16, 24, 32, 64, 128)


def decided(job: Classification, updates: int) -> tuple[str, Cost]:
    """The kernels of a new run of so many UPDATES, which JOB's model has from now on, and what it costs with them.

    Short runs are not worth the compiler's time, and no kernels are compiled for a card; other runs take them where
    they are not measured to be clearly slower.
    """
    kernels, eager = job.recipe.training.kernels, cost(job, updates)
    if kernels != "auto":
        return kernels, eager
    if job.device.type != "cpu" or eager.seconds < _LONG or not job.recipe.training.channels_last or not works():
        return "eager", eager
    set_compiled(job.model, True)
    compiled = cost(job, updates)
    faster = compiled.seconds < _CLEARLY * eager.seconds
    set_compiled(job.model, faster)
    return ("compiled", compiled) if faster else ("eager", eager)


def cost(job: Classification, updates: int) -> Cost:
    """The cost of so many UPDATES of JOB; its model, data and random numbers are left as they are."""
    recipe, on_card = job.recipe, job.device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats(job.device)
    per_image = max(_computing(job), _decoding(job.source) / max(job.workers, 1))
    images = updates * recipe.training.batch_size
    tests = updates / max(len(job.source) / recipe.training.batch_size, 1)
    held = len(job.source) * (recipe.val or 0.0) * tests / 3  # a test is the forward third of an update
    peak = torch.cuda.max_memory_allocated(job.device) if on_card else memory(recipe, job.together.size)
    return Cost((images + held) * per_image / job.together.size, peak)


def memory(recipe: Recipe, processes: int = 1) -> int:
    """Bytes at the peak of training: weights, gradients, momentum, averages, activations of what passes together.

    Of K segments that are computed again, the inside of one is kept and what enters each.
    """
    training, counts = recipe.training, complexity(replace(recipe.network, size=recipe.size))
    outputs, weights = counts.activations * _passing(recipe, processes), 4 * counts.parameters
    waiting, number = _WAITING[training.precision]
    if training.recompute:
        waiting = waiting / training.recompute + number * training.recompute / (2 * _units(recipe.network))
    return _BASE + weights * (4 if training.ema else 3) + round(outputs * waiting)


def _passing(recipe: Recipe, processes: int) -> int:
    """The images that pass the network together in a process."""
    training = recipe.training
    return min(training.micro_batch or training.batch_size, -(-training.batch_size // processes))


def bytes_of(size: str) -> int:
    """The bytes of a size such as 4GB, 512 MB or 1.5GiB. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT])(i?)B", size.strip())
    if not found:
        raise UsageError(f"'{size}' is no amount of memory; give one such as 4GB or 512MB")
    return round(float(found[1]) * (1024 if found[3] else 1000) ** (1 + "kMGT".index(found[2])))


def within(recipe: Recipe, budget: int, processes: int = 1) -> Recipe:
    """RECIPE with as few recomputed segments as fit into BUDGET bytes. Raises UsageError where no number does."""
    units = _units(recipe.network)
    tried = [change(recipe, recompute=count) for count in (recipe.training.recompute, *_SEGMENTS) if count <= units]
    needed = [memory(one, processes) for one in tried]
    for one, need in zip(tried, needed, strict=True):
        if need <= budget:
            return one
    raise UsageError(
        f"training needs about {min(needed) / 1e9:.1f} GB even with recomputation, --memory allows {budget / 1e9:.1f}; "
        "give a smaller --batch-size or --size"
    )


def _units(network: AnyNetwork) -> int:
    """Where a network can be cut into segments; a VGG cannot."""
    return sum(stage.units for stage in network.stages) if isinstance(network, Network) else 0


def _computing(job: Classification) -> float:
    """Seconds an image takes in an update: of a few first, then of a batch if that is quick, as it is on a card."""
    batch = _passing(job.recipe, job.together.size)
    if job.device.type == "cuda":
        return _updating(job, batch)
    few = _updating(job, min(batch, _IMAGES))
    return _updating(job, batch) if batch > _IMAGES and few * batch < _QUICK else few


def _updating(job: Classification, images: int) -> float:
    """Seconds per image of the faster of two updates with so many images."""
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
        wait_for(job.device)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / images


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
