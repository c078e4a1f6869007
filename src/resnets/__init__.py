"""Deep residual learning as software: train, test, understand, reproduce and ship residual networks."""

import contextlib
import functools
import importlib
import re
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "create_model": "models",
    "load_weights": "models",
    "network": "families",
    "load": "api",
    "train": "api",
    "resume": "api",
    "evaluate": "api",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Names of the library, imported when first used, so that `import resnets` is instant.

    Every network has a builder of its own name: `resnets.resnet18(num_classes=7)` is `create_model("resnet18", 7)`.
    """
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if re.match(r"[a-z_]+\d", name):
        families = importlib.import_module(".families", __name__)
        with contextlib.suppress(families.UsageError):
            families.network(name)
            return functools.partial(__getattr__("create_model"), name)
    raise AttributeError(f"module 'resnets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
