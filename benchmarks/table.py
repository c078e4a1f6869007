"""`python -m benchmarks.table [PAGE]`: the table of goals in docs/performance.md, from the newest record of each."""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from resnets.errors import ResnetsError, UsageError
from resnets.files import write_file

from .goals import NOT_MEASURED
from .measures import MEASURES

ROOT = Path(__file__).parent
BEGIN, END = "<!-- python -m benchmarks.table writes from here -->", "<!-- to here -->"
HEAD = "| Goal | Case | Ours | Peer | Measure | Value | 95 % | Bar | Stretch | Verdict | Start-up, ours; peer |"
Record = dict[str, Any]
_PAPERS_IMAGES, _PAPERS_ERROR = 64_000 * 128, 8.75  # he2015 table 6, 20 layers


def main() -> int:
    """Write the table into the page; the exit code."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "docs" / "performance.md"
    try:
        text = page.read_text() if page.exists() else ""
        write_file(page, placed(text, table(records(ROOT / "results")), str(page)).encode())
    except ResnetsError as error:
        print(f"benchmarks.table: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def records(folder: Path) -> list[Record]:
    """The records in FOLDER but those of quick runs, oldest first."""
    found = [json.loads(path.read_bytes()) for path in folder.glob("*.json")]
    return sorted((record for record in found if not record["quick"]), key=lambda record: record["date"])


def placed(text: str, made: str, where: str) -> str:
    """TEXT with what stands between the two marks replaced. Raises UsageError where a mark is missing."""
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise UsageError(f"{where} has no lines '{BEGIN}' and '{END}'; add them where the table belongs")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def table(found: list[Record]) -> str:
    """The rows of the newest record of every goal and case, the goals without one, and the machines, as Markdown."""
    newest: dict[tuple[str, str], tuple[Record, list[str]]] = {}
    for record in found:
        for case in record["cases"]:
            for goal in {row["goal"] for row in case["rows"]}:
                here = [row for row in case["rows"] if row["goal"] == goal]
                if any("value" in row for row in here) or (goal, case["case"]) not in newest:
                    newest[goal, case["case"]] = record, [line(case, row, record["versions"]) for row in here]
    lines = [row for _, rows in newest.values() for row in rows]
    if trained := to_accuracy(ROOT.parent / "docs" / "results"):
        newest["P2", "training"] = {"date": "", "probes": []}, [trained]
        lines.append(trained)
    for goal, (case, peer, bar, stretch, reason) in NOT_MEASURED.items():
        if goal not in {known for known, _ in newest}:
            lines.append(_cells(goal, case, "", peer, "", "–", "", bar, stretch, f"not measured: {reason}", ""))
    lines.sort(key=lambda row: int(re.findall(r"\d+", row)[0]))
    machines = {record["date"]: _machine(record) for record, _ in newest.values() if record["date"]}
    return "\n".join([HEAD, re.sub(r"[^|]+", "---", HEAD), *lines, "", *machines.values()])


def to_accuracy(folder: Path) -> str:
    """The row of P2, from the runs of `quick` whose records are kept in FOLDER; "" where there are none."""
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("cifar-quick20*/result.json"))]
    if not found:
        return ""
    case, peer, bar, stretch, _ = NOT_MEASURED["P2"]
    errors = [result["test_error"] for result in found]
    fewer = _PAPERS_IMAGES / (found[0]["updates"] * 128)
    minutes = min(result["seconds"] for result in found) / 60
    reached = statistics.fmean(errors) <= _PAPERS_ERROR
    verdict = "FAIL" if not reached or fewer < 5 or minutes > 30 else "PASS"
    verdict += ", stretch" if verdict == "PASS" and fewer >= 8 and minutes <= 20 else ""
    seeds = ", ".join(f"{result['test_error']:.2f} % in {result['seconds'] / 60:.1f} min" for result in found)
    ours = f"recipe quick: {seeds}"
    return _cells("P2", case, ours, peer, "fewer images", f"{fewer:.2g}×", "", f"≥ {bar}", f"≥ {stretch}", verdict, "")


def line(case: Record, row: Record, versions: dict[str, str]) -> str:
    """A row of the table."""
    measure, arms = MEASURES[row["measure"]], case["arms"]
    names = {who: _called(row[who], arms.get(row[who], {}), versions) for who in ("ours", "peer")}
    value, span = ("–", "") if "value" not in row else (f"{row['value']:.3g}{measure.sign}", row.get("interval", ()))
    bars = [
        "–" if bar is None else f"{'≥' if measure.at_least else '≤'} {bar:g}" for bar in (row["bar"], row["stretch"])
    ]
    starts = "; ".join(
        f"{arms[row[who]]['setup'] + arms[row[who]]['first']:.1f} s"
        for who in names
        if "setup" in arms.get(row[who], {})
    )
    crosses = row["bar"] is not None and bool(span) and span[0] < row["bar"] < span[1]
    why = row["reason"] or ("the interval crosses the bar" if crosses else "")
    verdict = row["verdict"] + (f": {why}" if why else "")
    told = " – ".join(f"{end:.3g}" for end in span)
    return _cells(row["goal"], case["case"], *names.values(), row["measure"], value, told, *bars, verdict, starts)


def _called(name: str, arm: Record, versions: dict[str, str]) -> str:
    package = arm.get("package", "")
    told = (arm.get("engine", ""), f"{package} {versions[package]}" if package in versions else "")
    return f"{name} ({', '.join(filter(None, told))})" if any(told) else name


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _machine(record: Record) -> str:
    facts, probes = record["machine"], record["probes"]
    roof = "; ".join(f"{name} {' → '.join(f'{each[name]:.0f}' for each in probes)}" for name in probes[0])
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"* {record['date']}: {facts['cores']} cores, {facts['cpu']}, {facts['memory_gib']} GiB; {roof}; {packages}"


if __name__ == "__main__":
    sys.exit(main())
