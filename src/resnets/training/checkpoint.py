"""Checkpoints: a run's whole state as safetensors and JSON, written so that a crash at any instant leaves one whole."""

import json
import logging
import re
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from .. import files
from ..errors import NumericError, WeightsError
from .optimizer import named_state, restore_state
from .train import Best, State

log = logging.getLogger(__name__)
_NAME = re.compile(r"step-\d{12}")
_KEPT = 2
_COUNTED = ("update", "epoch", "batch", "closed", "images", "mistakes", "loss_sum", "rate", "bad")


def save(folder: Path, state: State, facts: dict[str, Any]) -> Path:
    """Write FOLDER/step-…, verify it, then prune to the last two. FACTS go into the manifest.

    Raises NumericError where a tensor is not finite, EnvironmentProblem where the disk refuses.
    """
    tensors = {"model": dict(state.model.state_dict()), "optim": named_state(state.optimizer, state.model)}
    if state.average:
        tensors["ema"] = state.average.tensors
    if state.best:
        tensors["best"] = state.best.tensors
    for group in tensors.values():
        check_finite(group, f"update {state.update}")
    values = {name: getattr(state, name) for name in _COUNTED}
    values["schedule"] = state.schedule.state()
    values["average_updates"] = state.average.updates if state.average else 0
    best = state.best
    values["best"] = {"error": best.error, "loss": best.loss, "epoch": best.epoch} if best else None
    contents = {f"{name}.safetensors": pack(group) for name, group in tensors.items()}
    contents["state.json"] = json.dumps(values).encode()
    target = folder / f"step-{state.update:012d}"
    files.write_folder(target, contents, facts)
    for old in checkpoints(folder)[:-_KEPT]:
        files.remove_folder(old)
    return target


def restore(folder: Path, state: State) -> dict[str, Any] | None:
    """Put the newest whole checkpoint into STATE; answers its manifest's facts, None where there is no checkpoint.

    A damaged one is passed over with a warning. Raises WeightsError where all are damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            manifest, contents = files.read_verified(path)
            _put(state, contents)
        except WeightsError as error:
            log.warning("%s; trying the one before", error)
            continue
        return cast(dict[str, Any], manifest["facts"])
    if found:
        raise WeightsError(f"{folder}: none of {len(found)} checkpoints is whole; start again with another --out")
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in FOLDER, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def check_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Raise NumericError where a tensor holds NaN or infinity, naming it."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NumericError(
                f"{name} is not finite at {where}; the last checkpoint is kept, lower --lr and start again"
            )


def pack(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return serialise({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, metadata)


def _put(state: State, contents: dict[str, bytes]) -> None:
    values = json.loads(contents["state.json"])
    state.model.load_state_dict(parse(contents["model.safetensors"]), strict=True)
    restore_state(state.optimizer, state.model, parse(contents["optim.safetensors"]))
    for name in _COUNTED:
        setattr(state, name, values.get(name, getattr(state, name)))
    state.schedule.restore(values["schedule"])
    if state.average:
        for name, tensor in parse(contents["ema.safetensors"]).items():
            state.average.tensors[name].copy_(tensor)
        state.average.updates = values["average_updates"]
    if values["best"]:
        state.best = Best(**values["best"], tensors=parse(contents["best.safetensors"]))
