"""The processes that decode: right views, and one picture lost where one of them crashes, hangs or eats memory."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny_models import picture

from resnets.data.preprocessing import Preprocessing
from resnets.serve.decoder import LENGTHS, as_png, decoded, message, sentence
from resnets.serve.decoding import COUNT, Decoders, Patience
from resnets.serve.metrics import Metrics
from resnets.serve.refusals import Refusal

MODELS = {"small": Preprocessing(16), "gray": Preprocessing(8, 1, "pad", mean=(0.5,), std=(0.2,))}


def at_work(do, **patience):
    """What DO(decoders) comes to while they are at work; both are ready."""

    async def run():
        decoders = Decoders(MODELS, Metrics(frozenset()), Patience(**patience))
        tasks = [asyncio.create_task(decoders.work(number)) for number in range(COUNT)]
        while len(decoders.ready) < COUNT:
            await asyncio.sleep(0.01)
        try:
            return await do(decoders)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not decoders.processes

    return asyncio.run(run())


def test_views_are_those_of_the_library():
    async def ask(decoders):
        for number in range(6):
            for model, seen in MODELS.items():
                found = await decoders.decode(model, picture(number), png=number % 2 == 1)
                assert np.array_equal(found.view, decoded(seen, picture(number)))
                if number % 2:
                    image = Image.open(io.BytesIO(found.png))
                    assert np.array_equal(np.atleast_3d(np.asarray(image)), found.view)
                else:
                    assert found.png == b""

    at_work(ask)


def test_a_hundred_at_once_are_not_mixed_up():
    pictures = [picture(number) for number in range(100)]

    async def ask(decoders):
        return await asyncio.gather(*(decoders.decode("small", data) for data in pictures))

    for data, found in zip(pictures, at_work(ask), strict=True):
        assert np.array_equal(found.view, decoded(MODELS["small"], data))


async def fails(decoders, data, words):
    with pytest.raises(Refusal, match=words) as caught:
        await decoders.decode("small", data)
    assert caught.value.status == 422


def test_a_crash_takes_one_picture_down():
    """A decoder that is stopped holds its picture; killed, it loses that one only, and another takes its place."""

    async def ask(decoders):
        first = set(decoders.processes.values())
        for process in first:
            process.send_signal(signal.SIGSTOP)
        tasks = [asyncio.create_task(decoders.decode("small", picture(n))) for n in range(6)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        for process in first:
            process.kill()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - began < 3
        assert [isinstance(each, Refusal) for each in found] == [True] * 2 + [False] * 4
        assert str(found[0]) == "the picture could not be decoded"
        assert first.isdisjoint(decoders.processes.values())
        assert decoders.metrics.restarts._value.get() == 2

    at_work(ask)


def test_one_that_died_in_its_sleep_costs_nothing():
    async def ask(decoders):
        for process in decoders.processes.values():
            process.kill()
            await process.wait()
        assert (await decoders.decode("small", picture(0))).view.shape == (16, 16, 3)

    at_work(ask)


def test_a_hang_is_ended():
    async def ask(decoders):
        for process in decoders.processes.values():
            process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        await fails(decoders, picture(0), "could not be decoded")
        assert 0.25 < time.monotonic() - began < 1
        await asyncio.gather(decoders.decode("small", picture(2)), return_exceptions=True)  # the other one hangs, too
        assert (await decoders.decode("small", picture(1))).view.any()
        assert time.monotonic() - began < 3.5

    at_work(ask, seconds=0.3)


def test_memory_is_bounded():
    """A picture of 49 megapixels needs more than these 120 MB; the next one is decoded."""
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(out, "PNG", compress_level=1)

    async def ask(decoders):
        await fails(decoders, out.getvalue(), "not enough memory|could not be decoded")
        assert (await decoders.decode("small", picture(1))).view.any()

    at_work(ask, memory=120_000_000)


def test_those_who_have_gone_are_not_decoded():
    async def ask(decoders):
        for process in decoders.processes.values():
            process.send_signal(signal.SIGSTOP)
        tasks = [asyncio.create_task(decoders.decode("small", picture(n))) for n in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        for process in decoders.processes.values():
            process.send_signal(signal.SIGCONT)
        await decoders.decode("small", picture(1))
        assert decoders.metrics.decoding._sum.get() < 2
        assert decoders.metrics.restarts._value.get() == 0

    at_work(ask)


def test_a_decoder_says_nothing_else_and_ends_with_its_server():
    """What stands on its standard output is messages; when the other end is gone, so is it."""
    asked = message({"models": {"m": {"size": 16}}, "seconds": 5, "memory": 10**9})
    asked += message({"model": "m", "png": True}, picture(1)) + message({"model": "m", "png": False}, b"no")
    command = [sys.executable, "-m", "resnets.serve.decoder"]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=30, check=True)
    data, found = done.stdout, []
    while data:
        text, more = LENGTHS.unpack(data[: LENGTHS.size])
        found.append((data[LENGTHS.size : LENGTHS.size + text], more))
        data = data[LENGTHS.size + text + more :]
    assert [text for text, _ in found] == [
        b'{"ready": true}',
        b'{"view": 768}',
        b'{"error": "not JPEG, PNG, WebP, BMP or GIF: unknown"}',
    ]
    assert found[1][1] > 768
    assert done.stderr == b""


def test_a_decoder_does_not_outlive_a_server_that_was_killed():
    """Whoever left it with a picture in hand: it ends itself, though nobody reads its answer."""
    asked = message({"models": {"m": {"size": 16}}, "seconds": 5, "memory": 10**9})
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets.serve.decoder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        process.stdin.write(asked)
        process.stdin.flush()
        assert process.stdout.read(LENGTHS.size)
        for number in (signal.SIGTERM, signal.SIGINT):  # a terminal's, a supervisor's
            os.kill(process.pid, number)
        time.sleep(0.1)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(5) == 0


def test_what_is_said_of_damage_is_our_own_words():
    from resnets.data.images import ImageError

    assert sentence(ImageError("damaged PNG: cannot identify <_io.BytesIO object at 0x7f>")) == "damaged PNG"
    assert sentence(ImageError("damaged NumPy array")) == "damaged NumPy array"
    assert sentence(ImageError("not JPEG, PNG, WebP, BMP or GIF: PDF")) == "not JPEG, PNG, WebP, BMP or GIF: PDF"
    assert sentence(RuntimeError("/home")) == "the picture could not be decoded"


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_view_has_a_picture(channels):
    view = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    image = np.asarray(Image.open(io.BytesIO(as_png(view))))
    assert np.array_equal(image, view[..., :3] if channels >= 3 else view[..., 0])
