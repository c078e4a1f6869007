"""`python -m benchmarks [GOAL …]`: our arms beside the peers, ratios with intervals, verdicts, and a record."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from resnets.errors import ResnetsError, UsageError, unknown
from resnets.files import write_json

from .case import Case
from .goals import CASES, NOT_MEASURED
from .machine import machine, probe, versions
from .measures import ROUNDS, typical
from .table import HEAD, line
from .turns import run

RESULTS = Path(__file__).parent / "results"
_QUICK_ROUNDS = 2


def main() -> int:
    """Run what the command line names; the exit code."""
    asked = _parser().parse_args()
    try:
        cases = chosen(asked.goals, asked.quick, asked.only)
        if asked.list:
            print(listing(cases))
            return 0
        if "RESNETS_DATA" not in os.environ:
            raise UsageError("RESNETS_DATA names no folder with CIFAR-10, weights and photographs; set it")
        _run(cases, asked)
    except ResnetsError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("goals", nargs="*", metavar="GOAL", help="as P1; all that can be measured where none is given")
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases whose title has TEXT, as resnet50")
    parser.add_argument("--quick", action="store_true", help="ratios within minutes, without a verdict")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick {_QUICK_ROUNDS}")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<date>-<goals>.json; of --quick none")
    parser.add_argument("--list", action="store_true", help="print goals, cases and arms, and measure nothing")
    return parser


def chosen(goals: list[str], quick: bool, only: str = "") -> list[Case]:
    """The cases of GOALS with ONLY in their titles, ready for this machine.

    Raises UsageError for a goal that is none or is not measured here, and where no case is left.
    """
    known = {comparison.goal for case in CASES for comparison in case.comparisons}
    for goal in goals:
        if goal in NOT_MEASURED:
            raise UsageError(f"{goal} is not measured here: {NOT_MEASURED[goal][-1]}; choose another goal")
        if goal not in known:
            raise unknown("goal", goal, known)
    cases = [case.only(set(goals) or known, quick) for case in CASES if case.quick is not None or not quick]
    found = [case for case in (case.settled(quick) for case in cases if case.comparisons) if only in case.title]
    if not found:
        raise UsageError(f"no case of {', '.join(goals) or 'any goal'} has '{only}' in its title; see --list")
    return found


def listing(cases: list[Case]) -> str:
    """Goals, titles and arms of CASES, a line each."""
    rows = [(", ".join(dict.fromkeys(c.goal for c in case.comparisons)), case.title, case.arms) for case in cases]
    return "\n".join(f"{goals}: {title}: {', '.join(arms)}" for goals, title, arms in rows)


def _run(cases: list[Case], asked: argparse.Namespace) -> None:
    if asked.rounds is not None and asked.rounds < 1:
        raise UsageError(f"--rounds is {asked.rounds}; it must be at least 1")
    rounds = asked.rounds or (_QUICK_ROUNDS if asked.quick else ROUNDS)
    goals = dict.fromkeys(comparison.goal for case in cases for comparison in case.comparisons)
    stamp = time.strftime("%Y-%m-%d-%H%M")
    out = asked.out or (None if asked.quick else RESULTS / f"{stamp}-{'-'.join(goals)}.json")
    found = list[dict[str, Any]]()
    record = {"date": stamp, "quick": asked.quick, "machine": machine(), "versions": versions()}
    record |= {"probes": [probe()], "cases": found}
    print(record["machine"], record["probes"][0], HEAD, sep="\n")
    for case in cases:
        found.append(run(case, rounds, not asked.quick))
        print(told(found[-1], record["versions"]), flush=True)
        if out:  # after every case: what is measured is kept
            record["probes"] = [record["probes"][0], probe()]
            write_json(out, record)
    print(*(record["probes"][1:] or [probe()]), *([f"kept in {out}"] if out else []), sep="\n")


def told(case: dict[str, Any], versions: dict[str, str]) -> str:
    """A case for a person: every arm's time of a unit, memory and start-up, then the rows of the table."""
    lines = [f"{case['case']}; twin {case['twin']}"]
    for name, arm in case["arms"].items():
        lines.append(f"  {name:28} {arm.get('error') or _times(arm, case)}")
    return "\n".join([*lines, *(line(case, row, versions) for row in case["rows"])])


def _times(arm: dict[str, Any], case: dict[str, Any]) -> str:
    memory = max(figures["bytes"] for figures in arm["rounds"]) / 2**20
    start = f"set-up {arm['setup']:.1f} s, first call {arm['first']:.1f} s"
    check = f"; {arm['engine']} outputs differ by {arm.get('difference', 0):.1e}"
    return f"{1000 * typical(arm) / case['amount']:9.3f} ms/{case['unit']}, {memory:6.0f} MiB; {start}{check}"


if __name__ == "__main__":
    sys.exit(main())
