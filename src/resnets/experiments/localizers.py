"""From a table of localization to runs and figures; the same steps as `planning` and `running` take."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..analysis.complexity import complexity
from ..detection.datasets import open_detection
from ..detection.localization_recipe import RECIPES, LocalizationRecipe, LocalizationResult, resized, steps
from ..errors import DataError, UsageError, safe_text
from ..families import name_of
from ..families import network as network_called
from ..recipe import as_json
from ..record import read_result
from .experiment import Experiment, LocalizationRow
from .planning import Job, Schedule, Wish
from .running import Outcome, diverged
from .speed import speed

_USED = 0.5  # of a budget that updates may take; the rest is for tests
_UPDATES, _SIZE, _PROPOSALS, _PICTURES = 2, 64, 4, 4  # of a miniature


@dataclass(frozen=True)
class StepJob(Job):
    """A step of a localization; all steps of one lie side by side."""

    @property
    def folder(self) -> str:
        """Where the step's run lies."""
        facts = json.loads(json.dumps(as_json(replace(self.recipe, step="class", weights="", seed=0))))
        facts["data"] = Path(self.recipe.data).name
        facts["training"] = {"updates": self.recipe.training.updates, "batch_size": self.recipe.training.batch_size}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{name_of(self.recipe.network)}-{Path(self.recipe.data).name}-localize"
        return f"{safe_text(name)}-{digest}/seed-{self.recipe.seed}/{self.recipe.step}"


def schedule(experiment: Experiment, wish: Wish, known: Callable[[Any], float] = speed) -> Schedule:
    """The steps of every network of a localization EXPERIMENT under a WISH. Raises DataError without its data."""
    jobs = list[Job]()
    rows = {row.network: row for row in experiment.rows if row.network}
    for network, row in rows.items():
        made = _recipe(experiment, network, wish)
        pictures = _pictures(experiment, made)
        whole = made.training.updates or made.training.epochs * max(1, pictures // made.training.batch_size)
        cost = complexity(replace(made.network, size=made.size)).multiply_adds * made.training.batch_size
        per = known(made) * cost
        updates = wish.updates or (_UPDATES if wish.miniature else whole)
        if wish.budget is not None:
            updates = int(_USED * wish.budget / (3 * per * len(rows)))
        if updates < 1:
            raise UsageError("the budget is too small for one update of each step; give more")
        updates = min(updates, whole)
        short = replace(made, training=replace(made.training, updates=updates, epochs=0))
        jobs += [StepJob(row, step, whole, per * updates) for step in steps(short)]
    reasons = list[str]()
    if wish.miniature:
        updates = jobs[0].recipe.training.updates
        reasons.append(
            f"a miniature: {safe_text(Path(wish.data).name)}, three steps of {updates} updates from scratch, crops of "
            f"{_SIZE}, {_PROPOSALS} proposals, {_PICTURES} test pictures"
        )
    elif jobs and jobs[0].recipe.training.updates and jobs[0].recipe.training.updates < jobs[0].whole:
        reasons.append(f"{jobs[0].recipe.training.updates:,} of {jobs[0].whole:,} updates a step")
    return Schedule(experiment, tuple(jobs), {}, tuple(reasons))


def _recipe(experiment: Experiment, network: str, wish: Wish) -> LocalizationRecipe:
    made = RECIPES[experiment.recipe](network_called(network), wish.data or experiment.data)
    if not wish.miniature:
        return made
    training = replace(made.training, batch_size=2, precision="auto")
    return replace(
        resized(made, _SIZE), proposals=_PROPOSALS, test_images=_PICTURES, training=training, val_every=10**6
    )


def _pictures(experiment: Experiment, made: LocalizationRecipe) -> int:
    try:
        return len(open_detection(made.data).train)
    except (DataError, UsageError) as error:
        what = f"{experiment.name} needs ImageNet's localization data in VOC's layout: {error}"
        raise DataError(f"{what}; --miniature runs every row in small") from error


def outcomes(planned: Schedule, out: Path) -> list[Outcome]:
    """The outcome of every row: errors in percent of the steps' tests."""
    found = [Outcome(row) for row in planned.experiment.rows]
    for outcome in found:
        row = outcome.row
        assert isinstance(row, LocalizationRow)
        jobs = [job for job in planned.jobs if job.recipe.network == network_of(row)]
        results = [read_result(out / job.folder, LocalizationResult) for job in jobs]
        done = [result for result in results if result]
        outcome.diverged = next(filter(None, (diverged(job, out) for job in jobs)), "")
        if len(done) < max(len(jobs), 1):
            continue
        named = {name: figure for result in done for name, figure in result.figures.items()}
        outcome.figures = {name: [named[own]["error"]] for name, own in row.figures.items() if own in named}
        outcome.runs, outcome.seconds = [done[-1].path], sum(result.seconds for result in done)
        outcome.updates, outcome.whole = done[-1].updates, jobs[-1].whole
    return found


def network_of(row: LocalizationRow) -> Any:
    """The network of a row; None where it has none."""
    return network_called(row.network) if row.network else None
