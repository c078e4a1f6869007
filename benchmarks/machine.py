"""On what was measured: processor, cores, memory, versions, and what the machine can do at best."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .case import Arm
from .worker import ask, started

_PACKAGES = ("resnets", "torch", "torchvision", "timm", "onnxruntime", "openvino", "nncf", "numpy", "pillow")
_FLAGS = re.compile(r"avx2|avx512f|avx512_\w+|avx_vnni|amx_\w+")


def machine() -> dict[str, Any]:
    """Processor, its flags that matter here, the cores we may use, and GiB of memory."""
    text = Path("/proc/cpuinfo").read_text()
    facts = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text, re.MULTILINE))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": facts.get("model name", platform.processor()),
        "flags": sorted(flag for flag in facts.get("flags", "").split() if _FLAGS.fullmatch(flag)),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python's and the packages' versions; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def probe() -> dict[str, float]:
    """What the machine does at best now: matrix products in GFLOP/s, fp32 and bf16, and copying memory in GB/s."""
    with started(Arm("probes:roofline"), 0) as pipe:
        answer = ask(pipe) | ask(pipe, 0.0)
    return {name: answer[name] for name in ("fp32_gflops", "bf16_gflops", "copy_gbs") if name in answer}
