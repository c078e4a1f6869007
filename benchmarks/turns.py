"""The rounds of a case: every arm in a process of its own, one at a time, in rotated order."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Arm, Case
from .measures import compared, twin_ratio
from .worker import ask, started

TWIN = " (twin)"


def run(case: Case, rounds: int, with_twin: bool = True) -> dict[str, Any]:
    """The record of CASE after so many ROUNDS: what every arm took in each, and the rows of the comparisons."""
    arms = {**case.arms, **({case.first + TWIN: case.arms[case.first]} if with_twin else {})}
    known = _once(case.reference) if case.reference else {}
    found = _measured(case, arms, rounds)
    right = known.get("output", found[case.first].get("output"))
    for name, arm in arms.items():
        output = found[name].pop("output", None)
        if output is not None and right is not None:
            found[name] |= checked(output, right, arm.tolerance)
    record: dict[str, Any] = {"case": case.title, "unit": case.unit, "amount": case.amount, "arms": found}
    one, other = found[case.first], found.get(case.first + TWIN, {"error": "none"})
    void = f"the reference fails: {known['error']}" if "error" in known else ""
    both = "error" not in one and "error" not in other
    twin = record["twin"] = twin_ratio(one["rounds"], other["rounds"]) if both else None
    return record | {"rows": [compared(each, found, void, twin or 1.0) for each in case.comparisons]}


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """NAMES beginning with another one each TURN, in steps of another length: none always follows the same one.

    What ran before may leave clock and caches in its own state.
    """
    count = len(names)
    steps = [step for step in range(1, max(count, 2)) if math.gcd(step, count) == 1]
    return [names[(turn + i * steps[turn % len(steps)]) % count] for i in range(count)]


def checked(output: NDArray[Any], right: NDArray[Any], tolerance: float | None) -> dict[str, Any]:
    """How far OUTPUT is from what is RIGHT, over the largest value there; `wrong` says if that is too far.

    Of logits (N, classes) also the percentage of rows with the same largest one.
    """
    if output.shape != right.shape or not np.isfinite(output).all():
        return {"wrong": f"outputs are not finite, or not of shape {right.shape}"}
    found: dict[str, Any] = {"difference": float(np.abs(output.astype(np.float64) - right).max() / np.abs(right).max())}
    if output.ndim == 2:
        found["agreement"] = 100 * float((output.argmax(1) == right.argmax(1)).mean())
    if tolerance is not None and found["difference"] > tolerance:
        found["wrong"] = f"outputs differ by {found['difference']:.2g}, at most {tolerance:g}"
    return found


def _once(arm: Arm) -> dict[str, Any]:
    with started(arm, 0) as pipe:
        return ask(pipe)


def _measured(case: Case, arms: dict[str, Arm], rounds: int) -> dict[str, dict[str, Any]]:
    """By arm: options, seconds of set-up and first call, its output, and its rounds; or why it failed."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        pipes = {}
        for name, arm in arms.items():
            pipes[name] = stack.enter_context(started(arm, case.cores))
            found[name] = {"package": arm.package, "options": dict(arm.options), **ask(pipes[name]), "rounds": []}
        for turn in range(rounds):
            for name in rotated([name for name in arms if "error" not in found[name]], turn):
                answer = ask(pipes[name], case.seconds)
                if "error" in answer:
                    found[name] |= answer
                else:
                    found[name]["rounds"].append(answer)
        for pipe in pipes.values():  # their processes end at the same time
            pipe.close()
    return found
