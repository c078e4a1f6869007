"""`python -m benchmarks.growth`: docs/growth.md, curves of seconds and memory from the newest records of P15."""

import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.ticker import NullFormatter

from resnets.analysis.pictures import panels, svg
from resnets.errors import ResnetsError, UsageError
from resnets.files import write_file

from .table import ROOT, records

IMAGENET = 1_281_167  # training images
BILLION = 10**9
_EPOCHS = 90  # of an ImageNet training
_PAGE = """# How cost grows

Seconds and memory of one call against depth, batch, pixels, images and processes, from `python -m benchmarks P15`
(medians of its rounds, all in fp32, prediction by PyTorch as it is; memory is what the call adds to the process, or to
all of several together). The record with every round and its machine stand under each table; the machines differ.
"Linear" means an exponent of at most 1.1, a bar of our own. A part of the growth with depth is the network's own: 1202
layers are 60 times 20, and 70 times its multiply-adds, since stem and strided layers weigh less in a deep network.
Made by `python -m benchmarks.growth`.

![seconds and memory against depth, batch, pixels, images and processes](growth.svg)

{tables}

## What that would come to

{arithmetic}
"""
Point = tuple[str, float, float, float]  # arm, work, seconds, MiB


def main() -> int:
    """Write the page and its picture; the exit code."""
    docs = ROOT.parent / "docs"
    try:
        write(docs)
    except ResnetsError as error:
        print(f"benchmarks.growth: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write(docs: Path) -> None:
    """Write growth.md and growth.svg into DOCS. Raises UsageError where no record has P15."""
    found, notes = dict[str, list[Point]](), dict[str, str]()
    for record in records(ROOT / "results"):
        for case in record["cases"]:
            if any(row["goal"] == "P15" for row in case["rows"]) and (rows := points(case)):
                found[case["case"]], notes[case["case"]] = rows, _note(record, case)
    if not found:
        raise UsageError("no record has P15; measure it with: python -m benchmarks P15")
    tables = "\n\n".join(_table(title, rows, notes[title]) for title, rows in found.items())
    write_file(docs / "growth.svg", picture(found).encode())
    text = _PAGE.format(tables=tables, arithmetic="\n".join(arithmetic(found)))
    write_file(docs / "growth.md", text.encode())


def _note(record: dict[str, Any], case: dict[str, Any]) -> str:
    void = next(
        (f" Its seconds count for little: {row['reason']}." for row in case["rows"] if row["verdict"] == "VOID"), ""
    )
    facts = record["machine"]
    return f"Record `{record['date']}`: {facts['cores']} cores, {facts['cpu']}.{void}"


def points(case: dict[str, Any]) -> list[Point]:
    """Of every arm that worked: its work, and the medians of seconds and memory over its rounds."""
    return [
        (
            name,
            arm["rounds"][0]["work"],
            statistics.median(each["seconds"] for each in arm["rounds"]),
            statistics.median(each["bytes"] for each in arm["rounds"]) / 2**20,
        )
        for name, arm in case["arms"].items()
        if arm.get("rounds") and not name.endswith("(twin)")
    ]


def _table(title: str, rows: list[Point], note: str) -> str:
    first = rows[0]
    lines = [f"| {title} | seconds | × | work × | MiB |", "|---|---|---|---|---|"]
    for name, work, seconds, memory in rows:
        lines.append(f"| {name} | {seconds:.3g} | {seconds / first[2]:.2f} | {work / first[1]:.2f} | {memory:,.0f} |")
    return "\n".join([*lines, "", note])


def picture(found: dict[str, list[Point]]) -> str:
    """A chart per case, seconds (left) and MiB (right, dashed) against the work, both logarithmic, as SVG."""
    figure, places = panels(1, len(found), (4, 3.4))
    for axes, (title, rows) in zip(places, found.items(), strict=True):
        work = [row[1] for row in rows]
        axes.plot(work, [row[2] for row in rows], "o-", color="C0")
        linear = [rows[0][2] * each / rows[0][1] for each in work]
        axes.plot(work, linear, ":", color="gray")
        axes.set(xscale="log", yscale="log", xlabel="work", ylabel="seconds (dotted: linear)")
        axes.set_title(title, fontsize=8)
        memory = axes.twinx()
        memory.plot(work, [max(row[3], 1.0) for row in rows], "s--", color="C1")
        memory.set(yscale="log", ylabel="MiB (dashed)")
        most = max(1.0, *(row[3] for row in rows))
        memory.set_ylim(min(max(row[3], 1.0) for row in rows) / 2, 2 * most)  # flat is to look flat
        for axis in (axes.xaxis, axes.yaxis, memory.yaxis):
            axis.set_minor_formatter(NullFormatter())
    return svg(figure)


def arithmetic(found: dict[str, list[Point]]) -> list[str]:
    """What a training on ImageNet and a prediction of a billion images would come to, with the sums shown."""
    lines = []
    for title, rows in found.items():
        name, work, seconds, _ = rows[-1]
        if "against images" in title:
            each = seconds / work
            lines.append(
                f"* Predicting a billion photographs with `resnet18`: {each * 1000:.1f} ms each, so {each:.4f} s × 10⁹ "
                f"= {each * BILLION / 86400:,.0f} days there, in the same memory but for the list of names: "
                "what is read is given back. (Here PyTorch computes, in fp32; an engine of `--engine auto` is faster.)"
            )
            lines.append(f"* Testing on ImageNet's 50,000: {each:.4f} s × 50,000 = {each * 50_000 / 60:,.0f} min.")
        if "against pixels" in title:
            at = next((row for row in rows if "224" in row[0]), rows[-1])
            each = 3 * at[2] / 8
            lines.append(
                "* Training `resnet18` on ImageNet: an update costs about three times the forward pass, "
                f"{each:.3f} s an image; × {IMAGENET:,} × {_EPOCHS} epochs = "
                f"{each * IMAGENET * _EPOCHS / 86400:,.0f} days there in fp32, without input."
            )
        if "against depth" in title:
            lines.append(
                f"* CIFAR-10 with {name.split(' layers')[0]} layers, the paper's 64,000 updates of 128: "
                f"{seconds:.2f} s × 4 × 64,000 = {seconds * 4 * 64_000 / 86400:,.1f} days in fp32, nothing recomputed."
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
