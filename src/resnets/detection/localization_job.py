"""The job of a localization step: crops of pictures, or warped proposals, and the loss on them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.course import Course
from ..data.images import ImageError
from ..data.randomness import uniform
from ..errors import DataError
from ..models.device import device_of
from ..training.distributed import Processes
from ..training.train import ALONE
from .job import SceneBatch
from .localization import Localizer, objects_of, proposal_loss, region_loss
from .localization_recipe import LocalizationRecipe
from .objects import Objects, Scenes
from .rcnn import Target
from .windows import Window, square

_VISIBLE = 0.2  # of a box that must lie in a crop to be learnt there


@dataclass
class Localization:
    """What `train` asks for: crops of pictures for the first two steps, proposals of LOCALIZER for R-CNN.

    Pictures of a batch are inputs (3, S, S) already, boxes are in their pixels; an epoch has one of every picture.
    """

    model: nn.Module
    recipe: LocalizationRecipe
    source: Scenes
    localizer: Localizer
    together: Processes = ALONE

    def __post_init__(self) -> None:
        self.seed, self.device = self.recipe.seed, device_of(self.model)
        self.micro_batch = self.recipe.training.micro_batch
        self.regions: dict[int, Tensor] = {}  # proposals by picture, each made once

    def batches(self, epoch: int, batch: int) -> Iterator[SceneBatch]:
        """Training batches from batch BATCH of epoch EPOCH on, without end."""
        process = (self.together.rank, self.together.size)
        course = Course(self.seed, self.recipe.training.batch_size, (epoch, batch), process=process)
        for keys in course.keys(np.zeros(len(self.source), np.int64)):
            found, bad = dict[int, tuple[Tensor, Target]](), list[tuple[str, str]]()
            for key in keys:
                try:
                    found[key[1]] = self._lesson(*key)
                except ImageError as error:
                    bad.append((self.source.name(key[1]), str(error)))
            if keys and not found:
                raise DataError(f"no picture of a whole batch can be read, such as {bad[0][0]}: {bad[0][1]}")
            images, targets = ([pair[part] for pair in found.values()] for part in (0, 1))
            yield SceneBatch(images, targets, np.array(list(found), np.int64), tuple(bad))  # type: ignore[arg-type]

    def _lesson(self, epoch: int, index: int) -> tuple[Tensor, Target]:
        """What is learnt of a picture in an epoch: an input, and the boxes there."""
        recipe, draws = self.recipe, uniform(self.seed, "crop", epoch, 4 * index + np.arange(4)).tolist()
        pixels, objects, side = self.source.pixels(index), objects_of(self.source, index), self.recipe.size
        if recipe.step == "rcnn":
            window = self._region(index, pixels, objects, draws[0])
            boxes = window.into(torch.from_numpy(objects.boxes))
        else:
            least, most = recipe.scale
            window = square(pixels.shape[1::-1], side, least + int(draws[0] * (most - least + 1)), *draws[1:3])
            boxes = visible(window.into(torch.from_numpy(objects.boxes)), side)
        image = window.of(pixels)
        if recipe.flip and draws[3] < 0.5:
            image, boxes = (
                image[:, ::-1],
                torch.stack((side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]), 1),
            )
        seen = torch.from_numpy(self.localizer.preprocessing.normalise(image))
        return seen, {"boxes": boxes, "labels": torch.from_numpy(objects.labels[:1])}

    def _region(self, index: int, pixels: NDArray[np.uint8], objects: Objects, draw: float) -> Window:
        """One of the proposals of a picture's class, by chance."""
        if index not in self.regions:
            self.regions[index] = self.localizer.proposals(pixels, int(objects.labels[0]))
        regions, side = self.regions[index], self.recipe.size
        left, top, right, bottom = regions[int(draw * len(regions))].tolist()
        return Window((left, top, right, bottom), (side, side))

    def name(self, index: int) -> str:
        """The name of training picture INDEX."""
        return self.source.name(index)

    def prepare(self, epoch: int) -> None:
        """Training mode."""
        self.model.train()

    def loss(self, batch: SceneBatch) -> tuple[Tensor, Tensor]:
        """The loss of the step, and how many inputs it got wrong: the class, or the best box of the class."""
        recipe = self.recipe
        images = torch.stack(batch.images).to(self.device).contiguous(memory_format=torch.channels_last)
        labels = torch.cat([target["labels"] for target in batch.targets]).to(self.device)
        boxes = [target["boxes"].to(self.device) for target in batch.targets]
        with self._precision():
            found = self.model(images)
        if recipe.step == "rpn":
            return proposal_loss(found, labels, boxes, recipe.sampled)
        if recipe.step == "rcnn":
            return region_loss(found, labels, boxes, recipe.size)
        logits = found.float()
        return F.cross_entropy(logits, labels - 1), (logits.detach().argmax(1) != labels - 1).sum()

    def _precision(self) -> AbstractContextManager[object]:
        """Where the recipe says bf16, convolutions and products are computed in it."""
        halves = self.recipe.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if halves else nullcontext()


def visible(boxes: Tensor, side: int) -> Tensor:
    """BOXES (n, 4) cut at the border of a crop of SIDE, without those of which less than a fifth is left."""
    cut = boxes.clamp(0, side)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (cut, boxes)]
    return cut[areas[0] >= _VISIBLE * areas[1]]
