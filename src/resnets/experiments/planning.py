"""From an experiment, data and a budget to runs: which, how long, and what is left out."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..analysis.complexity import complexity
from ..data.cifar import cifar_called
from ..data.course import batches_per_epoch
from ..data.datasets import Holdout, open_dataset
from ..errors import DataError, UsageError, safe_text
from ..evaluation.protocol import protocol
from ..families import name_of
from ..families import network as network_called
from ..plan import is_small, plan
from ..recipe import Recipe, as_json, change
from ..start import holdout
from .experiment import Experiment, Row
from .speed import speed

_USED = 0.85  # of a budget that updates and tests may take; the rest is for saving and what estimates do not see
_TESTS = 0.5  # of that, which the tests at the end of all rows may take
_IMAGENET = 1_281_167  # training images
_MINIATURE = {"updates": 20, "batch_size": 8}  # a run of a miniature


@dataclass(frozen=True)
class Job:
    """One run: a row, a seed, its recipe (of any task), the updates of the whole protocol, and about how long it is.

    pictures: the fingerprint of what trains it, where folders of one name may hold other pictures.
    """

    row: Row
    recipe: Any
    whole: int
    seconds: float
    pictures: str = ""

    @property
    def folder(self) -> str:
        """The name of its run: the same run of any experiment has the same one."""
        facts = json.loads(json.dumps(as_json(self.recipe)))
        facts |= {"seed": 0, "reasons": [], "data": Path(self.recipe.data).name, "pictures": self.pictures}
        facts["training"] |= {"kernels": ""}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{name_of(self.recipe.network)}-{Path(self.recipe.data).name}-{self.recipe.training.updates}"
        return f"{safe_text(name)}-{digest}/seed-{self.recipe.seed}"


@dataclass(frozen=True)
class Schedule:
    """What an experiment does here: its runs, what was left out and why, and what makes it another than the paper's."""

    experiment: Experiment
    jobs: tuple[Job, ...]
    left_out: dict[str, str]
    reasons: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """About how long all of it takes in one process."""
        return sum(job.seconds for job in self.jobs)


@dataclass(frozen=True)
class Wish:
    """What the user wants: his data in place of the paper's, seconds (None: the paper's own length), seeds, updates."""

    data: str = ""
    budget: float | None = None
    seeds: int = 0
    updates: int = 0
    miniature: bool = False


def schedule(experiment: Experiment, wish: Wish, known: Callable[[Recipe], float] = speed) -> Schedule:
    """The runs of EXPERIMENT under a WISH; KNOWN(recipe) answers seconds per image and multiply-add here.

    With a budget every row has one seed and as many updates as fit; rows whose test would take too much of it, the
    costliest first, and rows without data are left out. Raises UsageError where the budget is too small for one update
    of each row, DataError where no row has data.
    """
    asked = [row for row in experiment.rows if row.network]
    if not asked:
        return Schedule(experiment, (), {}, ())
    if experiment.data == "imagenet" and wish.data and is_small(wish.data):
        raise UsageError(f"{experiment.name} is for photographs, {safe_text(wish.data)} holds small images")
    limited = wish.budget is not None or wish.updates or wish.miniature
    seeds = {row.label: wish.seeds or (1 if limited else row.seeds or experiment.seeds) for row in asked}
    recipes = [(row, _recipe(experiment, row, wish)) for row in asked]
    cheapest = min((recipe for _, recipe in recipes), key=_cost)
    recipes, left_out = _with_data(experiment, recipes, max(seeds.values()))
    per = known(cheapest)
    priced = [Priced(row, recipe, *_prices(row, recipe, per)) for row, recipe in recipes]
    priced, costly = _affordable(priced, seeds, wish.budget)
    updates = wish.updates or (_MINIATURE["updates"] if wish.miniature else 0)
    if wish.budget is not None and not wish.updates:
        updates = _fitting(priced, seeds, wish.budget)
    jobs = list[Job]()
    for seed in range(max(seeds[one.row.label] for one in priced)):
        for one in sorted(priced, key=lambda one: _cost(one.recipe)):
            if seed < seeds[one.row.label]:
                jobs.append(_job(one, seed, updates))
    return Schedule(experiment, tuple(jobs), left_out | costly, tuple(_reasons(jobs, wish, experiment)))


