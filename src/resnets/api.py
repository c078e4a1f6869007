"""The same in Python as on the command line: train, resume, load, evaluate."""

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from . import bundle, files
from .analysis import lr
from .bundle import Classifier
from .classification import Classification
from .data.datasets import Dataset
from .detection.result import DetectionResult
from .errors import EnvironmentProblem, NumericError, UsageError, safe_text
from .families import name_of
from .models.device import CPU, device_called
from .plan import plan
from .recipe import Recipe, change
from .record import Result, Seeds, model_folder, read_recipe, resolve
from .report import detector as detector_page
from .report import page
from .report.tables import seeds_summary
from .run import Event, events
from .start import Machine, fit_network, helpful_workers, new_state, opened, preprocessing_of, settled, threads
from .testing import ForeignModel, Tested, ensembles, evaluate
from .training.distributed import processes
from .training.train import State
from .training.train import train as train_steps

__all__ = [
    "ForeignModel", "Tested", "ensembles", "evaluate", "learning_rates", "load", "moments", "plan", "resume", "resumed",
    "run_folder", "seeded", "train",
]  # fmt: skip
_DIVERGED = 4  # times the smallest loss
_SEEDS = re.compile(r"seed-\d+|seeds\.json|comparison\.html|\.tmp-.*")
_FEWEST = 5  # updates that say something


def run_folder(recipe: Recipe, out: str | Path | None = None) -> Path:
    """OUT, or a new folder for a run: runs/<date>-<time>-<network>-<data>."""
    return Path(out) if out is not None else new_folder(f"{name_of(recipe.network)}-{Path(recipe.data).resolve().stem}")


def new_folder(what: str) -> Path:
    """A new folder for a run: runs/<date>-<time>-WHAT, with a number where two begin at once."""
    together = processes()
    return Path(together.share(str(_made(what)) if together.first else ""))


