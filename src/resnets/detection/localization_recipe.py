"""Localization as values (he2015 appendix C): its three steps, how they are tested, what each came to. No torch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..recipe import Training
from ..spec import AnyNetwork

Steps = Literal["class", "rpn", "rcnn"]


@dataclass(frozen=True)
class Row:
    """A way to test: a row of he2015 table 13.

    method: what gives the box; "classification" has none and counts wrong classes alone. testing: the "1-crop" in the
    middle, or "dense": the whole picture at every scale, averaged for classes, the best for boxes. guesses: classes
    that are guessed, of which the best counts; 0 is the "GT class" column: the right class is given.
    """

    method: Literal["classification", "RPN", "RPN+RCNN"]
    testing: Literal["1-crop", "dense"]
    guesses: int = 0

    @property
    def name(self) -> str:
        """For a person: "RPN, dense, GT class"."""
        return f"{self.method}, {self.testing}, {f'top {self.guesses}' if self.guesses else 'GT class'}"


# What each step is tested by; the first row is also that of validation.
ROWS: dict[Steps, tuple[Row, ...]] = {
    "class": (Row("classification", "dense", 1),),
    "rpn": (
        Row("RPN", "dense"), Row("RPN", "1-crop"), Row("RPN", "dense", 5), Row("classification", "dense", 5),
    ),
    "rcnn": (Row("RPN+RCNN", "dense"), Row("RPN+RCNN", "dense", 5)),
}  # fmt: skip


@dataclass(frozen=True)
class LocalizationRecipe:
    """Everything that decides the result of one step but the machine.

    step: "class" learns to classify, "rpn" a per-class RPN, "rcnn" the original R-CNN on its proposals; the last two
    begin with `weights`: "class", the step beside them, or a weights file (of `origin`), run or model folder.
    size: side of the crops, the network's input. scale: shorter side of a training picture, at random between the two.
    tested: shorter sides in testing, the first that of the 1-crop. anchors: sides in pixels of the input, each in three
    ratios; sampled: so many of an image learn, half of them positive. proposals: of a class in a picture, best first,
    after suppression at an IoU of nms (1: none). fine: what the last two steps have of the first one's rate. val_every:
    epochs from one test on validation data to the next. test_images: the first so many pictures of validation and
    test parts, 0 for all.
    """

    name: str
    network: AnyNetwork
    data: str
    step: Steps = "class"
    seed: int = 0
    size: int = 224
    scale: tuple[int, int] = (256, 480)
    tested: tuple[int, ...] = (256,)
    anchors: tuple[int, ...] = (64, 128, 224)
    sampled: int = 8
    proposals: int = 200
    nms: float = 1.0
    flip: bool = True
    normalize: str = "imagenet"
    max_bad: float = 0.01
    test_images: int = 0
    val_every: int = 1
    weights: str = ""
    origin: str = ""
    fine: float = 0.1
    training: Training = field(default_factory=Training)


def imagenet_2015(network: AnyNetwork, data: str) -> LocalizationRecipe:
    """He2015 appendix C: crops of 224, 256 images, 8 anchors each, 200 proposals; rates and lengths are ours."""
    training = Training(epochs=90, batch_size=256, schedule="steps", milestone_epochs=(30, 60))
    return LocalizationRecipe("imagenet-2015", network, data, training=training)


def quick(network: AnyNetwork, data: str) -> LocalizationRecipe:
    """From scratch on a CPU in minutes: crops of 40, few proposals that differ, one-cycle, Muon, averaged weights."""
    training = Training(
        epochs=12, batch_size=32, optimizer="muon", lr=0.2, momentum=0.8, nesterov=True, weight_decay=5e-4,
        decay="no-norm-bias", ema=0.99, precision="auto",
    )  # fmt: skip
    return LocalizationRecipe(
        "quick", network, data, size=40, scale=(40, 54), tested=(46,), anchors=(12, 20, 34), sampled=16, proposals=8,
        nms=0.7, flip=False, val_every=4, fine=0.3, training=training,
    )  # fmt: skip


RECIPES: dict[str, Callable[[AnyNetwork, str], LocalizationRecipe]] = {
    "quick": quick,
    "imagenet-2015": imagenet_2015,
}


def resized(made: LocalizationRecipe, size: int) -> LocalizationRecipe:
    """The same for crops of another side, with scales and anchors in proportion."""
    sides = {
        name: tuple(round(side * size / made.size) for side in getattr(made, name))
        for name in ("scale", "tested", "anchors")
    }
    return replace(made, size=size, **sides)  # type: ignore[arg-type]


def steps(made: LocalizationRecipe) -> tuple[LocalizationRecipe, ...]:
    """The runs that localization takes, one after the other; the first is left out where MADE names weights."""
    first = made.training
    training = replace(first, lr=first.lr * made.fine, muon_lr=first.muon_lr * made.fine)
    rpn = replace(made, step="rpn", weights=made.weights or "class", training=training)
    return (*(() if made.weights else (made,)), rpn, replace(rpn, step="rcnn"))


@dataclass(frozen=True)
class LocalizationResult:
    """What a step came to. val_error: percent of validation pictures on which its first row is wrong.

    figures: of the pictures of `part`, by name of the row: "images", "wrong", and "error", their ratio in percent.
    model: "best" (chosen on validation data) or "last". seconds: over all sittings.
    """

    run: str
    network: str
    data: str
    recipe: str
    step: Steps
    seed: int
    updates: int
    epochs: int
    model: str
    val_error: float | None
    part: str
    figures: dict[str, dict[str, Any]]
    bad_files: int
    seconds: float
    task: str = "localization"

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.run)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {row['error']:.2f} %" for name, row in self.figures.items()) or "not tested"
        return f"{self.step} of {self.network} on {self.data}: {told} after {self.updates} updates in {self.run}"
