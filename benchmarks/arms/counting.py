"""Arms without work: the machinery is tested with them."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np


def counts(start: int) -> Callable[[], dict[str, Any]]:
    """Counts its calls from START + 1 on."""
    numbers: Iterator[int] = count(start + 1)
    return lambda: {"count": next(numbers), "output": lambda: np.array([1.0 + start])}


def fails() -> Callable[[], dict[str, Any]]:
    """Cannot be made."""
    raise ValueError("no such thing")
