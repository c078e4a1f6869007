"""Batches are what waits: no artificial wait, no mixed answers, no work for those who have gone."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from servers import channel_means, slow_model

from resnets.serve.batching import BATCH, PLACES, Explain, Model
from resnets.serve.metrics import Metrics
from resnets.serve.refusals import Refusal


def view(number):
    """A view whose mean is NUMBER in every channel."""
    return np.full((16, 16, 3), number, np.uint8)


def watched(seconds=0.01):
    """A model that sleeps so long for a batch, and the sizes of its batches after it is ready."""
    servable, sizes = slow_model(seconds), []
    began = servable.start

    def run(images):
        sizes.append(len(images))
        time.sleep(seconds)
        return channel_means(images)

    return replace(servable, start=lambda engine: replace(began(engine), run=run)), sizes


def asked(do, servable, **settings):
    """What DO(model) comes to on a model that is at work."""

    async def run():
        model = Model("m", servable, Metrics(frozenset()), **settings)
        work = asyncio.create_task(model.work())
        await model.start("auto")
        try:
            return await do(model)
        finally:
            work.cancel()
            model.thread.shutdown()

    return asyncio.run(run())


def expected(model, number):
    return model.predictor.probabilities(view(number)[None])[0]


@pytest.mark.parametrize("batch", [1, BATCH])
def test_every_answer_belongs_to_its_question(batch):
    servable, sizes = watched()

    async def ask(model):
        numbers = range(0, 250, 5)
        answers = await asyncio.gather(*(model.ask(view(n)) for n in numbers))
        for number, answer in zip(numbers, answers, strict=True):
            assert np.array_equal(answer.probabilities, expected(model, number))

    asked(ask, servable, batch=batch)
    assert max(sizes[2 : -50 or None]) == (batch if batch == 1 else BATCH)


def test_one_alone_does_not_wait_for_others():
    servable, sizes = watched(0.0)

    async def ask(model):
        return [await model.ask(view(n)) for n in range(5)]

    answers = asked(ask, servable)
    assert sizes[2:] == [1] * 5
    assert all(answer.waited < 0.05 for answer in answers)


def test_those_who_have_gone_are_not_answered():
    servable, sizes = watched(0.1)

    async def ask(model):
        first = asyncio.create_task(model.ask(view(0)))
        await asyncio.sleep(0.03)
        rest = [asyncio.create_task(model.ask(view(n))) for n in range(1, 11)]
        await asyncio.sleep(0)
        for task in rest[:7]:
            task.cancel()
        await asyncio.gather(first, *rest, return_exceptions=True)

    asked(ask, servable)
    assert sizes[2:] == [1, 3]


def test_places_are_bounded_and_given_back():
    servable, _ = watched()

    async def fill(model):
        places = [model.place() for _ in range(PLACES)]
        for place in places:
            place.__enter__()
        began = time.monotonic()
        with pytest.raises(Refusal, match="too much is waiting"):
            model.place().__enter__()
        assert time.monotonic() - began < 0.1
        places.pop().__exit__(None, None, None)
        with model.place():
            assert model.taken == PLACES
        assert model.taken == PLACES - 1

    asked(fill, servable)


def test_an_explanation_that_fails_spoils_no_other_answer():
    servable, _ = watched()
    began = servable.start

    def broken(image, label):
        raise ValueError

    servable = replace(servable, start=lambda engine: replace(began(engine), explain=broken))

    async def ask(model):
        return await asyncio.gather(
            model.ask(view(1)), model.ask(view(2), Explain()), model.ask(view(3)), return_exceptions=True
        )

    first, failed, last = asked(ask, servable)
    assert isinstance(failed, ValueError)
    assert first.probabilities.shape == last.probabilities.shape == (3,)


def test_explains_the_class_asked_for():
    servable, _ = watched()

    async def ask(model):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[..., 2] = 200  # blue
        return await asyncio.gather(*(model.ask(picture, Explain(label)) for label in (None, 0)))

    best, red = asked(ask, servable)
    assert (best.label, red.label) == (2, 0)
    assert best.heat.values.mean() > red.heat.values.mean()
