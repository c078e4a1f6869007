"""A model folder on disk: config.json with a section of our own, and the weights of the network that it tells of."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .. import __version__, files
from ..errors import UsageError, WeightsError, safe_text
from ..recipe import from_json
from .foreign import read_safetensors

FORMAT = 1
_USES = {
    "detector": "use it with: resnets detect … (it is not exported: torchvision's heads do not pass the exporter)",
    "localizer": "it is a step of: resnets detect localize …",
    "classifier": "use it with: resnets predict, evaluate …",
}
T = TypeVar("T")


def head() -> dict[str, Any]:
    """What our section of config.json begins with."""
    return {"format": FORMAT, "version": __version__}


def held(folder: Path) -> str:
    """What the model folder FOLDER holds: "classifier", "detector" or "localizer". Raises WeightsError."""
    return _held(_config(folder)[0]["resnets"])


def _held(section: Any) -> str:
    return next((kind for kind in _USES if kind in section), "classifier")


def _config(folder: Path) -> tuple[dict[str, Any], bytes]:
    """FOLDER's config.json, which has a section of ours, and its bytes."""
    try:
        text = (folder / "config.json").read_bytes()
        data = json.loads(text)
        _ = data["label_names"], data["resnets"]["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = safe_text(str(folder))
        raise WeightsError(f"{where} is no model folder: config.json is missing, damaged or not ours") from error
    return data, text


def read_folder(
    folder: Path, section: type[T], task: str, made: Callable[[T], nn.Module]
) -> tuple[T, tuple[str, ...], dict[str, Tensor]]:
    """Our section of FOLDER's config.json as a SECTION, the class names, and the tensors of the module it makes.

    task: "classifier" or "detector", which the section must be of. Raises WeightsError for a folder that is none, is
    damaged, is of a newer format or of another task.
    """
    where = safe_text(str(folder))
    data, text = _config(folder)
    given, names, form = data["resnets"], data["label_names"], data["resnets"]["format"]
    if isinstance(form, int) and form > FORMAT:
        raise WeightsError(f"{where} was made by resnets {safe_text(str(given.get('version')))}; this is {__version__}")
    found = _held(given)
    if found != task:
        raise WeightsError(f"{where} holds a {found}; {_USES[found]}")
    try:
        weights = (folder / "model.safetensors").read_bytes()
    except OSError as error:
        raise WeightsError(f"{where}/model.safetensors: {error.strerror}") from error
    _check(folder, {"config.json": text, "model.safetensors": weights})
    try:
        own = from_json(section, given, f"{where}/config.json")
        classes = tuple(from_json(list[str], names, f"{where}/config.json: label_names"))
        tensors, _ = read_safetensors(weights)
        expected = _shapes(own, made)
    except UsageError as error:
        raise WeightsError(str(error)) from error
    except WeightsError as error:
        raise WeightsError(f"{where}/model.safetensors: {error}") from error
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise WeightsError(f"{where}: model.safetensors does not hold the network of config.json")
    return own, classes, tensors


def _check(folder: Path, contents: dict[str, bytes]) -> None:
    """Raise WeightsError where FOLDER has a manifest that tells of other CONTENTS; it may hold more files."""
    where = safe_text(str(folder))
    try:
        listed = json.loads((folder / files.MANIFEST).read_bytes())["files"]
        expected = {name: str(listed[name]["sha256"]) for name in contents if name in listed}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{where}/{files.MANIFEST} cannot be read; get the folder again") from error
    for name, digest in expected.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != digest:
            raise WeightsError(
                f"{where}/{name} is damaged or was changed: expected sha256 {safe_text(digest[:12])}…, "
                f"found {found[:12]}…; get the folder again, or remove {files.MANIFEST} if the change is yours"
            )


def _shapes(own: T, made: Callable[[T], nn.Module]) -> dict[str, torch.Size] | None:
    """The shapes of the tensors that the module has; None for a value that no network can have."""
    try:
        with torch.device("meta"):
            return {name: tensor.shape for name, tensor in made(own).state_dict().items()}
    except (ArithmeticError, IndexError, RuntimeError, ValueError):
        return None
