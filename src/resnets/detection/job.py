"""The job of detection: the losses of Faster R-CNN on batches of pictures with boxes."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.course import Course, spans
from ..data.images import ImageError
from ..data.randomness import uniform
from ..errors import DataError
from ..models.device import device_of, moved
from ..training.distributed import Processes
from ..training.train import ALONE
from .backbones import early
from .detect import detect, tensor_of
from .objects import Detections, Objects, Scenes
from .rcnn import DetectorNetwork, Target
from .recipe import DetectionRecipe


@dataclass(frozen=True)
class SceneBatch:
    """Pictures (3, H, W) float32 in 0 … 1 of any sizes, what is on them, the samples' indices, what cannot be read."""

    images: list[Tensor]
    targets: list[Target]
    indices: NDArray[np.int64]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, images: int) -> list["SceneBatch"]:
        """The batch in parts of so many pictures, 0: whole."""
        parts = spans(len(self), images)
        if len(parts) < 2:
            return [self] if len(self) else []
        return [SceneBatch(self.images[a:b], self.targets[a:b], self.indices[a:b]) for a, b in parts]


@dataclass
class Detection:
    """What `train` asks for, and `found` for the same model; in training `proposer` proposes where there is one."""

    model: DetectorNetwork
    recipe: DetectionRecipe
    source: Scenes
    together: Processes = ALONE
    proposer: DetectorNetwork | None = None
    bad: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seed, self.device = self.recipe.seed, device_of(self.model)

    def batches(self, epoch: int, batch: int) -> Iterator[SceneBatch]:
        """Training batches from batch BATCH of epoch EPOCH on, without end."""
        process = (self.together.rank, self.together.size)
        course = Course(self.seed, self.recipe.training.batch_size, (epoch, batch), process=process)
        for keys in course.keys(np.zeros(len(self.source), np.int64)):
            yield self._batch(keys)

    def _batch(self, keys: list[tuple[int, int]]) -> SceneBatch:
        images, targets, indices, bad = list[Tensor](), list[Target](), list[int](), list[tuple[str, str]]()
        for epoch, index in keys:
            try:
                pixels, objects = self._scene(index)
            except ImageError as error:
                bad.append((self.source.name(index), str(error)))
                continue
            for axis, wanted, key in ((1, self.recipe.flip, "flip"), (0, self.recipe.upside_down, "over")):
                if wanted and uniform(self.seed, key, epoch, np.array([index]))[0] < 0.5:
                    pixels, objects = mirrored(pixels, objects, axis)
            images.append(tensor_of(pixels))
            targets.append(target_of(objects, self.recipe))
            indices.append(index)
        if keys and not images:
            raise DataError(f"no picture of a whole batch can be read, such as {bad[0][0]}: {bad[0][1]}")
        return SceneBatch(images, targets, np.array(indices, dtype=np.int64), tuple(bad))

    def _scene(self, index: int) -> tuple[NDArray[np.uint8], Objects]:
        pixels = self.source.pixels(index)  # whose size is now known to be true
        return pixels, self.source.objects(index, masks=self.recipe.detector.masks).unpacked

    def name(self, index: int) -> str:
        """The name of training picture INDEX."""
        return self.source.name(index)

    def prepare(self, epoch: int) -> None:
        """Training mode; frozen BN and frozen layers stay as they are, all shared layers where they are fixed."""
        self.model.train()
        body = self.model.body
        for module in body.shared() if self.recipe.fixed else early(body, self.recipe.freeze):
            module.eval()
            module.requires_grad_(False)

    @property
    def micro_batch(self) -> int:
        """How many pictures pass the network together; 0 for all of a batch."""
        return self.recipe.training.micro_batch

    def loss(self, batch: SceneBatch) -> tuple[Tensor, Tensor]:
        """The sum of the losses, and in how many of the pictures a box was called something else."""
        recipe = self.recipe
        proposals = self._proposed(batch) if self.proposer else None
        images = [moved(image, self.device) for image in batch.images]
        targets = [{name: moved(value, self.device) for name, value in each.items()} for each in batch.targets]
        with self._precision():
            losses = self.model(images, targets, recipe.scales, recipe.longest, recipe.learns, proposals)
        wrong = losses.pop("wrong")
        return torch.stack(list(losses.values())).sum(), wrong

    def _precision(self) -> AbstractContextManager[object]:
        """Where the recipe says bf16, convolutions and products are computed in it."""
        halves = self.recipe.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if halves else nullcontext()

    @torch.inference_mode()
    def _proposed(self, batch: SceneBatch) -> list[Tensor]:
        """The proposals of the network that was trained to propose: as many as learn from, not as many as test."""
        assert self.proposer is not None
        testing, model = self.recipe.testing, self.proposer.eval()
        images = [moved(image, self.device) for image in batch.images]
        views = [model.view(image, testing.scale, testing.longest) for image in images]
        return [model.propose(view).clone() for view in views]

    def found(self, models: Sequence[DetectorNetwork], part: Scenes) -> Iterator[Detections]:
        """What MODELS find on every picture of PART, in its order, masks packed; nothing where it cannot be read."""
        with self._precision():
            for index in range(len(part)):
                try:
                    pixels = part.pixels(index)
                except ImageError as error:
                    self.bad[part.name(index)] = str(error)
                    yield nothing(part.size(index), self.recipe.detector.masks)
                    continue
                yield detect(models, moved(tensor_of(pixels), self.device), self.recipe.testing).light


def target_of(objects: Objects, recipe: DetectionRecipe) -> Target:
    """What is learnt of a picture: no crowds, and difficult objects where the recipe says so."""
    kept = ~objects.crowd if recipe.difficult else ~objects.crowd & ~objects.difficult
    target = {"boxes": torch.from_numpy(objects.boxes[kept]), "labels": torch.from_numpy(objects.labels[kept])}
    if recipe.detector.masks:
        assert objects.masks is not None
        target["masks"] = torch.from_numpy(np.ascontiguousarray(objects.masks[kept], np.uint8))
    return target


def mirrored(pixels: NDArray[np.uint8], objects: Objects, axis: int = 1) -> tuple[NDArray[np.uint8], Objects]:
    """A picture (H, W, channels) and its objects, left and right exchanged, or with AXIS 0 top and bottom."""
    boxes, first = objects.boxes.copy(), 1 - axis
    boxes[:, first::2] = pixels.shape[axis] - objects.boxes[:, first::2][:, ::-1]
    masks = None if objects.masks is None else np.flip(np.asarray(objects.masks), axis + 1)
    return np.flip(pixels, axis), replace(objects, boxes=boxes, masks=masks)


def nothing(size: tuple[int, int], masks: bool) -> Detections:
    """No detections on a picture of (width, height)."""
    none = np.zeros((0, size[1], size[0]), np.uint8) if masks else None
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), none)
