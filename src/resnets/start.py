"""What a run begins with: the network that fits its data, its preprocessing, its first weights, its workers."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from . import bundle
from .data.batches import mean_image
from .data.check import imbalance as imbalance_of
from .data.course import batches_per_epoch
from .data.datasets import Dataset, Holdout, open_dataset, resplit
from .data.images import ImageError
from .data.preprocessing import NORMALIZATIONS, Preprocessing, normalization
from .data.randomness import fold
from .data.sources import Arrays, Source, sizes_of
from .detection.localization_recipe import LocalizationRecipe
from .detection.objects import DetectionSet
from .detection.recipe import DetectionRecipe
from .errors import EnvironmentProblem, UsageError, unknown
from .families import name_of
from .models import create_model, load_weights
from .models.bypass import check_active
from .models.device import CPU, device_called, device_of
from .models.fused import works
from .models.layers import free_at_once, set_compiled, set_ghost_batch
from .models.network import ResidualNetwork
from .models.weights import fit_weights
from .recipe import Recipe, Training
from .record import PIXEL_MEAN, mean_facts, model_folder
from .spec import AnyNetwork
from .training.distributed import Processes
from .training.optimizer import Average, optimizer
from .training.schedule import Schedule
from .training.train import ALONE, State

log = logging.getLogger(__name__)
R = TypeVar("R", Recipe, DetectionRecipe, LocalizationRecipe)
_LAST = torch.channels_last
_LEAST_SHARED_MEMORY = 256 << 20  # bytes that workers need to hand batches over


_LOOKED_AT = 24  # pictures
_TINY = 16  # pixels a side up to which one thread does the work: sharing so little costs more than it gives


@dataclass(frozen=True)
class Machine:
    """What a result does not depend on, or in its last bits only.

    workers: None for as many as help. save_every: updates between checkpoints, 0: by clock. device: as `device_called`
    takes it.
    """

    workers: int | None = None
    save_every: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Cost:
    """Seconds of a whole run on this machine, and bytes of memory at its peak, without images held in memory.

    On a card, the memory is the card's.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Plan:
    """What a run has understood before its first update."""

    folder: Path
    recipe: Recipe
    dataset: Dataset
    preprocessing: Preprocessing
    total: int
    per_epoch: int
    resumed_at: int
    notes: tuple[str, ...]
    cost: Cost | None = None


@dataclass(frozen=True)
class ScenePlan:
    """What a run on pictures with boxes has understood before its first update; `recipe` is its task's."""

    folder: Path
    recipe: Any
    dataset: DetectionSet
    total: int
    per_epoch: int
    resumed_at: int
    notes: tuple[str, ...]


def settled(recipe: R, folder: Path, device: torch.device | None = None) -> R:
    """RECIPE, of any task, with what depends on the machine decided: once, when the run begins; later sittings read it.

    "auto" kernels of a new run stay so: `estimate.decided` measures the run's own network. device: None for "auto".
    """
    training, path = recipe.training, folder / "recipe.json"
    kept = json.loads(path.read_bytes())["training"] if path.exists() else {}
    if training.precision == "auto":
        training = replace(training, precision=kept.get("precision") or precision(device or device_called()))
    if kept and training.kernels == "auto":
        training = replace(training, kernels=kept.get("kernels", "eager"))
    return replace(recipe, training=training)


def precision(device: torch.device) -> str:
    """ "fp32" or "bf16": on cards the latter where they have it, on a CPU what is faster."""
    if device.type == "cpu":
        return faster_precision()
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def faster_precision() -> str:
    """ "fp32" or "bf16", whichever computes a convolution and its gradient faster on this CPU."""
    images, conv = torch.randn(32, 16, 32, 32), torch.nn.Conv2d(16, 16, 3, padding=1).to(memory_format=_LAST)
    images = images.contiguous(memory_format=_LAST)
    seconds: dict[str, float] = {}
    for precision in ("fp32", "bf16") * 6:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            conv(images).sum().backward()
        seconds[precision] = min(seconds.get(precision, float("inf")), time.perf_counter() - began)
    return min(seconds, key=lambda precision: seconds[precision])


@contextmanager
def threads(recipe: Recipe | DetectionRecipe | LocalizationRecipe) -> Iterator[None]:
    """One thread for images of at most 16×16 pixels, PyTorch's own number for larger ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if recipe.size <= _TINY else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_network(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the network's classes, channels and size as the data has them."""
    channels = recipe.channels or _channels(dataset.train) or recipe.network.channels
    network = replace(recipe.network, classes=len(dataset.classes), channels=channels, size=recipe.size)
    return replace(recipe, network=network)


def _channels(source: Source) -> int:
    """The channels of images in memory, or of pictures that are arrays; 0 for pictures of colours or gray."""
    if isinstance(source, Arrays):
        return source.images.shape[-1]
    for index in range(min(len(source), 8)):
        with suppress(ImageError):
            picture = source.picture(index)
            return picture.shape[-1] if isinstance(picture, np.ndarray) else 0
    return 0


def holdout(recipe: Recipe) -> Holdout:
    """How the recipe splits its data."""
    return Holdout(recipe.val, recipe.test, recipe.split_seed, recipe.group_by, recipe.class_order)


def opened(recipe: Recipe) -> Dataset:
    """The data of a recipe in its parts; `split` names a run's split.csv that is made again."""
    dataset = open_dataset(recipe.data, holdout(recipe))
    return resplit(dataset, Path(recipe.split)) if recipe.split else dataset


