"""The machine and the versions that a run works with."""

import os
import platform
import sys
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from . import __version__
from .errors import safe_text


def build() -> dict[str, Any]:
    """What bit-equality needs to be the same: versions, processor and threads."""
    return {
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def environment() -> dict[str, Any]:
    """The machine and the versions that a run began with."""
    return {
        "resnets": __version__,
        **build(),
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "command": " ".join(["resnets", *map(safe_text, sys.argv[1:])]),
    }
