"""Run folders as training leaves them, made without training."""

import numpy as np
import torch

from resnets import files
from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays
from resnets.evaluation.evaluate import Evaluation
from resnets.evaluation.records import Answers, write
from resnets.evaluation.scoring import Scores
from resnets.families import network
from resnets.recipe import as_json, change
from resnets.recipes import recipe
from resnets.record import Result

CLASSES = ("apple", "pear", "plum")
SEEN = Preprocessing(4, 1, crop_pct=1.0, mean=(0.0,), std=(1.0,))
TEMPERATURE = 1.7


class Named(Arrays):
    """Pictures in memory with names as files have them."""

    names: tuple[str, ...] = ()

    def name(self, index):
        """The name of picture INDEX."""
        return self.names[index % len(self.names)] if self.names else super().name(index)


def keep_test(folder, classes=CLASSES, names=(), facts=None, seen=SEEN):
    """A test of 12 pictures, picture i of class i mod 3; 0, 4 and 8 right, the others wrong, some equally sure."""
    labels = torch.arange(12) % len(classes)
    guess = torch.where(torch.arange(12) % 4 == 0, labels, (labels + 1) % len(classes))
    sure = torch.tensor([1.0, 3, 2, 3, 1, 5, 1, 1, 1, 4, 4, 1])
    scores = torch.nn.functional.one_hot(guess, len(classes)) * sure[:, None] * TEMPERATURE
    pixels = (np.arange(12)[:, None, None, None] * 20 * np.ones((1, 4, 4, 1))).astype(np.uint8)
    source = Named(pixels, labels.numpy(), "fruit")
    object.__setattr__(source, "names", tuple(names))
    evaluation = Evaluation(tuple(classes), Scores(torch.arange(12), labels, scores), temperature=TEMPERATURE)
    answers = Answers(source, tuple(classes), seen)
    write(folder, evaluation, answers, facts or {"model": "best", "part": "test"})
    return source


def keep_run(folder, classes=CLASSES, names=(), seed=0, error=75.0, **changes):
    """A finished run of three epochs with one test; answers its result."""
    base = change(recipe("quick", network("cifar_resnet8"), "fruit"), seed=seed, **changes)
    files.write_json(folder / "recipe.json", as_json(base) | {"reasons": ["lr: because the batch is small"]})
    files.write_json(folder / "environment.json", {"resnets": "0.1.0", "torch": "2", "command": "resnets train"})
    log = files.Log(folder / "log.jsonl")
    for epoch in range(3):
        log.write({"update": epoch + 1, "epoch": epoch, "loss": 1.0, "mistakes": 3, "images": 8, "rate": 0.1})
        figures = {"train_error": 50.0 - epoch, "train_loss": 2.0 / (epoch + 1), "val_error": 60.0, "val_loss": 1.0}
        log.write({"update": epoch + 1, "epoch": epoch, **figures, "watched_test_error": 55.0})
    parts = {"train": [40] + [2] * (len(classes) - 1), "val": [1] * len(classes), "test": [1] * len(classes)}
    data = {"name": "fruit", "split": "a seeded split", "classes": classes, "parts": parts, "notes": ["a pear is odd"]}
    files.write_json(folder / "data.json", data)
    files.write_file(folder / "bad_images.txt", b"x.jpg: truncated\n")
    keep_test(folder / "evaluations/fruit-1-crop", classes, names)
    worst = {"class": classes[0], "images": 4, "mistakes": 3, "recall": 25.0, "precision": 20.0}
    result = Result(
        run=folder.name, network="cifar_resnet8", data="fruit", recipe="quick", seed=seed, updates=3, epochs=3,
        model="best", val_error=60.0, test_error=error, test_images=12, test_mistakes=9, worst_class=worst, bad_files=1,
        seconds=61.4, images_per_second=12.0, evaluation="evaluations/fruit-1-crop",
    )  # fmt: skip
    files.write_json(folder / "result.json", vars(result))
    return result
