"""Deep residual learning as software: train, test, understand, reproduce and ship residual networks."""

import functools
import importlib
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
    from . import errors, families

    try:
        families.network(name)
    except errors.UsageError:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}") from None
    return functools.partial(__getattr__("create_model"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
