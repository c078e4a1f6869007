"""From a table of detection to runs and figures; the same steps as `planning` and `running` take for classification."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..analysis.complexity import complexity
from ..detection.datasets import open_detection
from ..detection.recipe import DetectionRecipe, Inference, Regions
from ..detection.recipe import recipe as recipe_called
from ..detection.result import DetectionResult
from ..detector import evaluated
from ..errors import DataError, UsageError, safe_text
from ..families import network as network_called
from ..record import read_result
from .experiment import DetectorRow, Experiment
from .planning import Job, Schedule, Wish
from .running import Outcome, diverged
from .speed import speed

_USED = 0.6  # of a budget that updates may take; the rest is for tests
_LAST_STAGE = 0.1  # of a network's multiply-adds that a region of 14×14 takes, about
_SMALL = Regions((200, 100), (50, 20), smallest=4.0, regions=16, anchors=64)  # of a miniature
_UPDATES, _PICTURES, _SCALE = 2, 4, 128
PAPER_SCALE = 600  # pixels of the shorter side (he2015 appendix A)
_WEIGHTS = (".safetensors", ".pth", ".th", ".bin")


def schedule(experiment: Experiment, wish: Wish, known: Callable[[Any], float] = speed) -> Schedule:
    """The runs of a detection EXPERIMENT under a WISH, cheapest first; with a budget as many updates as fit.

    The paper's protocol needs its data in wish.data and the weights of its backbones in wish.data/weights. Raises
    DataError where they are missing, UsageError where the budget is too small.
    """
    found = [row for row in experiment.rows if isinstance(row, DetectorRow) and row.network]
    served = {} if wish.miniature else {row.label: row.note for row in found if row.server}
    rows = [row for row in found if row.label not in served]
    recipes = [(row, _recipe(experiment, row, wish)) for row in rows]
    if not recipes:
        return Schedule(experiment, (), served, ())
    pictures = _pictures(experiment, recipes[0][1])
    updates = wish.updates or (_UPDATES if wish.miniature else 0)
    per = known(min((recipe for _, recipe in recipes), key=_cost))
    if wish.budget is not None:
        updates = int(_USED * wish.budget / (per * sum(_cost(recipe) for _, recipe in recipes)))
        if updates < 1:
            raise UsageError(f"the budget is too small for one update of each of {len(recipes)} rows; give more")
    jobs = list[Job]()
    for row, recipe in sorted(recipes, key=lambda pair: _cost(pair[1])):
        whole = recipe.training.updates or recipe.training.epochs * max(1, pictures // recipe.training.batch_size)
        made = _shortened(recipe, whole, min(updates or whole, whole))
        jobs.append(Job(row, made, whole, per * _cost(made) * made.training.updates))
    reasons = list[str]()
    if wish.miniature:
        reasons.append(
            f"a miniature: {safe_text(Path(wish.data).name)}, {updates} updates from scratch, "
            f"{_PICTURES} test pictures, shorter side {_SCALE}, {_SMALL.kept[1]} proposals"
        )
    elif jobs[0].recipe.training.updates < jobs[0].whole:
        reasons.append(f"{jobs[0].recipe.training.updates:,} of {jobs[0].whole:,} updates")
    return Schedule(experiment, tuple(jobs), served, tuple(reasons))


def _recipe(experiment: Experiment, row: DetectorRow, wish: Wish) -> DetectionRecipe:
    """The recipe of a row: in small, or by the paper's protocol from published weights of its backbone."""
    data = wish.data or experiment.data
    if not wish.miniature and ":" in experiment.data and wish.data and ":" not in wish.data:
        data = f"{wish.data}:{experiment.data.rpartition(':')[2]}"
    made = recipe_called(row.recipe or experiment.recipe, network_called(row.network), data)
    changes = dict(row.changes)
    made = replace(made, seed=made.seed + changes.pop("seed", 0), metric=changes.pop("metric", made.metric))
    made = replace(made, detector=replace(made.detector, **changes))
    if wish.miniature:
        training = replace(made.training, batch_size=2, precision="auto")
        return replace(
            made, detector=replace(made.detector, bn="live"), regions=_SMALL, scales=(_SCALE,), longest=2 * _SCALE,
            testing=_small(made.testing), test_images=_PICTURES, training=training,
            val_every=10**6,
        )  # fmt: skip
    folder = Path(data.partition(":")[0])
    return replace(made, weights=str(_weights(folder, row.network)), origin="msra" if "_v1" in row.network else "")


