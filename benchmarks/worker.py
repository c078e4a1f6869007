"""A process of its own for an arm: made ready once, then one round whenever it is told so."""

import ctypes
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .case import Arm

_SELF = Path("/proc/self")
# Large pages for every arm: with small ones, which a process gets makes it up to 10 % slower than its twin.
_PAGES = "glibc.malloc.hugetlb=1"
_REST = 0.2  # seconds in which the threads of the arm before stop waiting for work


@contextmanager
def started(arm: Arm, cores: int) -> Iterator[Connection]:
    """The pipe to a new process: it tells what set-up and first call took, then takes seconds and answers a round."""
    os.environ.setdefault("GLIBC_TUNABLES", _PAGES)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, arm, cores))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(20)
        process.kill()
        process.join()


def ask(pipe: Connection, seconds: float | None = None) -> dict[str, Any]:
    """What the process answers: to a round of so many SECONDS, or at its start."""
    try:
        if seconds is not None:
            pipe.send(seconds)
        return pipe.recv()
    except (EOFError, OSError):
        return {"error": "its process ended; often for want of memory"}


def _work(pipe: Connection, arm: Arm, cores: int) -> None:
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        began = time.perf_counter()
        module, _, name = arm.make.partition(":")
        call = getattr(import_module(f"benchmarks.arms.{module}"), name)(**arm.options)
        ready = time.perf_counter()
        answer = call()
        told = {"setup": ready - began, "first": time.perf_counter() - ready, "engine": answer.get("engine", "")}
        pipe.send(told | ({"output": answer["output"]()} if "output" in answer else {}))
        _trim()  # what a call has freed is not kept from the other arms
        while True:
            pipe.send(_round(call, pipe.recv()))
            _trim()
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return
    except Exception as error:  # engines raise kinds of their own
        pipe.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def _round(call: Callable[[], dict[str, Any]], least: float) -> dict[str, float]:
    """The call, again and again for at least so many SECONDS: seconds of one, peak memory over that of before.

    Unless SECONDS are 0, the first call is not timed: it brings the arm's threads and memory back. (On one virtual
    machine 14 GB cost 8 seconds more where no other arm had just given as much back.)
    """
    time.sleep(_REST)
    if least:
        call()
    _trim()
    (_SELF / "clear_refs").write_text("5")  # VmHWM begins again at VmRSS
    before = status("VmRSS")
    calls, began, now = 0, time.perf_counter(), 0.0
    answer: dict[str, Any] = {}
    while not calls or now < least:
        answer = call()
        calls, now = calls + 1, time.perf_counter() - began
    figures = {name: value for name, value in answer.items() if isinstance(value, int | float)}
    return {"seconds": now / calls, "bytes": status("VmHWM") - before, "calls": calls, **figures}


def _trim() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def status(name: str) -> int:
    """What the kernel knows of this process under NAME, as VmRSS or VmHWM, in bytes."""
    line = next(line for line in (_SELF / "status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
