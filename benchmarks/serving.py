"""`python -m benchmarks.serving MODEL --data DIR`: a server under load beside our own loop of the same engine (P14)."""

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from resnets.deploy.predictor import Predictor, found
from resnets.errors import DataError, ResnetsError
from resnets.files import write_json
from resnets.serve.batching import BATCH
from resnets.serve.decoder import decoded

from .case import Comparison
from .clients import TOP, Asked, Health, closed_loop, ready, told, watched
from .machine import machine, probe, versions
from .measures import ROUNDS, compared, twin_ratio

RESULTS = Path(__file__).parent / "results"
GOAL = Comparison("P14", "server", ("offline loop",), "speed", 0.90, 0.95)
_LARGEST = 1e-4  # difference of a probability
_WARM = 3.0  # seconds
_HEALTHY = 0.25  # seconds that a look at /live or /ready may take
_KINDS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})


def main() -> int:
    """Measure what the command line names; the exit code."""
    asked = _parser().parse_args()
    try:
        record = measured(asked)
    except ResnetsError as error:
        print(f"benchmarks.serving: {error}", file=sys.stderr)
        return error.exit_code
    out = asked.out or RESULTS / f"{record['date']}-P14.json"
    write_json(out, record)
    print(told_of(record["cases"][0]), f"kept in {out}", sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("model", type=Path, help="a run, a model folder or an exported model")
    parser.add_argument("--data", type=Path, required=True, help="a folder of pictures; its folders are searched, too")
    parser.add_argument("--images", type=int, default=256, help="how many of them are sent again and again")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=6.0, help="of the server in a round; the loop has as many")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<date>-P14.json")
    return parser


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """The record: in every round the loop, the server and the loop again, which is the twin of the first."""
    pictures, stamp, first = pictures_of(asked.data, asked.images), time.strftime("%Y-%m-%d-%H%M"), probe()
    predictor = found(asked.model).start(asked.engine)
    expected = np.concatenate([answers for answers, _ in _loop(predictor, pictures)])
    before, rates, after = list[float](), list[float](), list[float]()
    done, health = list[Asked](), Health()
    with started(asked.model, predictor.engine) as port:
        asyncio.run(closed_loop(port, pictures, asked.clients, _WARM))
        for _ in range(asked.rounds):
            before.append(offline(predictor, pictures, asked.seconds / 2))
            answers, looks = asyncio.run(_under_load(port, pictures, asked.clients, asked.seconds))
            rates.append(told(answers, asked.seconds)["images_per_second"])
            after.append(offline(predictor, pictures, asked.seconds / 2))
            done, health = done + answers, Health(health.seconds + looks.seconds, health.failures + looks.failures)
    arms = {
        "server": _arm(predictor, rates),
        "offline loop": _arm(predictor, [(a + b) / 2 for a, b in zip(before, after, strict=True)]),
    }
    count = wrong(done, expected, predictor.description.classes)
    one, other = ([{"seconds": 1 / rate} for rate in half] for half in (before, after))
    twin = twin_ratio(one, other)
    row = compared(GOAL, arms, void(count, health), twin)
    case = {
        "case": f"server, {predictor.description.name} on photographs, {asked.clients} clients, {predictor.engine}",
        "unit": "image", "amount": 1, "arms": arms, "twin": twin, "rows": [row], "wrong": count,
        "images": len(pictures), "server": told(done, asked.seconds * asked.rounds),
        "health": {"looks": len(health.seconds), "failures": len(health.failures), "max": 1000 * max(health.seconds)},
    }  # fmt: skip
    facts = {"date": stamp, "quick": False, "machine": machine(), "versions": versions()}
    return {**facts, "probes": [first, probe()], "cases": [case]}


def void(wrong: int, health: Health) -> str:
    """Why the speed of a server does not count: WRONG answers, or health that was not told, or late."""
    slowest = max(health.seconds)
    reasons = {
        f"{wrong} wrong answers": wrong,
        f"{len(health.failures)} looks at its health failed": health.failures,
        f"its health came after {1000 * slowest:.0f} ms": slowest > _HEALTHY,
    }
    return "; ".join(reason for reason, is_so in reasons.items() if is_so)


def _arm(predictor: Predictor, rates: Sequence[float]) -> dict[str, Any]:
    return {"package": "resnets", "engine": predictor.engine, "rounds": [{"seconds": 1 / rate} for rate in rates]}


def told_of(case: dict[str, Any]) -> str:
    """A case for a person."""
    (row,), server = case["rows"], case["server"]
    low, high = row["interval"]
    verdict = row["verdict"] + (f": {row['reason']}" if row["reason"] else "")
    return (
        f"P14 {case['case']}: {server['images_per_second']:.1f} images/s, {row['value']:.3f} of the offline loop "
        f"({low:.3f} - {high:.3f}, wanted {row['bar']:.2f}: {verdict}); "
        f"p50 {server['p50']:.0f} ms, p99 {server['p99']:.0f} ms; health at most {case['health']['max']:.0f} ms; "
        f"{case['wrong']} wrong answers"
    )


def pictures_of(folder: Path, count: int) -> list[bytes]:
    """COUNT encoded pictures spread over a folder. Raises DataError where there is none."""
    names = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _KINDS)
    if not names:
        raise DataError(f"no pictures in {folder}")
    return [names[len(names) * n // count].read_bytes() for n in range(min(count, len(names)))]


def _loop(predictor: Predictor, pictures: Sequence[bytes]) -> Iterator[tuple[Any, int]]:
    """Once over the pictures in batches: decoded, preprocessed, answered; probabilities and images of each batch."""
    seen = predictor.description.preprocessing
    for first in range(0, len(pictures), BATCH):
        batch = pictures[first : first + BATCH]
        yield predictor.probabilities(np.stack([decoded(seen, data) for data in batch])), len(batch)


def offline(predictor: Predictor, pictures: Sequence[bytes], seconds: float) -> float:
    """Images a second of the loop, over at least so many SECONDS and whole passes."""
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += sum(count for _, count in _loop(predictor, pictures))
    return images / (time.perf_counter() - began)


@contextmanager
def started(model: Path, engine: str) -> Iterator[int]:
    """A server of MODEL in a process of its own, ready; its port."""
    command = [sys.executable, "-m", "resnets", "serve", f"model={model}", "--port", "0", "--engine", engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+:(\d+)", process.stdout.readline())
            if address is None:
                raise DataError("the server did not start")
            port = int(address[1])
            asyncio.run(ready(port))
            yield port
        finally:
            process.terminate()


async def _under_load(port: int, pictures: Sequence[bytes], clients: int, seconds: float) -> tuple[list[Asked], Any]:
    async with watched(port) as health:
        return await closed_loop(port, pictures, clients, seconds), health


def wrong(done: Sequence[Asked], expected: Any, classes: Sequence[str]) -> int:
    """Answers that are not those of the loop for the same picture."""
    return sum(not same(each, expected[each.number], classes) for each in done)


def same(asked: Asked, expected: Any, classes: Sequence[str]) -> bool:
    """Whether the classes of an answer are the best ones, by the probabilities EXPECTED of its picture (classes,)."""
    given = {each["name"]: each["probability"] for each in asked.answer.get("classes", ())}
    best = np.sort(expected)[::-1][:TOP]
    if asked.status != 200 or len(given) != len(best) or not given.keys() <= set(classes):
        return False
    pairs = [(p, expected[classes.index(name)]) for name, p in given.items()]
    pairs += zip(sorted(given.values(), reverse=True), best, strict=True)
    return all(abs(p - q) <= _LARGEST for p, q in pairs)


if __name__ == "__main__":
    sys.exit(main())
