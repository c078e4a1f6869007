"""Clients of a server of ours: closed loops, arrivals that wait for no answer, and a look at its health."""

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

_PAUSE = 0.1  # seconds between two looks at health
TOP = 5  # classes that are asked for
CLOSED, CUT = 0, -1  # in the place of a status: no byte of an answer came, or not all of them
_QUERY = f"?top={TOP}"


@dataclass(frozen=True)
class Asked:
    """What became of a request: the number of its picture, the status (or CLOSED, CUT), seconds, and the answer."""

    number: int
    status: int
    seconds: float
    answer: dict[str, Any]


class CutError(EOFError):
    """An answer began, and its connection ended before it did."""


@dataclass
class Health:
    """Seconds of every look at /live and /ready, and the statuses that were not 200."""

    seconds: list[float] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of VALUES do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def exchanged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to the request DATA on a connection.

    Raises OSError or EOFError where none begins, CutError where one does not end.
    """
    writer.write(data)
    await writer.drain()
    begun = await reader.readexactly(1)
    try:
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        return int(head.split(" ", 2)[1]), await reader.readexactly(length)
    except (OSError, EOFError) as error:
        raise CutError from error


def request(picture: bytes, query: str = "") -> bytes:
    """The bytes of POST /predict."""
    head = f"POST /predict{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    return f"{head}Content-Length: {len(picture)}\r\n\r\n".encode() + picture


async def closed_loop(port: int, pictures: Sequence[bytes], clients: int, seconds: float) -> list[Asked]:
    """So many CLIENTS, each of which sends its next picture when it has the answer to its last one."""
    until, done = time.monotonic() + seconds, list[Asked]()

    async def client(first: int) -> None:
        number = first
        async with _connection(port) as (reader, writer):
            while time.monotonic() < until:
                began = time.monotonic()
                status, body = await exchanged(reader, writer, request(pictures[number], _QUERY))
                done.append(Asked(number, status, time.monotonic() - began, json.loads(body)))
                number = (number + clients) % len(pictures)

    await asyncio.gather(*(client(n % len(pictures)) for n in range(clients)))
    return done


async def open_loop(port: int, pictures: Sequence[bytes], rate: float, seconds: float) -> list[Asked]:
    """Arrivals at random (Poisson), RATE a second, each on a connection of its own, whatever became of the others."""
    random_ = random.Random(0)
    until, tasks, number = time.monotonic() + seconds, list[asyncio.Task[Asked]](), 0

    async def once(number: int) -> Asked:
        began = time.monotonic()
        try:
            async with _connection(port) as (reader, writer):
                status, body = await exchanged(reader, writer, request(pictures[number], _QUERY))
        except (OSError, EOFError) as error:
            kind = CUT if isinstance(error, CutError) else CLOSED
            return Asked(number, kind, time.monotonic() - began, {})
        return Asked(number, status, time.monotonic() - began, json.loads(body))

    while time.monotonic() < until:
        tasks.append(asyncio.create_task(once(number % len(pictures))))
        number += 1
        await asyncio.sleep(random_.expovariate(rate))
    return await asyncio.gather(*tasks)


async def ready(port: int) -> None:
    """Until the server says that it is ready."""
    while True:
        with suppress(OSError, EOFError):
            if await _look(port, "ready") == 200:
                return
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def watched(port: int) -> AsyncIterator[Health]:
    """The health of the server, looked at ten times a second meanwhile."""
    found = Health()
    task = asyncio.create_task(_watch(port, found))
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(port: int, found: Health) -> None:
    while True:
        for path in ("live", "ready"):
            began = time.monotonic()
            try:
                status = await _look(port, path)
            except (OSError, EOFError):
                status = 0
            found.seconds.append(time.monotonic() - began)
            if status != 200:
                found.failures.append(status)
        await asyncio.sleep(_PAUSE)


async def _look(port: int, path: str) -> int:
    async with _connection(port) as (reader, writer):
        return (await exchanged(reader, writer, f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))[0]


@asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


def told(done: Sequence[Asked], seconds: float) -> dict[str, Any]:
    """Answers a second, their times in milliseconds, and how often each status came."""
    times = [1000 * each.seconds for each in done if each.status == 200] or [0.0]
    statuses = {str(status): sum(each.status == status for each in done) for status in {each.status for each in done}}
    return {
        "images_per_second": sum(each.status == 200 for each in done) / seconds,
        "p50": statistics.median(times),
        "p99": percentile(times, 99),
        "statuses": statuses,
    }