@dataclass(frozen=True)
class Priced:
    """A row, its recipe, and the seconds that an update (with its share of the tests after epochs) and the end take."""

    row: Row
    recipe: Recipe
    update: float
    end: float


def _prices(row: Row, recipe: Recipe, per: float) -> tuple[float, float]:
    """What an update of a ROW takes, and what is tested at its end, where PER is seconds an image and multiply-add."""
    train, test, _ = _counts(recipe.data, holdout(recipe))
    update, batch = per * _cost(recipe), recipe.training.batch_size
    once = update / batch * test / 3  # forward only
    between = once if recipe.watch_test else 0.0
    views = protocol(recipe.protocol).views + (protocol(row.protocol).views if row.protocol != recipe.protocol else 0)
    twice = protocol(recipe.protocol).views > 1 or recipe.val != 0.0  # else the last watched test is the one at the end
    return update + between / batches_per_epoch(train, batch), once * views + (between if twice else 0.0)


def _fitting(priced: Sequence[Priced], seeds: Mapping[str, int], budget: float) -> int:
    """The updates of every row that fit into a BUDGET. Raises UsageError where there is none."""
    each = sum(seeds[one.row.label] * one.update for one in priced)
    ends = sum(seeds[one.row.label] * one.end for one in priced)
    if (updates := int((_USED * budget - ends) / each)) < 1:
        raise UsageError(
            f"the budget is too small for one update of {_rows(len(priced))}, which takes about "
            f"{(each + ends) / _USED:.2g} s here with its tests; give more, or fewer rows with --only"
        )
    return updates


def _rows(count: int) -> str:
    return "one row" if count == 1 else f"each of {count} rows"


def _job(one: Priced, seed: int, updates: int) -> Job:
    """The run of a row with the SEED-th seed and so many UPDATES, 0 for all."""
    whole = _length(one.recipe)
    made = _shortened(change(one.recipe, seed=one.recipe.seed + seed), whole, min(updates or whole, whole))
    pictures = _counts(made.data, holdout(made))[2]
    return Job(one.row, made, whole, one.update * (made.training.updates or whole) + one.end, pictures)


def completed(asked: Schedule, wish: Wish, scheduled: Callable[[Wish], Schedule]) -> Schedule:
    """The schedule of a whole experiment by the length that some rows of it have, as ASKED for under WISH.

    Its report has the runs of all rows that are there; the others keep their cost. ASKED itself where another row lacks
    its data.
    """
    if not asked.jobs:
        return asked
    updates = wish.updates if wish.budget is None else asked.jobs[0].recipe.training.updates
    try:
        whole = scheduled(replace(wish, budget=None, updates=updates))
    except DataError:
        return asked
    return replace(whole, left_out=whole.left_out | asked.left_out)


def _recipe(experiment: Experiment, row: Row, wish: Wish) -> Recipe:
    """The recipe of a row on the user's data, which stands for the experiment's own, not for another that a row has."""
    network: Any = network_called(row.network)
    if row.unit:
        network = replace(network, unit=replace(network.unit, **row.unit))
    own = row.data or experiment.data
    data = wish.data if wish.data and own == experiment.data else own
    small = {"batch_size": _MINIATURE["batch_size"]} if wish.miniature else {}
    fast = {} if wish.budget is None and not wish.updates else {"precision": "auto"}
    return plan(data, network, row.recipe or experiment.recipe, **{**fast, **small, **row.changes})


def _counts(data: str, rule: Holdout) -> tuple[int, int, str]:
    """Images for training, and for testing; the fingerprint of the former: counted once wherever data is looked for."""
    return _counted(data, rule, os.environ.get("RESNETS_DATA", ""), Path.cwd())


@cache
def _counted(data: str, rule: Holdout, *_: object) -> tuple[int, int, str]:
    dataset = open_dataset(data, rule)
    return len(dataset.train), len(dataset.test or dataset.val or dataset.train), dataset.train.fingerprint()