def _small(testing: Inference) -> Inference:
    """TESTING at the scale of a miniature."""
    return replace(testing, scale=_SCALE, longest=2 * _SCALE, aim=round(testing.aim * _SCALE / PAPER_SCALE))


def _weights(folder: Path, network: str) -> Path:
    """The published weights of a backbone. Raises DataError that says what to fetch."""
    for suffix in _WEIGHTS:
        if (path := folder / "weights" / f"{network}{suffix}").is_file():
            return path
    raise DataError(
        f"{safe_text(str(folder))} has no weights of {network} to start from: put ImageNet weights there as "
        f"weights/{network}.safetensors or .pth, beside the data; --miniature needs neither"
    )


def _pictures(experiment: Experiment, recipe: DetectionRecipe) -> int:
    try:
        return len(open_detection(recipe.data).train)
    except (DataError, UsageError) as error:
        raise DataError(
            f"{experiment.name} needs {experiment.data}: {error}; --miniature runs every row in small"
        ) from error


def _cost(recipe: DetectionRecipe) -> float:
    """Multiply-adds of one update's pictures, forward, about."""
    area = recipe.scales[-1] * min(recipe.longest, 1.5 * recipe.scales[-1]) / recipe.network.size**2
    return (
        recipe.training.batch_size
        * complexity(recipe.network).multiply_adds
        * (area + _LAST_STAGE * recipe.regions.regions)
    )


def _shortened(recipe: DetectionRecipe, whole: int, updates: int) -> DetectionRecipe:
    """RECIPE with so many UPDATES; what stands at an update moves with the length."""
    training = recipe.training
    marks = tuple(max(1, round(mark * updates / whole)) for mark in training.milestones)
    return replace(recipe, training=replace(training, updates=updates, epochs=0, milestones=marks))


def outcomes(planned: Schedule, out: Path) -> list[Outcome]:
    """The outcome of every row in percent of average precision, empty for those that were not run."""
    found = {row.label: Outcome(row) for row in planned.experiment.rows}
    jobs = {job.row.label: job for job in planned.jobs}
    for label, outcome in found.items():
        row = outcome.row
        assert isinstance(row, DetectorRow)
        trained = [jobs[name] for name in (row.members or ((row.of or label),)) if name in jobs]
        results = [read_result(out / job.folder, DetectionResult) for job in trained]
        done = [result for result in results if result]
        outcome.diverged = next(filter(None, (diverged(job, out) for job in trained)), "")
        if not done or len(done) < len(row.members):
            continue
        outcome.runs, outcome.seconds = [result.path for result in done], sum(result.seconds for result in done)
        outcome.updates, outcome.whole = done[0].updates, trained[0].whole
        means, classes = _tested(row, done, trained[0].recipe)
        shown = _shown(row, means, classes, trained[0].recipe)
        outcome.figures = {name: [100 * value] for name, value in shown.items() if value is not None}
        outcome.test_seconds = means.get("seconds_per_image")
    return list(found.values())


def _tested(row: DetectorRow, done: list[DetectionResult], recipe: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures and classes of its own run's test, or of one with the row's switches, kept beside it."""
    if row.testing or row.members:
        name = "-".join(["with", *(f"{key}-{value}" for key, value in row.testing.items()), *row.members])
        place = done[0].path / "evaluations" / "".join(c if c.isalnum() or c == "-" else "_" for c in name)
        if not (place / "result.json").exists():
            switches = dict(row.testing)
            if "scales" in switches:  # of a smaller scale in proportion
                switches["scales"] = tuple(round(s * recipe.testing.scale / PAPER_SCALE) for s in switches["scales"])
            test = evaluated([one.path for one in done], recipe.data, "auto", switches, recipe.test_images)
            test.figures.write(place, test.detections, test.part, test.classes, test.facts)
    elif done[0].evaluation is None:
        return done[0].figures, done[0].classes
    else:
        place = done[0].path / done[0].evaluation
    kept = json.loads((place / "result.json").read_bytes())
    return kept, kept["classes"]


def _shown(
    row: DetectorRow, means: dict[str, Any], classes: dict[str, Any], recipe: DetectionRecipe
) -> dict[str, float | None]:
    """The figures that its paper gives."""
    main = {"coco": ("bbox AP50", "bbox AP"), "voc07": ("voc07",), "area": ("area",)}[recipe.metric]
    named = {name: means.get(name) for name in dict.fromkeys((*main, *row.published)) if name in means}
    return {**named, **(classes if len(row.published) > len(main) else {})}