def preprocessing_of(
    recipe: Recipe, dataset: Dataset, folder: Path | None = None, together: Processes = ALONE
) -> Preprocessing:
    """The preprocessing of a recipe. "pixel-mean" is computed by the first process, once: FOLDER, a run, keeps it."""
    channels, pixel_mean = recipe.network.channels, recipe.normalize == "pixel-mean"
    if not pixel_mean and recipe.normalize not in NORMALIZATIONS:
        raise unknown("normalization", recipe.normalize, [*NORMALIZATIONS, "pixel-mean"])
    mean, std = normalization("none" if pixel_mean else recipe.normalize, channels)
    plain = Preprocessing(recipe.size, channels, recipe.fit, recipe.crop_pct, recipe.interpolation, mean, std)
    if not pixel_mean:
        return plain
    facts = _pixel_mean(plain, dataset.train, folder) if together.first else None
    return replace(plain, **{name: _frozen(value) for name, value in together.share(facts).items()})


def _pixel_mean(plain: Preprocessing, train: Source, folder: Path | None) -> dict[str, Any]:
    """The fields of PLAIN that a mean image changes."""
    kept = folder / PIXEL_MEAN if folder else None
    if kept and kept.exists():
        return json.loads(kept.read_bytes())
    return mean_facts(plain.with_pixel_mean(mean_image(train, plain)))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def start_from(model: Any, weights: str, origin: str) -> list[str]:
    """Load a weights file, or the model of a run or model folder, into MODEL; answers what to tell the user."""
    path = Path(weights)
    if path.is_dir() or path.name == "latest":
        own = bundle.load(model_folder(path))
        return list(fit_weights(model, own.tensors, weights, own.network).notes)
    return list(load_weights(model, path, origin or None).notes)


def new_state(recipe: Recipe, images: int, fresh: bool, device: torch.device = CPU) -> tuple[State, list[str]]:
    """The state before the first update of a run on so many IMAGES, and what to tell the user.

    A run that is not FRESH has a checkpoint to be restored: the weights to start from are not read again. First
    weights are the same on every DEVICE.
    """
    training = recipe.training
    torch.manual_seed(fold(recipe.seed, "init"))
    model = create_model(recipe.network, fan=training.fan, zero_last_scale=training.zero_last_scale)
    notes = start_from(model, recipe.weights, recipe.origin) if recipe.weights and fresh else []
    check_fits(model, recipe.network)
    set_ghost_batch(model, training.ghost_batch)
    if training.active_units:
        check_active(model, training.active_units)
    if training.recompute:
        if not isinstance(model, ResidualNetwork):
            raise UsageError(f"recompute is for residual networks; {name_of(recipe.network)} keeps its activations")
        model.recompute = training.recompute
        free_at_once()
    layout = _LAST if training.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    use_kernels(model, training.kernels)
    return state_of(model, model.classifier_name, training, images), notes


def state_of(model: torch.nn.Module, classifier: str, training: Training, images: int) -> State:
    """The state before the first update of MODEL on so many IMAGES; CLASSIFIER is the name of its last layers."""
    per_epoch = batches_per_epoch(images, training.batch_size)
    schedule = Schedule(training, training.updates or training.epochs * per_epoch, per_epoch)
    average = Average(model, training.ema) if training.ema else None
    return State(model, optimizer(model, classifier, training), schedule, average, per_epoch)


def use_kernels(model: torch.nn.Module, kernels: str) -> None:
    """Compiled kernels are for the CPU; on a card MODEL computes with PyTorch's own whatever the recipe says."""
    compiled = kernels == "compiled" and device_of(model).type == "cpu"
    if compiled and not works():
        raise EnvironmentProblem("the run computes with compiled kernels, and PyTorch cannot compile here: install g++")
    set_compiled(model, compiled)


def check_fits(model: Any, network: AnyNetwork) -> None:
    """Raise UsageError where the network halves its input more often than it can be halved."""
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, network.channels, network.size, network.size))
    except RuntimeError as error:
        what = f"{name_of(network)} cannot take images of {network.size}×{network.size} pixels"
        raise UsageError(f"{what}; choose a larger --size or another --network") from error


def picture_sizes(source: Source) -> list[str]:
    """A line on how large the pictures in files are, from a sample of them; nothing for images in memory."""
    if isinstance(source, Arrays):
        return []
    sizes = sizes_of(source, _LOOKED_AT)
    if not sizes:
        return []
    (small, large), count = ((min(sizes), max(sizes)), len(sizes))
    same = f"{small[0]}×{small[1]}" if small == large else f"{small[0]}×{small[1]} to {large[0]}×{large[1]}"
    return [f"pictures are {same} pixels (of {count} looked at)"]


def imbalance(dataset: Dataset) -> list[str]:
    """A note where the largest class has many times the training pictures of the smallest."""
    told = imbalance_of(dataset.classes, dataset.train.labels)
    return [f"train: {told}"] if told else []


def helpful_workers(source: Source) -> int:
    """None for images in memory; for files one for every second core, given shared memory to hand batches over."""
    if isinstance(source, Arrays):
        return 0
    place = Path("/dev/shm")  # noqa: S108
    if place.is_dir() and shutil.disk_usage(place).free < _LEAST_SHARED_MEMORY:
        log.warning("too little shared memory in %s for workers; pictures are decoded in the main process", place)
        return 0
    return min(8, max(1, len(os.sched_getaffinity(0)) // 2))
