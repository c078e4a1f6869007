"""`doctor`: what is installed, what the machine has, and one verdict."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ..errors import ResnetsError
from .verb import Verb, console, print_json

EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "detection": ("hotcoco",),
}
CORE = ("torch", "torchvision", "numpy", "pillow", "safetensors", "tyro", "rich", "pydantic", "scikit-learn")
MISMATCH = (
    "torch and torchvision do not match (operator torchvision::nms does not exist): they were built for different "
    "releases; install both together: pip install --upgrade --force-reinstall torch torchvision"
)


@dataclass(frozen=True)
class Doctor(Verb):
    """Versions, devices, cores, memory, free disk, extras, and one verdict; exit code 5 where something is wrong.

    examples: resnets doctor; resnets doctor --json
    """

    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Look and tell."""
        facts = examine()
        if self.json:
            print_json(facts)
        else:
            out = console()
            for name, version in facts["versions"].items():
                out.print(f"{name:<14}{version or 'missing'}")
            out.print(f"{'devices':<14}{', '.join(facts['devices']) or 'none: PyTorch does not load'}")
            out.print(f"{'device':<14}{facts['device'] or 'none'}, if nothing else is asked for")
            out.print(f"{'cores':<14}{facts['cores']}")
            out.print(f"{'memory':<14}{facts['memory_gib']} GiB, {facts['free_memory_gib']} GiB free")
            out.print(f"{'free disk':<14}{facts['free_disk_gib']} GiB here")
            for name, there in facts["extras"].items():
                out.print(f"{'extra':<14}{name}: " + ("installed" if there else f'pip install "resnets[{name}]"'))
            out.print(f"\n{facts['verdict']}")
        return 0 if facts["ok"] else 5


def examine() -> dict[str, Any]:
    """The facts of `doctor --json`."""
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        **{name: version(name) for name in CORE},
    }
    memory = _memory()
    problems = [*_missing(versions), *pair_problems(versions["torch"], _wanted())]
    devices: list[str] = []
    device: str | None = None
    if not problems:
        devices, problems = _devices()
    if not problems:
        device, problems = _device()
    return {
        "versions": versions,
        "devices": devices,
        "device": device,
        "cores": os.cpu_count(),
        "memory_gib": memory.get("MemTotal"),
        "free_memory_gib": memory.get("MemAvailable"),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "extras": {name: all(version(p) for p in packages) for name, packages in EXTRAS.items()},
        "ok": not problems,
        "verdict": "; ".join(problems) or "All is well: try `resnets train digits`.",
    }


def version(package: str) -> str | None:
    """The installed version of a package, None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(versions: dict[str, str | None]) -> list[str]:
    missing = [name for name, found in versions.items() if not found]
    return [f"missing: {', '.join(missing)}; run: pip install resnets"] if missing else []


def pair_problems(torch: str | None, wanted: list[str]) -> list[str]:
    """What is wrong with a version of torch, given what torchvision's metadata asks for, in words."""
    have = _numbers(torch or "")
    for requirement in wanted:
        match = re.search(r"^torch\b[ (]*(==|>=)\s*([\d.]+)", requirement)
        if not match or not have:
            continue
        least = _numbers(match[2])
        if have < least or (match[1] == "==" and have[: len(least)] != least):
            return [f"{MISMATCH} (found torch {torch}, torchvision wants torch {match[1]} {match[2]})"]
    if have and have < (2, 11):
        return [
            f"torch {torch} is too old, 2.11 is the oldest that works; run: pip install --upgrade torch torchvision"
        ]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _wanted() -> list[str]:
    try:
        return importlib.metadata.requires("torchvision") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _devices() -> tuple[list[str], list[str]]:
    """The devices, and what keeps the pair from working: it is loaded and asked for one operator."""
    try:
        torch = importlib.import_module("torch")
        ops = importlib.import_module("torchvision.ops")
        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [], [MISMATCH if "torchvision::" in text else f"torch does not load: {text}"]
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    cuda = [f"cuda:{i} ({card.name}, {card.total_memory / 2**30:.0f} GiB)" for i, card in enumerate(cards)]
    return [f"cpu ({torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()})", *cuda], []


def _device() -> tuple[str | None, list[str]]:
    """What verbs compute on where nothing else is asked for, or why they cannot."""
    from ..models.device import device_called

    try:
        return str(device_called()), []
    except ResnetsError as error:
        return None, [str(error)]


def _memory() -> dict[str, float]:
    """MemTotal and MemAvailable in GiB, empty where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return {}
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {
        row[0].rstrip(":"): round(int(row[1]) / 2**20, 1) for row in rows if row[0] in ("MemTotal:", "MemAvailable:")
    }
