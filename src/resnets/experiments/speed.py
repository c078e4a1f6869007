"""How fast a machine trains, for plans."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from ..analysis.complexity import complexity
from ..errors import safe_text
from ..families import name_of
from ..models import create_model
from ..recipe import Recipe
from ..start import faster_precision

_PIXELS = 32 * 32 * 32  # of the update that tells the speed of a machine, in at least two images
_SECONDS = 1.0  # in which updates are tried


def speed(recipe: Recipe) -> float:
    """Seconds per image and multiply-add of an update on the CPU here: the best of some with random pixels."""
    precision = recipe.training.precision
    precision = faster_precision() if precision == "auto" else precision
    network = recipe.network
    count = max(2, min(_PIXELS // network.size**2, recipe.training.batch_size))
    model = create_model(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(count, network.channels, network.size, network.size).contiguous(
        memory_format=torch.channels_last
    )
    best = float("inf")
    started = time.monotonic()
    while best == float("inf") or time.monotonic() - started < _SECONDS:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model(images).square().mean().backward()
        best = min(best, time.perf_counter() - began)
    return best / (count * complexity(network).multiply_adds)


def remembered(out: Path) -> Callable[[Recipe], float]:
    """`speed`, measured once for all plans below OUT: a command that is repeated, or shared, plans the same runs."""

    def known(recipe: Recipe) -> float:
        training, network = recipe.training, safe_text(name_of(recipe.network))
        path = out / "speed" / f"{network}-{recipe.size}-{training.precision}.txt"
        if not path.exists():
            found = speed(recipe)
            path.parent.mkdir(parents=True, exist_ok=True)
            own = path.with_name(f"{path.name}.{os.getpid()}")
            own.write_text(repr(found))
            with suppress(OSError):  # another process was faster: its number holds for both; or a disk without links
                path.hardlink_to(own)
            if not path.exists():
                own.replace(path)
            own.unlink(missing_ok=True)
        return float(path.read_text())

    return known
