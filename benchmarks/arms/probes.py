"""The roof: what the machine can compute and move at best."""

import time
from collections.abc import Callable
from typing import Any

import torch

_SIDE, _BYTES = 2048, 256 << 20


def roofline() -> Callable[[], dict[str, Any]]:
    """Matrix products of 2048×2048 in fp32 and bf16, GFLOP/s, and a copy of 256 MiB, GB/s read and written."""
    operands = {"fp32": torch.randn(_SIDE, _SIDE), "bf16": torch.randn(_SIDE, _SIDE).bfloat16()}
    source, target = torch.ones(_BYTES, dtype=torch.uint8), torch.empty(_BYTES, dtype=torch.uint8)

    def call() -> dict[str, Any]:
        rates = {f"{name}_gflops": 2e-9 * _SIDE**3 / _best(lambda m=m: m @ m) for name, m in operands.items()}
        return {**rates, "copy_gbs": 2e-9 * _BYTES / _best(lambda: target.copy_(source))}

    return call


def _best(work: Callable[[], object], times: int = 8) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
