"""Models at work: pictures wait in a queue, and all that wait when a model is free are its next batch."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..deploy.predictor import Heat, Predictor, Servable
from .metrics import Metrics
from .refusals import Refusal

PLACES = 64  # pictures of a model that are accepted and not answered
BATCH = 16  # pictures
T = TypeVar("T")


@dataclass(frozen=True)
class Explain:
    """That a picture's answer is to be explained: for the class of this number, None for the first one."""

    label: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """Probabilities (classes,) of a picture, what was explained, and seconds of waiting and of its batch."""

    probabilities: NDArray[np.float32]
    label: int
    heat: Heat | None
    waited: float
    spent: float


@dataclass(frozen=True, eq=False)
class _Question:
    view: NDArray[np.uint8]
    explain: Explain | None
    answer: asyncio.Future[Answer]
    since: float


class Model:
    """A model of this NAME, its queue, and the one thread in which it starts, answers and explains."""

    def __init__(self, name: str, servable: Servable, metrics: Metrics, batch: int = BATCH) -> None:
        self.name, self.servable, self.metrics, self.batch = name, servable, metrics, batch
        self.description = servable.description
        self.predictor: Predictor | None = None
        self.questions = asyncio.Queue[_Question]()
        self.taken = 0  # places
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        metrics.watch(name, lambda: self.taken)

    async def start(self, engine: str) -> None:
        """Make it answer by the ENGINE named; it has answered twice before it is ready."""
        predictor = await self._aside(partial(self.servable.start, engine))
        seen = self.description.preprocessing
        for size in {1, self.batch}:
            views = np.zeros((size, seen.size, seen.size, seen.channels), np.uint8)
            await self._aside(partial(predictor.probabilities, views))
        self.predictor = predictor

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places. Raises Refusal where all are taken, or the model is not ready."""
        if self.predictor is None:
            raise Refusal("starting")
        if self.taken >= PLACES:
            raise Refusal("busy")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def ask(self, view: NDArray[np.uint8], explain: Explain | None = None) -> Answer:
        """The answer for a view (size, size, channels)."""
        answer = asyncio.get_running_loop().create_future()
        await self.questions.put(_Question(view, explain, answer, time.monotonic()))
        return await answer

    async def work(self) -> None:
        """Answer for ever."""
        while True:
            batch = await self._waiting()
            began = time.monotonic()
            try:
                found = await self._aside(partial(self._answers, batch, began))
            except Exception as error:
                found = [error] * len(batch)
            self.metrics.batches.labels(self.name).observe(len(batch))
            self.metrics.inference.labels(self.name).observe(time.monotonic() - began)
            pairs = list(zip(batch, found, strict=True))
            for question, one in sorted(pairs, key=lambda pair: pair[0].explain is not None):
                self.metrics.waiting.labels(self.name).observe(began - question.since)
                _settle(question.answer, await self._explained(question, one))

    async def _waiting(self) -> list[_Question]:
        """All that wait, at most a batch; those whose clients have gone, or whose time is over, are left out.

        An explanation takes longer than an answer: after one the others go to the end of the queue.
        """
        batch, explains = list[_Question](), False
        while not batch or (len(batch) < self.batch and not self.questions.empty()):
            question = await self.questions.get()
            if question.answer.done():
                continue
            if question.explain and explains:
                self.questions.put_nowait(question)
                break
            explains = explains or question.explain is not None
            batch.append(question)
        return batch

    def _answers(self, batch: Sequence[_Question], began: float) -> list[Answer | Exception]:
        """Of every question of a batch, without explanations."""
        assert self.predictor is not None
        found = self.predictor.probabilities(np.stack([question.view for question in batch]))
        spent = time.monotonic() - began
        return [
            Answer(probabilities, int(probabilities.argmax()), None, began - question.since, spent)
            for question, probabilities in zip(batch, found, strict=True)
        ]

    async def _explained(self, question: _Question, answer: Answer | Exception) -> Answer | Exception:
        """ANSWER with what was to be explained; what cannot be explained spoils no other answer."""
        if question.explain is None or isinstance(answer, Exception) or self.predictor is None:
            return answer
        label = answer.label if question.explain.label is None else question.explain.label
        try:
            heat = await self._aside(partial(self.predictor.heat, question.view, label))
        except Exception as error:
            return error
        return replace(answer, label=label, heat=heat)

    async def _aside(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, do)


def _settle(answer: asyncio.Future[Answer], found: Answer | Exception) -> None:
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
