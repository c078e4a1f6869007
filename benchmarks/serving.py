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

from .clients import Asked, closed_loop, ready, told, watched
from .machine import machine, versions

RESULTS = Path(__file__).parent / "results"
WANTED = 0.90  # of the offline loop
_LARGEST = 1e-4  # difference of a probability
_WARM = 3.0  # seconds
_KINDS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})


def main() -> int:
    """Measure what the command line names; the exit code."""
    asked = _parser().parse_args()
    try:
        record = measured(asked)
    except ResnetsError as error:
        print(f"benchmarks.serving: {error}", file=sys.stderr)
        return error.exit_code
    write_json(asked.out or RESULTS / f"{record['date']}-P14.json", record)
    print(line(record))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("model", type=Path, help="a run, a model folder or an exported model")
    parser.add_argument("--data", type=Path, required=True, help="a folder of pictures; its folders are searched, too")
    parser.add_argument("--images", type=int, default=256, help="how many of them are sent again and again")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<date>-P14.json")
    return parser


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """The record: the loop in two halves, and the server between them."""
    pictures = pictures_of(asked.data, asked.images)
    predictor = found(asked.model).start(asked.engine)
    expected = np.concatenate([answers for answers, _ in _loop(predictor, pictures)])
    before = offline(predictor, pictures, asked.seconds / 2)
    with started(asked.model, predictor.engine) as port:
        asyncio.run(closed_loop(port, pictures, asked.clients, _WARM))
        done, health = asyncio.run(_under_load(port, pictures, asked.clients, asked.seconds))
    after = offline(predictor, pictures, asked.seconds / 2)
    rate = (before + after) / 2
    server = told(done, asked.seconds)
    return {
        "date": time.strftime("%Y-%m-%d-%H%M"),
        "model": asked.model.name,
        "engine": predictor.engine,
        "images": len(pictures),
        "clients": asked.clients,
        "seconds": asked.seconds,
        "machine": machine(),
        "versions": versions(),
        "offline": {"images_per_second": rate, "halves": [before, after]},
        "server": server,
        "health": {"looks": len(health.seconds), "failures": len(health.failures), "max": 1000 * max(health.seconds)},
        "wrong": wrong(done, expected, predictor.description.classes),
        "ratio": server["images_per_second"] / rate,
    }


def line(record: dict[str, Any]) -> str:
    """A record for a person."""
    server, loop = record["server"], record["offline"]["images_per_second"]
    verdict = "reached" if record["ratio"] >= WANTED else "missed"
    return (
        f"P14 {record['model']} by {record['engine']}: server {server['images_per_second']:.1f} images/s with "
        f"{record['clients']} clients, offline loop {loop:.1f}, ratio {record['ratio']:.3f} (wanted {WANTED:.2f}: "
        f"{verdict}); p50 {server['p50']:.0f} ms, p99 {server['p99']:.0f} ms; health at most "
        f"{record['health']['max']:.0f} ms; {record['wrong']} wrong answers"
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
    """Whether an answer has every class with the probability EXPECTED of its picture (classes,)."""
    given = {each["name"]: each["probability"] for each in asked.answer.get("classes", ())}
    if asked.status != 200 or len(given) != min(len(classes), 1000):
        return False
    return all(abs(given.get(name, p) - p) <= _LARGEST for name, p in zip(classes, expected, strict=True))


if __name__ == "__main__":
    sys.exit(main())
