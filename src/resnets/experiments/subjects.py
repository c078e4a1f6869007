"""Trained networks that an analysis looks at: finished runs, and published weights where they are at hand."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import bundle
from ..analysis.sample import drawn
from ..errors import DataError, UsageError, WeightsError
from ..recipe import Recipe
from ..record import model_folder, read_recipe, read_result
from ..start import opened
from ..testing import ForeignModel, Test, prepared
from .running import Outcome

IMAGES = 1000  # of a sample of the test images
# Weights of akamaster/pytorch_resnet_cifar10, in RESNETS_DATA/weights.
_PUBLISHED = {"cifar_resnet20": "resnet20-12fca82f.th", "cifar_resnet32": "resnet32-d509ac18.th"}


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with its weights, and a sample of test images as it sees them."""

    label: str
    model: Any
    batches: list[Any]
    trained: str


def subjects(runs: Sequence[tuple[str, Path]], images: int = IMAGES) -> tuple[list[Subject], tuple[str, ...]]:
    """The networks of RUNS (label, folder) and the published ones, and why others of RUNS cannot be looked at.

    Raises DataError where there are none.
    """
    found, left_out = list[Subject](), list[str]()
    for label, run in runs:
        try:
            found.append(_of_run(label, run, images))
        except (DataError, UsageError, WeightsError) as error:  # its data has moved, or a file is damaged
            left_out.append(f"{label} is left out: {error}")
    found += _published(images)
    if not found:
        raise DataError(
            "there is no trained network to look at: set RESNETS_DATA to a folder with weights/ and CIFAR-10, or run "
            "figure-6 first, with the same --out"
        )
    return found, tuple(left_out)


def runs_of(found: Sequence[Outcome]) -> list[tuple[str, Path]]:
    """The first run of every row that was run."""
    return [(outcome.row.label, outcome.runs[0]) for outcome in found if outcome.runs]


def finished(out: Path) -> list[tuple[str, Path]]:
    """Every classifier's run with the first seed below OUT that has a result, each under a label of its own."""
    found = dict[str, Path]()
    for run in sorted(out.glob("*/seed-0")):
        if not (run / "recipe.json").is_file():  # a localizer's, whose three steps are runs inside
            continue
        if not isinstance(read_recipe(run, object), Recipe) or not (result := read_result(run)):
            continue
        label = f"{result.network} on {Path(result.data).name}, {result.updates:,} updates"
        found[f"{label} ({run.parent.name[-10:]})" if label in found else label] = run
    return list(found.items())


def _of_run(label: str, run: Path, images: int) -> Subject:
    made, recipe = bundle.load(model_folder(run)), read_recipe(run)
    dataset = opened(recipe)
    batches = drawn(dataset.test or dataset.val or dataset.train, made.preprocessing, images)
    return Subject(label, made.model(), batches, f"{recipe.training.updates:,} updates")


def _published(images: int) -> Iterator[Subject]:
    root = Path(os.environ.get("RESNETS_DATA", ""))
    for name, file in _PUBLISHED.items():
        if (root / "weights" / file).is_file():
            model = ForeignModel(name, str(root / "weights" / file))
            trial = prepared([model], str(root), Test())
            made = trial.bundles[0]
            batches = drawn(trial.source, made.preprocessing, images)
            yield Subject(f"{name}, published weights", made.model(), batches, "to the end, by akamaster")
