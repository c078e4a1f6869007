"""What a run folder says of its run: recipe, environment, split, result."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import files
from .data.datasets import Dataset
from .data.preprocessing import Preprocessing
from .data.sources import Files, Source
from .data.splits import path_text
from .detection.localization_recipe import LocalizationRecipe
from .detection.objects import DetectionSet
from .detection.recipe import DetectionRecipe
from .environment import environment
from .errors import DataError, LockHeld, UsageError, WeightsError, safe_text
from .recipe import Recipe, as_json, from_json

T = TypeVar("T")
# A key that only the recipes of another task have; what such a run is, and the verbs for it.
_OTHERS: dict[str, type[Any]] = {"detector": DetectionRecipe, "step": LocalizationRecipe}
_USES = {
    DetectionRecipe: ("a detector", "resnets detect …"),
    LocalizationRecipe: ("a step of localization", "resnets detect localize …"),
    Recipe: ("a classifier", "resnets evaluate, predict …"),
}
PIXEL_MEAN = "pixel_mean.json"  # the mean image, in a run folder


@dataclass(frozen=True)
class Result:
    """What a run came to; `test_error` (percent) is that of the kept model, None where nothing was held out.

    model: "best" (chosen on validation data) or "last". seconds: training, validation and saving, over all sittings.
    """

    run: str
    network: str
    data: str
    recipe: str
    seed: int
    updates: int
    epochs: int
    model: str
    val_error: float | None
    test_error: float | None
    test_images: int
    test_mistakes: int | None
    worst_class: dict[str, Any] | None
    bad_files: int
    seconds: float
    images_per_second: float
    evaluation: str | None = None
    balanced_accuracy: float | None = None
    temperature: float = 1.0

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.run)

    def __str__(self) -> str:
        error = self.test_error if self.test_error is not None else self.val_error
        what = "test" if self.test_error is not None else "validation"
        figure = f"{what} error {error:.2f} %" if error is not None else "not tested"
        cost = f"{self.updates} updates in {self.seconds:.0f} s"
        return f"{self.network} on {self.data}: {figure} after {cost}, in {self.run}"


@dataclass(frozen=True)
class Seeds:
    """Runs that differ in their seed only: the figures that the papers give of such (percent of test errors).

    deviation: of the sample (n − 1), None for one run. Without a test part the errors are those of validation.
    """

    runs: tuple[str, ...]
    errors: tuple[float, ...]
    best: float | None
    median: float | None
    mean: float | None
    deviation: float | None


def read_result(folder: Path, kind: type[T] = Result) -> T | None:
    """The result of a finished run, of this KIND, None while there is none."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        return kind(**{**json.loads(path.read_bytes()), "run": str(folder)})
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged; remove it and run: resnets resume {folder}") from error


def keep_result(folder: Path, result: Any) -> None:
    """Write result.json, the last thing of a run; it names the run by its folder's own name."""
    files.write_json(folder / "result.json", {**asdict(result), "run": folder.name})


def keep_bad(folder: Path, bad: dict[str, str]) -> None:
    """Write bad_images.txt: what could not be read, and why."""
    if bad:
        text = "".join(f"{name}: {reason}\n" for name, reason in sorted(bad.items()))
        files.write_file(folder / "bad_images.txt", text.encode())


def read_recipe(folder: Path, kind: type[T] = Recipe) -> T:
    """The recipe of the run in FOLDER, of this KIND, `object` for any. Raises UsageError where there is none."""
    path = folder / "recipe.json"
    if not path.is_file():
        raise UsageError(f"{safe_text(str(folder))} is no run folder: it has no recipe.json")
    facts = _json(path)
    found = next((other for key, other in _OTHERS.items() if key in facts), Recipe)
    if kind is not object and found is not kind:
        what, verb = _USES[found]
        raise UsageError(f"{safe_text(str(folder))} is the run of {what}; use: {verb}")
    return from_json(found, facts, str(path))  # type: ignore[return-value]


def keep_recipe(folder: Path, recipe: Any) -> None:
    """Write recipe.json and environment.json once; later sittings must bring the same recipe."""
    path = folder / "recipe.json"
    if path.exists():
        return check_recipe(folder, recipe)
    files.write_json(path, as_json(recipe))
    files.write_json(folder / "environment.json", environment())


def check_recipe(folder: Path, recipe: Any) -> None:
    """Raise UsageError where the run in FOLDER has another recipe.

    What the network takes from the data, where the data lies and why a field was chosen do not count, nor do fields
    that FOLDER's recipe, made by an older version, does not have.
    """
    mine = json.loads(json.dumps(as_json(recipe)))
    kept = _json(folder / "recipe.json")
    for owner in {"network", "detector"} & mine.keys() & kept.keys():
        mine[owner] |= {name: kept[owner][name] for name in ("classes", "channels", "size") if name in mine[owner]}
    mine |= {name: kept[name] for name in ("data", "weights", "reasons", "split") if name in kept}
    differences = [f"{key} was {old}, is {new}" for key, old, new in _differences(kept, mine)]
    if differences:
        raise UsageError(f"{folder} holds a run of another recipe ({'; '.join(differences[:4])}); choose another --out")


def check_is_a_run(folder: Path) -> None:
    """Raise UsageError for a folder that holds something else than a run: nothing of it is ever touched."""
    if not folder.is_dir() or (folder / "recipe.json").exists():
        return
    others = [entry.name for entry in folder.iterdir() if not re.match(r"\.(lock$|tmp-|trash-)", entry.name)]
    if others:
        few = ", ".join(map(safe_text, sorted(others)[:3]))
        raise UsageError(f"{safe_text(str(folder))} holds other things than a run ({few}); choose another --out")


