"""How fast a machine trains, for plans."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..analysis.complexity import complexity
from ..errors import DataError, ResnetsError, safe_text
from ..families import name_of
from ..models import create_model
from ..models.device import device_called
from ..recipe import Recipe
from ..start import precision

_PIXELS = 32 * 32 * 32  # of the update that tells the speed of a machine, in at least two images
_SECONDS = 1.0  # in which updates are tried


def speed(recipe: Recipe) -> float:
    """Seconds per image and multiply-add of an update here, on a card if there is one: the best of some with noise."""
    network, device, layout = recipe.network, device_called(), torch.channels_last
    chosen = recipe.training.precision
    chosen = precision(device) if chosen == "auto" else chosen
    few = recipe.training.batch_size if device.type == "cuda" else _PIXELS // network.size**2
    count = max(2, min(few, recipe.training.batch_size))
    model = create_model(network).to(device, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(count, network.channels, network.size, network.size).to(device, memory_format=layout)
    best = float("inf")
    started = time.monotonic()
    while best == float("inf") or time.monotonic() - started < _SECONDS:
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=chosen == "bf16"):
            loss = model(images).square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best / (count * complexity(network).multiply_adds)


@contextmanager
def remembered(out: Path) -> Iterator[Callable[[Recipe], float]]:
    """`speed`, measured once for all plans below OUT: a command that is repeated, or shared, plans the same runs.

    Where the plan fails, nothing of it is left.
    """
    made = list[Path]()

    def known(recipe: Recipe) -> float:
        training, network = recipe.training, safe_text(name_of(recipe.network))
        path = out / "speed" / f"{network}-{recipe.size}-{training.precision}.txt"

        def measured() -> str:
            made.append(path)
            return repr(speed(recipe))

        found = once(path, measured)
        try:
            return float(found)
        except ValueError:
            raise DataError(
                f"{safe_text(str(path))} holds no number; remove it, and the speed is measured again"
            ) from None

    try:
        yield known
    except ResnetsError:
        for path in made:
            path.unlink(missing_ok=True)
        for folder in (out / "speed", out) if made else ():
            with suppress(OSError):  # something else lies there
                folder.rmdir()
        raise


def once(path: Path, answer: Callable[[], str]) -> str:
    """The ANSWER that is kept in the file PATH; where there is none yet, of several processes the first one's."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f"{path.name}.{os.getpid()}")
        own.write_text(answer())
        with suppress(OSError):  # another process was faster: its answer holds for both; or a disk without links
            path.hardlink_to(own)
        if not path.exists():
            own.replace(path)
        own.unlink(missing_ok=True)
    return path.read_text()


def with_one_precision(recipe: Any, folder: Path, out: Path) -> Any:
    """RECIPE of a run that begins in FOLDER with the precision that all runs below OUT have on a machine of this kind.

    Else each would measure which one is faster, and rows that are set beside each other could differ in it.
    """
    training = getattr(recipe, "training", None)
    if training is None or training.precision != "auto" or (folder / "recipe.json").exists():
        return recipe
    device = device_called()
    found = once(out / "speed" / f"precision-{device.type}.txt", lambda: precision(device))
    return replace(recipe, training=replace(training, precision=found.strip()))