def _made(what: str) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{what}"
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise EnvironmentProblem(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    raise AssertionError


def train(
    data: str, *, out: str | Path | None = None, workers: int | None = None, seeds: int = 1, **choices: Any
) -> Result | Seeds:
    """Train a network on DATA, test it and keep it in OUT (default: a new folder below runs/).

    seeds: so many runs, in OUT/seed-N, and their summary. choices: `network`, `recipe`, and any field of the recipe,
    such as epochs=5 or lr=0.1. A folder that holds the same run goes on where it stopped.
    """
    recipe = plan(str(data), out=Path(out) if out else None, **choices)
    folder = run_folder(recipe, out)
    run = followed(recipe, folder, workers) if seeds == 1 else seeded(recipe, folder, seeds, workers)
    *_, result = run
    assert isinstance(result, Result | Seeds)
    return result


def resume(run: str | Path, *, workers: int | None = None) -> Result:
    """Go on with a run where its last checkpoint is. Raises UsageError for a folder that is no run."""
    folder = resolve(run)
    *_, result = followed(read_recipe(folder), folder, workers)
    assert isinstance(result, Result)
    return result


def resumed(run: str | Path, workers: int | None = None) -> Iterator[Any]:
    """`resume`, event by event, of a run of any task."""
    folder = resolve(run)
    return followed(read_recipe(folder, object), folder, workers)


def followed(recipe: Any, folder: Path, workers: int | None = None) -> Iterator[Any]:
    """`run.events` of a recipe of any task, and report.html once there is a result."""
    for event in events(recipe, folder, Machine(workers)):
        new = processes().first and not (folder / "report.html").exists()
        if isinstance(event, Result) and new:
            page.write(folder, event)
            if event.evaluation:
                page.write_evaluation(folder / event.evaluation)
        elif isinstance(event, DetectionResult) and new:
            detector_page.write(folder, event)
        yield event


def seeded(recipe: Recipe, folder: Path, count: int, workers: int | None = None) -> Iterator[Event | Seeds]:
    """COUNT runs that differ in their seed, in FOLDER/seed-N; last their summary, which is FOLDER/seeds.json too."""
    if folder.is_dir():
        others = [entry.name for entry in folder.iterdir() if not _SEEDS.fullmatch(entry.name)]
        if others:
            few = ", ".join(map(safe_text, sorted(others)[:3]))
            raise UsageError(f"{safe_text(str(folder))} holds other things than seeds ({few}); choose another --out")
    results: list[Result] = []
    for seed in range(recipe.seed, recipe.seed + count):
        alike = settled(recipe, folder / f"seed-{recipe.seed}")  # as the first seed's run found this machine
        for event in followed(replace(alike, seed=seed), folder / f"seed-{seed}", workers):
            yield event
            if isinstance(event, Result):
                results.append(event)
    errors = [error for r in results if (error := r.val_error if r.test_error is None else r.test_error) is not None]
    figures = seeds_summary(errors) if errors else dict.fromkeys(("best", "median", "mean", "deviation"))
    summary = Seeds(tuple(r.run for r in results), tuple(errors), **figures)
    if processes().first:
        files.write_json(folder / "seeds.json", asdict(summary))
    yield summary


@dataclass(frozen=True)
class LearningRates:
    """A range test: the loss of an update at each rate, what follows from it, and the rate of the recipe."""

    rates: list[float]
    losses: list[float]
    suggestion: lr.Suggestion
    recipe_rate: float

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets analyze lr --json` documents."""
        return {**asdict(self.suggestion), "recipe": self.recipe_rate, "rates": self.rates, "losses": self.losses}


def learning_rates(
    data: str, *, updates: int = 100, span: tuple[float, float] = (1e-4, 10.0), **choices: Any
) -> LearningRates:
    """Train for so many UPDATES while the rate rises over SPAN, until the loss diverges (arXiv:1506.01186).

    choices: as `train` takes them. Nothing is kept.
    """
    recipe = plan(str(data), **choices)
    flat = {"schedule": "constant", "warmup": "none", "updates": updates, "ema": 0.0, "precision": "fp32"}
    job, state = _begun(change(recipe, **flat), opened(recipe), CPU)
    trial = job.recipe
    rates, losses = lr.rates(*span, updates), list[float]()
    state.schedule.training = replace(trial.training, lr=rates[0])
    with threads(trial), suppress(NumericError):
        for step in train_steps(job, state):
            losses.append(step.loss)
            if len(losses) == updates or step.loss > _DIVERGED * min(losses):
                break
            state.schedule.training = replace(trial.training, lr=rates[len(losses)])
    if len(losses) < _FEWEST:
        raise NumericError(f"the loss diverged after {len(losses)} updates; give a smaller --low than {span[0]:g}")
    tried = rates[: len(losses)]
    return LearningRates(tried, losses, lr.suggest(tried, losses), recipe.training.lr)


@dataclass(frozen=True, eq=False)
class Moment:
    """A training after so many updates: its job with the model, and the name of its data."""

    update: int
    job: Classification
    data: str


def moments(data: str, at: Sequence[int] = (0,), *, device: str = "auto", **choices: Any) -> Iterator[Moment]:
    """The model of a training on DATA after each of the updates AT, 0 before the first, in fp32.

    choices: as `train` takes them. Nothing is kept, and what looks at the model leaves it as it was. Raises UsageError
    where AT is below 0 or beyond the recipe's end, NumericError where the loss diverges.
    """
    if not at or min(at) < 0:
        raise UsageError("at takes numbers of updates, 0 or more")
    recipe = change(plan(str(data), **choices), precision="fp32")
    dataset, waiting = opened(recipe), sorted(set(at))
    job, state = _begun(recipe, dataset, device_called(device))
    if waiting[-1] > state.schedule.total:
        raise UsageError(f"the recipe ends after {state.schedule.total:,} updates; {waiting[-1]:,} are too many")
    if waiting[0] == 0:
        yield Moment(waiting.pop(0), job, dataset.name)
    with threads(job.recipe):
        for step in train_steps(job, state) if waiting else ():
            if step.update == waiting[0]:
                yield Moment(waiting.pop(0), job, dataset.name)
            if not waiting:
                return


def _begun(recipe: Recipe, dataset: Dataset, device: torch.device) -> tuple[Classification, State]:
    """The job of RECIPE on DATASET, and its state before the first update."""
    recipe = fit_network(recipe, dataset)
    state, _ = new_state(recipe, len(dataset.train), fresh=True, device=device)
    seen, helpers = preprocessing_of(recipe, dataset), helpful_workers(dataset.train)
    return Classification(state.model, recipe, dataset.train, seen, dataset.classes, helpers), state


def load(model: str | Path | ForeignModel, device: str = "auto") -> Classifier:
    """The model in a run folder, a model folder or a weights file of others, ready to predict on DEVICE.

    Classes of the last have numbers for names. Raises WeightsError.
    """
    made = model.bundle() if isinstance(model, ForeignModel) else bundle.load(model_folder(model))
    return Classifier(made, device)