@contextmanager
def began(folder: Path) -> Iterator[None]:
    """Inside the lock: where the run never began, remove its folder, so that a wrong command leaves nothing behind."""
    if not (folder / ".lock").exists():  # the one who held the lock before us has removed the folder
        raise LockHeld(f"{folder} was just left by another process; run the command again")
    try:
        yield
    finally:
        with suppress(OSError):
            if [entry.name for entry in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                folder.rmdir()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{safe_text(str(path))} is damaged: {error}") from error


def _differences(old: Any, new: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [row for key in old for row in _differences(old.get(key), new.get(key), f"{at}.{key}" if at else key)]
    return [] if old == new else [(at, old, new)]


def keep_split(folder: Path, parts: dict[str, Source], data: str) -> None:
    """Write split.csv once for data in files; later sittings must find the same files. Raises DataError."""
    stored = {name: part for name, part in parts.items() if isinstance(part, Files)}
    rows = [
        [path_text(name), size, part]
        for part, source in stored.items()
        for name, size in zip(source.names, source.sizes, strict=True)
    ]
    if not rows:
        return
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["file", "bytes", "part"], *rows])
    path, text = folder / "split.csv", out.getvalue()
    if not path.exists():
        files.write_file(path, text.encode())
    elif (kept := path.read_text("utf-8")) != text:
        raise DataError(f"{data} has changed since the run began: {_changes(kept, text)}; choose another --out")


def fingerprint_of(test: Path) -> str | None:
    """The fingerprint of the images of the test in a folder; None where there is no test, "" where it is not told."""
    try:
        return str(json.loads((test / "result.json").read_bytes()).get("fingerprint", ""))
    except FileNotFoundError:
        return None
    except ValueError:
        return ""


def mean_facts(seen: Preprocessing) -> dict[str, Any]:
    """What a mean image changes in a preprocessing."""
    return {"pixel_mean": seen.pixel_mean, "mean": list(seen.mean), "std": list(seen.std)}


def keep_mean(folder: Path, seen: Preprocessing) -> None:
    """Write the mean image that SEEN subtracts, if it does, once: later sittings read it."""
    if seen.pixel_mean and not (folder / PIXEL_MEAN).exists():
        files.write_json(folder / PIXEL_MEAN, mean_facts(seen))


def keep_data(folder: Path, dataset: Dataset, notes: Sequence[str]) -> None:
    """Write data.json once: classes, images per part and class, split rule, notes."""
    path, count = folder / "data.json", len(dataset.classes)
    if not path.exists():
        parts = {n: np.bincount(p.labels, minlength=count).tolist() for n, p in dataset.parts.items()}
        facts = {"name": dataset.name, "split": dataset.split, "classes": list(dataset.classes)}
        files.write_json(path, {**facts, "parts": parts, "notes": list(notes)})


def keep_scenes(folder: Path, dataset: DetectionSet, notes: Sequence[str]) -> None:
    """Write data.json once for pictures with boxes: classes, pictures of each part, notes, what was dropped."""
    path = folder / "data.json"
    if not path.exists():
        parts = {name: len(part) for name, part in dataset.parts.items()}
        facts = {"name": dataset.name, "classes": list(dataset.classes), "parts": parts}
        files.write_json(path, {**facts, "notes": list(notes), "bad": dict(dataset.bad)})


def _changes(old: str, new: str) -> str:
    before, after = ({row[0]: row[1:] for row in csv.reader(io.StringIO(text))} for text in (old, new))
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    few = ", ".join((added + removed + changed)[:5])
    return f"+{len(added)} -{len(removed)} ~{len(changed)} files ({few})"


def trained_on(folder: Path) -> dict[tuple[str, int], str]:
    """The part of every (file, bytes) in a run's split.csv; empty where the data was not in files."""
    path = folder / "split.csv"
    if not path.exists():
        return {}
    rows = csv.reader(io.StringIO(path.read_text("utf-8")))
    next(rows)
    return {(name, int(size)): part for name, size, part in rows}


def resolve(path: str | Path) -> Path:
    """PATH as a folder that exists; `…/latest` is the newest run in its folder. Raises UsageError."""
    path = Path(path)
    if path.name == "latest" and not path.exists():
        runs = [entry.parent for entry in path.parent.glob("*/recipe.json")]
        if not runs:
            raise UsageError(f"no run in {path.parent}/ yet; make one with: resnets train digits")
        return max(runs, key=lambda run: ((run / "recipe.json").stat().st_mtime_ns, run.name))
    if not path.is_dir():
        raise UsageError(f"{safe_text(str(path))} is no folder; give a run folder or a model folder")
    return path


def run_of(folder: Path) -> Path | None:
    """The run that FOLDER is, or whose best/ or last/ it is; None for a model folder that lies elsewhere."""
    return next((place for place in (folder, folder.resolve().parent) if (place / "recipe.json").is_file()), None)


def model_folder(path: str | Path) -> Path:
    """The model folder that PATH means: itself, or a run's best/ where validation chose one, else last/."""
    folder = resolve(path)
    for candidate in (folder, folder / "best", folder / "last"):
        if (candidate / "config.json").is_file():
            return candidate
    if (folder / "recipe.json").is_file():
        raise WeightsError(f"{folder} has no model yet; finish it with: resnets resume {folder}")
    raise WeightsError(f"{safe_text(str(folder))} holds no model: config.json is missing")
