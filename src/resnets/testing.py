"""Testing models on a part of a data set: which images, which models, what was found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import bundle
from .bundle import Bundle
from .classification import gathered
from .data.datasets import Dataset, Holdout, open_dataset
from .data.preprocessing import NORMALIZATIONS, Preprocessing, normalization
from .data.sources import Files, Source
from .data.splits import path_text
from .errors import DataError, UsageError, safe_text, unknown
from .evaluation.ensemble import Member, ScoreCache, Subset, search
from .evaluation.ensemble import together as averaged
from .evaluation.evaluate import Evaluation, usable
from .evaluation.protocol import Protocol, parse
from .evaluation.records import Answers
from .evaluation.scoring import Scores, scored
from .evaluation.views import ViewBatch, view_batches
from .families import network as network_called
from .models import create_model, load_weights
from .models.device import device_called
from .models.foreign import read_tensors
from .models.layers import free_at_once
from .models.weights import class_count
from .record import model_folder, read_recipe, resolve, run_of, trained_on
from .start import holdout
from .training.distributed import processes


@dataclass(frozen=True)
class ForeignModel:
    """A weights file of others: its network, its normalization, and where it comes from if the network asks."""

    network: str
    weights: str
    normalize: str = "imagenet"
    origin: str | None = None

    def bundle(self, classes: tuple[str, ...] = ()) -> Bundle:
        """The model with class names from the data it is tested on, numbers where none are given.

        Raises DataError where there are more or fewer names than classes.
        """
        spec = network_called(self.network)
        count = class_count(read_tensors(Path(self.weights)))
        classes = classes or tuple(map(str, range(count)))
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


Model = str | Path | ForeignModel


@dataclass(frozen=True)
class Tested:
    """A test: which part of which data, what was found, and every answer."""

    dataset: Dataset
    part: str
    evaluation: Evaluation
    answers: Answers
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Test:
    """How models are tested: the part of the data, the protocol, and what costs time and memory.

    part: "train", "val", "test", "all" (every image of a folder without parts), or "auto": the test part, else the
    validation part, else every image that the model's own run did not train or choose on. cache: a folder where the
    scores of each model are kept, so that it passes over the data once, whatever ensemble it is part of. device: as
    `device_called` takes it.
    """

    part: str = "auto"
    protocol: str = "1-crop"
    batch_size: int = 256
    workers: int = 0
    max_bad: float = 0.01
    cache: Path | None = None
    device: str = "auto"


def evaluate(models: Sequence[Model] | Model, data: str, **choices: Any) -> Tested:
    """Test one model, or several whose scores are averaged, on a part of DATA; choices: the fields of `Test`.

    Every model sees pictures in its own way. Under torchrun, processes share the batches; the figures are the same.
    """
    test = Test(**choices)
    sources = [models] if isinstance(models, str | Path | ForeignModel) else list(models)
    trial, protocol = prepared(sources, data, test), parse(test.protocol)
    found = averaged(trial.scores(protocol, test), protocol.average)
    first = trial.bundles[0]
    temperature = first.temperature if len(sources) == 1 else 1.0
    result = Evaluation(first.classes, usable(found, test.max_bad), protocol, temperature)
    answers = Answers(trial.source, first.classes, first.preprocessing)
    return Tested(trial.dataset, trial.part, result, answers, (*trial.dataset.notes, *trial.notes))


def ensembles(models: Sequence[Model], data: str, size: int, **choices: Any) -> tuple[str, list[Subset]]:
    """The part of DATA, and every ensemble of SIZE of the MODELS on it, the best first (he2015 table 5).

    Each model passes over the data once. choices: the fields of `Test`.
    """
    if not 1 <= size <= len(models):
        raise UsageError(f"size is {size}; it must be from 1 to {len(models)}, the number of models")
    test = Test(**choices)
    trial, protocol = prepared(models, data, test), parse(test.protocol)
    scores = trial.scores(protocol, test)
    usable(averaged(scores, protocol.average), test.max_bad)
    return trial.part, search(scores, size, protocol.average)


@dataclass(frozen=True)
class Trial:
    """What is tested on what."""

    dataset: Dataset
    part: str
    source: Source
    bundles: list[Bundle]
    notes: list[str]

    def scores(self, protocol: Protocol, test: Test) -> list[Scores]:
        """The scores of each model."""
        device = device_called(test.device)
        free_at_once()
        members = (Member(b.model().to(device), b.preprocessing) for b in self.bundles)
        return [_scores(member, self.source, protocol, test) for member in members]


def prepared(sources: Sequence[Model], data: str, test: Test) -> Trial:
    """The models, the part of DATA that they are tested on, and what is to be said of it."""
    if test.batch_size < 1 or test.workers < 0:
        raise UsageError(f"batch_size is {test.batch_size} and workers {test.workers}; they must be at least 1 and 0")
    device_called(test.device)  # a card that is not there is told before anything is read
    folders = [resolve(source) for source in sources if not isinstance(source, ForeignModel)]
    runs = [found for folder in folders if (found := run_of(folder))]
    dataset = open_dataset(data, _holdout(runs, data))
    bundles = [
        s.bundle(dataset.classes) if isinstance(s, ForeignModel) else bundle.load(model_folder(s)) for s in sources
    ]
    classes = bundles[0].classes
    if any(b.classes != classes for b in bundles):
        raise UsageError("the models do not have the same classes in the same order")
    chosen, source, notes = _part(dataset, test.part, runs)
    if isinstance(dataset.whole, Files) and len(runs) < len(sources):
        notes.append("it is not known which of these images a model was trained on: it lies outside its run")
    return Trial(dataset, chosen, _by_name(source, dataset.classes, classes), bundles, notes)


def _scores(member: Member, source: Source, protocol: Protocol, test: Test) -> Scores:
    """The scores of a model, from the cache where it has them."""
    together, cache = processes(), ScoreCache(test.cache) if test.cache else None
    key = cache.key(member, source, protocol) if cache else {}
    known = cache.read(key) if cache else None
    if all(together.gather_json([known is not None])) and known:
        return known
    shard = (together.rank, together.size)
    size, classes = member.preprocessing.size, member.model.spec.classes
    batches = view_batches(source, member.preprocessing, protocol, test.batch_size, test.workers, shard)
    seen = _whole(batches) if test.max_bad == 0 else batches
    found = gathered(scored([member.model], seen, classes, protocol, size), together)
    if cache and together.first and not found.bad:
        cache.write(key, found)
    return found


def _whole(batches: Iterator[ViewBatch]) -> Iterator[ViewBatch]:
    """BATCHES until a picture cannot be read: DataError."""
    for batch in batches:
        for name, reason in batch.bad:
            raise DataError(f"{name}: {reason}; without --strict it would be left out")
        yield batch


def _holdout(runs: list[Path], data: str) -> Holdout:
    """The split of the models' own run, where it was a run on the same data."""
    recipes = [read_recipe(run) for run in runs]
    rules = {holdout(r) for r in recipes if r.data in (data, str(Path(data).resolve()))}
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
            f"the data has classes that the model does not know: {', '.join(map(safe_text, strangers[:5]))}; "
            f"it knows {', '.join(map(safe_text, ours[:5]))}{' …' if len(ours) > 5 else ''}"
        )
    table = np.array([ours.index(name) if name in ours else -1 for name in theirs], dtype=np.int64)
    return source.relabel(table[source.labels])