def _with_data(
    experiment: Experiment, recipes: list[tuple[Row, Recipe]], seeds: int
) -> tuple[list[tuple[Row, Recipe]], dict[str, str]]:
    """The rows whose data is there, and the others with the reason. Raises DataError where there are no others."""
    kept, left_out = list[tuple[Row, Recipe]](), dict[str, str]()
    for row, recipe in recipes:
        try:
            _counts(recipe.data, holdout(recipe))
            kept.append((row, recipe))
        except (DataError, UsageError) as error:
            left_out[row.label] = str(error)
    if not kept and experiment.data == "imagenet":
        per = speed(min((recipe for _, recipe in recipes), key=_cost))
        days = seeds * per * sum(_cost(recipe) * (recipe.training.updates or 450_000) for _, recipe in recipes) / 86400
        raise DataError(
            f"{experiment.name} needs ImageNet: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit "
            "from image-net.org, unpack them as train/CLASS/*.JPEG and val/, and give --data DIR. The whole would take "
            f"about {days:,.0f} days here; --miniature runs every row on 100 photographs"
        )
    if not kept:
        raise DataError(next(iter(left_out.values())))
    return kept, left_out


def _cost(recipe: Recipe) -> float:
    """Multiply-adds of one update's images, forward."""
    return recipe.training.batch_size * complexity(replace(recipe.network, size=recipe.size)).multiply_adds


def _affordable(
    priced: list[Priced], seeds: Mapping[str, int], budget: float | None
) -> tuple[list[Priced], dict[str, str]]:
    """The rows whose tests a budget allows, cheapest first, and the others with the reason; at least one is kept."""
    if budget is None:
        return priced, {}
    kept, left_out, ends, updates = list[Priced](), dict[str, str](), 0.0, 0.0
    for one in sorted(priced, key=lambda one: one.end):
        ends += seeds[one.row.label] * one.end
        updates += seeds[one.row.label] * one.update
        if kept and (ends > _TESTS * _USED * budget or ends + updates > _USED * budget):
            left_out[one.row.label] = f"its test alone takes about {one.end:.0f} s here"
        else:
            kept.append(one)
    return [one for one in priced if one in kept], left_out


def _length(recipe: Recipe) -> int:
    """Updates of the paper's own protocol."""
    training = recipe.training
    return training.updates or training.epochs * batches_per_epoch(
        _counts(recipe.data, holdout(recipe))[0], training.batch_size
    )


def _shortened(recipe: Recipe, whole: int, updates: int) -> Recipe:
    """RECIPE with so many UPDATES in place of WHOLE; what stands at an update moves with the length.

    A warm-up keeps its own, for deep nets do not begin at the full rate whatever follows, or has half of the run.
    """
    training = recipe.training
    if updates == whole:
        return recipe
    marks = [m / whole for m in training.milestones] or [m / training.epochs for m in training.milestone_epochs]
    return change(
        recipe, updates=updates, epochs=0, milestones=tuple(max(1, round(mark * updates)) for mark in marks),
        milestone_epochs=(), warmup_updates=min(training.warmup_updates, max(1, updates // 2)),
    )  # fmt: skip


def _reasons(jobs: Sequence[Job], wish: Wish, experiment: Experiment) -> list[str]:
    """Why the figures are not the paper's protocol."""
    found, first = list[str](), jobs[0]
    updates = first.recipe.training.updates
    if wish.miniature:
        found.append(f"a miniature: the same few photographs for training and testing, {updates} updates of 8")
    elif updates and updates < first.whole:
        found.append(f"{updates:,} of {first.whole:,} updates")
    if wish.data and not is_papers(wish.data, experiment.data) and not wish.miniature:
        found.append(f"{safe_text(Path(wish.data).name)} in place of {experiment.data}")
    if first.recipe.training.precision == "auto":
        found.append("in bf16 where that is faster, the paper's own in fp32")
    return found


def is_papers(data: str, name: str) -> bool:
    """Whether DATA, a name or a folder, is the papers' data set called NAME."""
    if data == name or not Path(data).is_dir():
        return data == name
    if name == "imagenet":
        return _counts(data, Holdout())[0] == _IMAGENET
    return cifar_called(Path(data)) == name
