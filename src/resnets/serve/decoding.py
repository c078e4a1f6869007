"""Two processes that decode: pictures wait for a free one, and what crashes, hangs or eats memory is alone."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from logging import getLogger

import numpy as np
from numpy.typing import NDArray

from ..data.preprocessing import Preprocessing
from ..errors import safe_text
from .decoder import LENGTHS, message
from .metrics import Metrics
from .refusals import Refusal

COUNT = 2
_STARTING = 30.0  # seconds that a process may take to say that it is ready
_AGAIN = 1.0  # seconds until one that does not start is started again
_MOST = 4096, 64_000_000  # bytes of an answer: of its JSON, and what follows
_log = getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Seconds for a picture, and bytes of memory of a process that decodes."""

    seconds: float = 5.0
    memory: int = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the network sees, uint8 (size, size, channels), the same as PNG if that was asked for, and seconds."""

    view: NDArray[np.uint8]
    png: bytes
    waited: float
    spent: float


@dataclass(frozen=True, eq=False)
class _Picture:
    model: str
    data: bytes
    png: bool
    answer: asyncio.Future[Decoded]
    since: float


class Decoders:
    """The processes and the pictures that wait for them."""

    def __init__(self, models: Mapping[str, Preprocessing], metrics: Metrics, patience: Patience | None = None) -> None:
        self.models, self.metrics, self.patience = models, metrics, patience or Patience()
        self.pictures = asyncio.Queue[_Picture]()  # the models bound how many there are
        self.processes = dict[int, Process]()
        self.ready = set[int]()  # numbers

    async def decode(self, model: str, data: bytes, png: bool = False) -> Decoded:
        """What MODEL sees of an encoded picture. Raises Refusal with the reason in a sentence."""
        answer = asyncio.get_running_loop().create_future()
        await self.pictures.put(_Picture(model, data, png, answer, time.monotonic()))
        return await answer

    async def work(self, number: int) -> None:
        """Be the decoder of this NUMBER for ever."""
        try:
            process = await self._started(number)
            while True:
                picture = await self.pictures.get()
                if picture.answer.done():  # its client has gone, or its time is over
                    continue
                if process.returncode is not None:
                    process = await self._started(number)
                if not await self._answer(process, picture):
                    process = await self._started(number)
        finally:
            await self._end(number)

    async def _answer(self, process: Process, picture: _Picture) -> bool:
        """Answer for a picture; whether the process may go on."""
        began = time.monotonic()
        asked = message({"model": picture.model, "png": picture.png}, picture.data)
        try:
            async with asyncio.timeout(self.patience.seconds):
                facts, data = await _exchanged(process, asked)
            found, alive = self._found(picture, facts, data, began), True
        except (OSError, EOFError, TimeoutError, ValueError, KeyError, TypeError) as error:
            _log.error("a decoder was ended: %s", type(error).__name__)
            found, alive = Refusal("picture"), False
        if not picture.answer.done():
            if isinstance(found, Refusal):
                picture.answer.set_exception(found)
            else:
                picture.answer.set_result(found)
        return alive

    def _found(self, picture: _Picture, facts: dict[str, object], data: bytes, began: float) -> Decoded | Refusal:
        """What an answer comes to; ValueError and the like for one that no decoder gives."""
        if "error" in facts:
            return Refusal("picture", safe_text(str(facts["error"]))[:200])
        seen, spent = self.models[picture.model], time.monotonic() - began
        shape = (seen.size, seen.size, seen.channels)
        view = np.frombuffer(data, np.uint8, int(np.prod(shape))).reshape(shape)
        self.metrics.decoding.observe(spent)
        return Decoded(view, data[view.nbytes :], began - picture.since, spent)

    async def _started(self, number: int) -> Process:
        """A process that is ready, in place of the one of this NUMBER; started again until it is."""
        while True:
            await self._end(number)
            with suppress(OSError, EOFError, TimeoutError, ValueError):
                async with asyncio.timeout(_STARTING):
                    return await self._start(number)
            _log.error("a decoder does not start")
            await asyncio.sleep(_AGAIN)

    async def _start(self, number: int) -> Process:
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "resnets.serve.decoder"),
            stdin=PIPE,
            stdout=PIPE,
            limit=1 << 20,
            env={**os.environ, **alone, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is the server's
        )
        self.processes[number] = process
        models = {name: asdict(replace(seen, pixel_mean=None)) for name, seen in self.models.items()}
        settings = {"models": models, "seconds": self.patience.seconds, "memory": self.patience.memory}
        await _exchanged(process, message(settings))
        self.ready.add(number)
        return process

    async def _end(self, number: int) -> None:
        self.ready.discard(number)
        process = self.processes.pop(number, None)
        if process is None:
            return
        self.metrics.restarts.inc()
        with suppress(ProcessLookupError):
            process.kill()
        if process.stdin:
            process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await process.wait()


async def _exchanged(process: Process, asked: bytes) -> tuple[dict[str, object], bytes]:
    """The answer to a message. Raises OSError or EOFError where the process dies, ValueError for what is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(asked)
    await process.stdin.drain()
    text, data = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    if text > _MOST[0] or data > _MOST[1]:
        raise ValueError("an answer that no decoder gives")
    facts = json.loads(await process.stdout.readexactly(text))
    if not isinstance(facts, dict):
        raise ValueError("an answer that no decoder gives")
    return facts, await process.stdout.readexactly(data)
