"""The same in Python as on the command line: train, resume, load, evaluate."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import bundle
from .bundle import Bundle, Classifier
from .data.batches import testing_batches
from .data.cifar import find_cifar
from .data.datasets import NAMED, Dataset, Holdout, open_dataset
from .data.fetch import ARCHIVES
from .data.preprocessing import NORMALIZATIONS, Preprocessing, normalization
from .data.sources import Files, Source
from .errors import DataError, EnvironmentProblem, UsageError, unknown
from .evaluation import evaluate as testing
from .evaluation.records import Answers, cell
from .families import name_of
from .families import network as network_called
from .models import create_model, load_weights
from .models.foreign import read_tensors
from .models.weights import class_count
from .recipe import Recipe, change, checked, from_json
from .recipes import recipe as recipe_called
from .record import Result, model_folder, path_text, read_recipe, resolve, run_of, trained_on
from .report import page
from .run import Event, events
from .spec import AnyNetwork
from .start import Machine

# What a data set changes in every recipe, and in `quick`: 8×8 digits are not mirrored nor upscaled, and there are few.
HABITS: dict[str, dict[str, Any]] = {"digits": {"size": 8, "pad": 1, "flip": "none"}}
QUICK: dict[str, dict[str, Any]] = {
    "digits": {
        "epochs": 30,
        "normalize": "none", "batch_size": 64, "lr": 0.2, "weight_decay": 1e-3, "label_smoothing": 0.1, "ema": 0.99,
        "precision": "fp32", "channels_last": False,
    }
}  # fmt: skip


def is_small(data: str) -> bool:
    """Whether DATA holds images of at most 32×32 pixels, as digits, CIFAR and `synthetic` do."""
    return data in NAMED or data in ARCHIVES or (Path(data).is_dir() and find_cifar(Path(data)) is not None)


def plan(data: str, network: str | AnyNetwork | None = None, recipe: str | None = None, **changes: Any) -> Recipe:
    """The recipe for DATA: a named one or a recipe file, with fields changed.

    network: default cifar_resnet20 for small images, resnet18 for photographs. recipe: default "quick", or "finetune"
    where `weights` is among the changes. changes: fields of Recipe, Augmentation or Training.
    """
    weights = changes.get("weights", "")
    start = bundle.load(model_folder(weights)) if weights and Path(weights).is_dir() else None
    data = str(Path(data).resolve()) if data not in (*NAMED, *ARCHIVES) and Path(data).is_dir() else data
    value = network_called(network) if isinstance(network, str) else network
    if recipe and recipe.endswith(".json"):
        base = replace(recipe_file(Path(recipe)), data=data)
        return checked(change(replace(base, network=value or base.network), **changes))
    if recipe == "finetune" and not weights:
        raise UsageError(
            "the recipe finetune needs something to start from; give --weights FILE, a run or a model folder"
        )
    if value is None:
        value = start.network if start else network_called("cifar_resnet20" if is_small(data) else "resnet18")
    name = recipe or ("finetune" if weights else "quick")
    habits = {**HABITS.get(data, {}), **(QUICK.get(data, {}) if name == "quick" else {}), **_sight(start)}
    return checked(change(recipe_called(name, value, data), **{**habits, **changes}))


def _sight(start: Bundle | None) -> dict[str, Any]:
    """How the model of a run or model folder sees pictures, for training that starts from it."""
    if start is None:
        return {}
    seen = start.preprocessing
    names = [name for name in NORMALIZATIONS if normalization(name, seen.channels) == (seen.mean, seen.std)]
    kept = {"size": seen.size, "fit": seen.fit, "crop_pct": seen.crop_pct, "interpolation": seen.interpolation}
    return {**kept, **({"normalize": names[0]} if names and not seen.pixel_mean else {})}


def recipe_file(path: Path) -> Recipe:
    """The recipe in a JSON file. Raises UsageError."""
    try:
        return from_json(Recipe, json.loads(path.read_bytes()), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a recipe: {error}") from error


def run_folder(recipe: Recipe) -> Path:
    """A new, empty folder for a run: runs/<date>-<time>-<network>-<data>, with a number where two begin at once."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{name_of(recipe.network)}-{Path(recipe.data).resolve().name}"
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


