"""From a name or a folder to the recipe of a run: what is given, what the data set is used to, what is chosen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import bundle
from .bundle import Bundle
from .choose import Choice, choose
from .data.cifar import find_cifar
from .data.datasets import NAMED, Holdout, open_dataset
from .data.fetch import ARCHIVES
from .data.preprocessing import NORMALIZATIONS, normalization
from .errors import UsageError
from .estimate import bytes_of, within
from .families import name_of
from .families import network as network_called
from .recipe import Recipe, change, checked, from_json
from .recipes import recipe as recipe_called
from .record import model_folder, read_recipe, resolve
from .spec import AnyNetwork

# What a data set changes in every recipe, and in `quick`: 8×8 digits are not mirrored nor upscaled, and there are few.
HABITS: dict[str, dict[str, Any]] = {"digits": {"size": 8, "pad": 1, "flip": "none"}}
QUICK: dict[str, dict[str, Any]] = {
    "digits": {
        "epochs": 30,
        "normalize": "none", "batch_size": 64, "lr": 0.2, "weight_decay": 1e-3, "label_smoothing": 0.1, "ema": 0.99,
        "optimizer": "sgd", "momentum": 0.9, "border": "after", "precision": "fp32", "channels_last": False,
    }
}  # fmt: skip


def is_small(data: str) -> bool:
    """Whether DATA holds images of at most 32×32 pixels, as digits, CIFAR and `synthetic` do."""
    return data in NAMED or data in ARCHIVES or (Path(data).is_dir() and find_cifar(Path(data)) is not None)


def plan(
    data: str,
    network: str | AnyNetwork | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    memory: str = "",
    **changes: Any,
) -> Recipe:
    """The recipe for DATA: a named one or a recipe file, with fields changed.

    network: default cifar_resnet20 for small images; for photographs it is chosen from them and the machine. recipe:
    default "quick", or "finetune" where `weights` is among the changes. out: a run's folder; what was chosen when that
    run began is kept. memory: what training may take, such as "4GB"; activations are computed again as far as
    that asks for. changes: fields of Recipe, Augmentation or Training.
    """
    planned = _planned(data, network, recipe, out, **changes)
    return within(planned, bytes_of(memory)) if memory else planned


def _planned(
    data: str,
    network: str | AnyNetwork | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    **changes: Any,
) -> Recipe:
    weights = changes.get("weights", "")
    if Path(weights).name == "latest":
        changes["weights"] = weights = str(resolve(weights))
    if changes.get("epochs") and "updates" not in changes:
        changes["updates"] = 0
    start = bundle.load(model_folder(weights)) if weights and Path(weights).is_dir() else None
    data = str(Path(data).resolve()) if data not in (*NAMED, *ARCHIVES) and Path(data).exists() else data
    value = network_called(network) if isinstance(network, str) else network
    if recipe and recipe.endswith(".json"):
        base = replace(recipe_file(Path(recipe)), data=data)
        return checked(change(replace(base, network=value or base.network), **changes))
    if recipe == "finetune" and not weights:
        raise UsageError(
            "the recipe finetune needs something to start from; give --weights FILE, a run or a model folder"
        )
    name = recipe or ("finetune" if weights else "quick")
    chosen: dict[str, Any] = {}
    if name in ("quick", "finetune") and not start and not is_small(data):
        choice = _chosen(data, out, changes)
        chosen = {key: entry for key, entry in choice.fields.items() if value is None or key == "fit"}
        value = value or network_called(choice.network)
        as_chosen = {key for key, entry in chosen.items() if changes.get(key, entry) == entry}
        as_chosen |= {"network"} if network is None else set()
        chosen["reasons"] = tuple(f"{key}: {text}" for key, text in choice.reasons.items() if key in as_chosen)
    value = value or (start.network if start else network_called("cifar_resnet20"))
    habits = {**HABITS.get(data, {}), **(QUICK.get(data, {}) if name == "quick" else {}), **_sight(start)}
    if weights and not start:  # as torchvision, timm and the published CIFAR networks were trained
        habits["normalize"] = "imagenet"
    return checked(change(recipe_called(name, value, data), **{**habits, **chosen, **changes}))


def _chosen(data: str, out: Path | None, changes: dict[str, Any]) -> Choice:
    """What is chosen for DATA, or was when the run in OUT began."""
    habits = {"val": None, "test": None, "split_seed": 0, "group_by": "", "class_order": "string"}
    choice = choose(open_dataset(data, Holdout(*(changes.get(name, habit) for name, habit in habits.items()))))
    began = [path.parent for path in (*out.glob("recipe.json"), *sorted(out.glob("seed-*/recipe.json")))] if out else []
    if not began:
        return choice
    kept = read_recipe(began[0])
    fields = {name: kept.value(name) for name in choice.fields}
    return Choice(name_of(kept.network), fields, dict(reason.split(": ", 1) for reason in kept.reasons))


def _sight(start: Bundle | None) -> dict[str, Any]:
    """How the model of a run or model folder sees pictures, for training that starts from it."""
    if start is None:
        return {}
    seen = start.preprocessing
    names = [name for name in NORMALIZATIONS if normalization(name, seen.channels) == (seen.mean, seen.std)]
    kept = {"size": seen.size, "fit": seen.fit, "crop_pct": seen.crop_pct, "interpolation": seen.interpolation}
    own = ["pixel-mean"] if seen.pixel_mean else names
    return {**kept, **({"normalize": own[0]} if own else {})}


def recipe_file(path: Path) -> Recipe:
    """The recipe in a JSON file. Raises UsageError."""
    try:
        return from_json(Recipe, json.loads(path.read_bytes()), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a recipe: {error}") from error
