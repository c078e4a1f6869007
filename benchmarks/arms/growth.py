"""How the library's cost grows: with depth, batch, pixels, number of images, processes.

`work` is what the cost is set against. As a program, it is one process of the training that `processes` times.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnets import families, recipes
from resnets.data.batches import testing_batches
from resnets.data.preprocessing import Preprocessing
from resnets.models import create_model
from resnets.models.layers import free_at_once
from resnets.run import events
from resnets.training.train import Step

from ..worker import status
from . import memory
from .inputs import CIFAR, data, photographs

_WARM = 5  # updates that are not timed
Call = Callable[[], dict[str, Any]]


def step(layers: int, batch: int) -> Call:
    """A training step, every activation kept, in fp32."""
    call = memory.recomputed(layers, batch, 0)
    return lambda: {**call(), "work": layers * batch}


def pixels(side: int, batch: int = 8) -> Call:
    """ResNet-18 on a batch of photographs of so many pixels a side."""
    model, shown, seen = create_model("resnet18").eval(), photographs(), Preprocessing(side)
    inputs = torch.from_numpy(np.stack([seen(shown.picture(index)) for index in range(batch)]))

    @torch.inference_mode()
    def call() -> dict[str, Any]:
        model(inputs)
        return {"work": side * side}

    return call


def prediction(images: int) -> Call:
    """ResNet-18 over so many files, decoded in the same process, with memory given back as `resnets predict` does."""
    free_at_once()
    model, source = create_model("resnet18").eval(), photographs()
    source = source.subset(np.arange(images) % len(source))

    @torch.inference_mode()
    def call() -> dict[str, Any]:
        for batch in testing_batches(source, Preprocessing(), 32):
            model(batch.images).argmax(1)
        return {"work": images}

    return call


def processes(count: int, updates: int = 40) -> Call:
    """A CIFAR training in so many processes with equal shares of the cores: seconds of its updates after the first.

    bytes: what it adds to all of them together.
    """
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]

    def call() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [*command, "-m", __name__, folder, str(updates)],
                env={**os.environ, "OMP_NUM_THREADS": threads}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if ended.returncode:
                raise RuntimeError(ended.stderr[-200:])
            told = [json.loads(path.read_bytes()) for path in Path(folder).glob("told-*.json")]
        seconds, added = zip(*told, strict=True)
        return {"seconds": max(seconds), "bytes": sum(added), "work": count}

    return call


def _train(folder: str, updates: int) -> float:
    recipe = recipes.recipe("quick", families.network("cifar_resnet20"), str(data(CIFAR)))
    recipe = replace(recipe, training=replace(recipe.training, precision="fp32"))
    steps = (event for event in events(recipe, Path(folder, "run")) if isinstance(event, Step))
    list(islice(steps, _WARM))
    began = time.perf_counter()
    list(islice(steps, updates))
    return time.perf_counter() - began


if __name__ == "__main__":
    before = status("VmRSS")
    taken = _train(sys.argv[1], int(sys.argv[2]))
    Path(sys.argv[1], f"told-{os.environ['RANK']}.json").write_text(json.dumps([taken, status("VmHWM") - before]))