def train(data: str, *, out: str | Path | None = None, workers: int | None = None, **choices: Any) -> Result:
    """Train a network on DATA, test it and keep it in OUT (default: a new folder below runs/).

    choices: `network`, `recipe`, and any field of the recipe, such as epochs=5 or lr=0.1. A folder that holds the same
    run goes on where it stopped.
    """
    recipe = plan(str(data), **choices)
    return _result(followed(recipe, Path(out) if out else run_folder(recipe), workers))


def resume(run: str | Path, *, workers: int | None = None) -> Result:
    """Go on with a run where its last checkpoint is. Raises UsageError for a folder that is no run."""
    return _result(resumed(run, workers))


def resumed(run: str | Path, workers: int | None = None) -> Iterator[Event]:
    """`resume`, event by event."""
    folder = resolve(run)
    return followed(read_recipe(folder), folder, workers)


def followed(recipe: Recipe, folder: Path, workers: int | None = None) -> Iterator[Event]:
    """`run.events`, and report.html once there is a result."""
    for event in events(recipe, folder, Machine(workers)):
        if isinstance(event, Result) and not (folder / "report.html").exists():
            page.write(folder, event)
        yield event


def _result(run: Iterator[Event]) -> Result:
    *_, result = run
    assert isinstance(result, Result)
    return result


def load(path: str | Path) -> Classifier:
    """The model in a run folder or model folder, ready to predict. Raises WeightsError."""
    return Classifier(bundle.load(model_folder(path)))


@dataclass(frozen=True)
class ForeignModel:
    """A weights file of others: its network, its normalization, and where it comes from if the network asks."""

    network: str
    weights: str
    normalize: str = "imagenet"
    origin: str | None = None

    def bundle(self, classes: tuple[str, ...]) -> Bundle:
        """The model with class names from the data it is tested on. Raises DataError where their numbers differ."""
        spec = network_called(self.network)
        tensors = read_tensors(Path(self.weights))
        count = class_count(tensors)
        if count != len(classes):
            raise DataError(f"{self.weights} knows {count} classes, the data has {len(classes)}; they must be the same")
        if self.normalize not in NORMALIZATIONS:
            raise unknown("normalization", self.normalize, NORMALIZATIONS)
        model = create_model(spec, count)
        load_weights(model, self.weights, self.origin)
        mean, std = normalization(self.normalize, spec.channels)
        crop = 1.0 if spec.size < 64 else 0.875
        seen = Preprocessing(spec.size, spec.channels, crop_pct=crop, mean=mean, std=std)
        return Bundle(model.spec, dict(model.state_dict()), classes, seen)


@dataclass(frozen=True)
class Tested:
    """A test: which part of which data, what was found, and every answer."""

    dataset: Dataset
    part: str
    evaluation: testing.Evaluation
    answers: Answers
    notes: tuple[str, ...]


def evaluate(
    models: Sequence[str | Path | ForeignModel] | str | Path | ForeignModel,
    data: str,
    *,
    part: str = "auto",
    batch_size: int = 256,
    workers: int = 0,
    max_bad: float = 0.01,
) -> Tested:
    """Test one model, or several whose probabilities are averaged, on a part of DATA.

    part: "train", "val", "test", "all" (every image of a folder without parts), or "auto": the test part, else the
    validation part, else every image that the model's own run did not train or choose on.
    """
    if batch_size < 1 or workers < 0:
        raise UsageError(f"batch_size is {batch_size} and workers {workers}; they must be at least 1 and 0")
    sources = [models] if isinstance(models, str | Path | ForeignModel) else list(models)
    folders = [resolve(source) for source in sources if not isinstance(source, ForeignModel)]
    runs = [found for folder in folders if (found := run_of(folder))]
    dataset = open_dataset(data, _holdout(runs, data))
    bundles = [
        s.bundle(dataset.classes) if isinstance(s, ForeignModel) else bundle.load(model_folder(s)) for s in sources
    ]
    classes = bundles[0].classes
    if any(b.classes != classes for b in bundles):
        raise UsageError("the models do not have the same classes in the same order")
    if any(b.preprocessing != bundles[0].preprocessing for b in bundles):
        raise UsageError("the models do not see images in the same way; test them one by one")
    chosen, source, notes = _part(dataset, part, runs)
    if isinstance(dataset.whole, Files) and len(runs) < len(sources):
        notes.append("it is not known which of these images a model was trained on: it lies outside its run")
    source = _by_name(source, dataset.classes, classes)
    batches = testing_batches(source, bundles[0].preprocessing, batch_size, workers)
    answers = Answers(source, classes)
    result = testing.evaluate([b.model() for b in bundles], batches, classes, max_bad, answers.add)
    return Tested(dataset, chosen, result, answers, (*dataset.notes, *notes))


def _holdout(runs: list[Path], data: str) -> Holdout:
    """The split of the models' own run, where it was a run on the same data."""
    recipes = [read_recipe(run) for run in runs]
    rules = {
        Holdout(r.val, r.test, r.split_seed) for r in recipes if r.data == data or r.data == str(Path(data).resolve())
    }
    if len(rules) > 1:
        raise UsageError("the models were trained on different splits of this data; test them one by one")
    return rules.pop() if rules else Holdout()


def _part(dataset: Dataset, part: str, runs: list[Path]) -> tuple[str, Source, list[str]]:
    if part == "all" and dataset.whole is not None:
        return "all", dataset.whole, []
    seen = [found for run in runs if (found := trained_on(run))]
    if isinstance(dataset.whole, Files) and (seen or part == "auto"):
        return _part_of_runs(dataset.whole, part, seen)
    for name in ("test", "val", "train") if part == "auto" else (part,):
        if name in dataset.parts:
            return name, dataset.parts[name], []
    raise UsageError(f"{dataset.name} has no part '{part}'; it has {', '.join(dataset.parts)}")


def _part_of_runs(whole: Files, part: str, seen: list[dict[tuple[str, int], str]]) -> tuple[str, Source, list[str]]:
    """The images of a part as the models' runs split them; what one run trained or chose on is no test image of any."""
    keys = list(zip(map(path_text, whole.names), whole.sizes, strict=True))
    uses = [{run[key] for run in seen if key in run} for key in keys]
    wanted = "test" if part == "auto" else part
    keep = [i for i, use in enumerate(uses) if (use <= {"test"} if wanted == "test" else wanted in use)]
    if not keep:
        raise DataError(f"no image here is in the {wanted} part of the model's run; nothing is left to test on")
    if len(keep) == len(whole):
        return "all", whole, []
    note = f"{len(whole) - len(keep)} images left out that the model was trained or chosen on"
    return wanted, whole.subset(np.array(keep, dtype=np.int64)), [note] if wanted == "test" else []


def _by_name(source: Source, theirs: tuple[str, ...], ours: tuple[str, ...]) -> Source:
    """SOURCE with its labels counted as the model counts them: classes are matched by name."""
    if theirs == ours:
        return source
    used = sorted({theirs[label] for label in source.labels.tolist()})
    strangers = [name for name in used if name not in ours]
    if strangers:
        raise DataError(
            f"the data has classes that the model does not know: {', '.join(map(str, map(cell, strangers[:5])))}; "
            f"it knows {', '.join(map(str, map(cell, ours[:5])))}{' …' if len(ours) > 5 else ''}"
        )
    table = np.array([ours.index(name) if name in ours else -1 for name in theirs], dtype=np.int64)
    return source.relabel(table[source.labels])
