"""Under load: right answers, quick refusals, health at all times, nothing left behind."""

import asyncio
import random

import numpy as np
import pytest
from servers import serve, slow
from tiny_models import CLASSES, picture

from benchmarks.clients import CLOSED, closed_loop, open_loop, percentile, told, watched
from benchmarks.serving import same
from resnets.deploy.predictor import found
from resnets.serve.decoder import decoded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PICTURES = [picture(number, "JPEG", (120, 90)) for number in range(256)]


@pytest.fixture(scope="module")
def expected(models):
    """Probabilities of every picture without a server, distinguishable from each other."""
    servable = found(models / "tiny.onnx")
    predictor, seen = servable.start("auto"), servable.description.preprocessing
    each = np.concatenate([predictor.probabilities(decoded(seen, data)[None]) for data in PICTURES])
    assert len(np.unique(each.round(3), axis=0)) >= 200
    return each


def healthy(health):
    """Whether it was always told, within 250 ms."""
    assert len(health.seconds) > 10
    return not health.failures and max(health.seconds) <= 0.25


@pytest.mark.parametrize("clients", [8, 32])
def test_closed_loop(server, expected, clients):
    """No wrong answer, no refusal; how long the slowest take is told beside one client alone (G-8)."""
    alone = told(asyncio.run(closed_loop(server.port, PICTURES, 1, 3)), 3)["p50"]

    async def run():
        async with watched(server.port) as health:
            return await closed_loop(server.port, PICTURES, clients, 30), health

    done, health = asyncio.run(run())
    found = told(done, 30)
    print(f"{clients} clients: {found}, alone p50 {alone:.1f} ms, health p99 "
          f"{1000 * percentile(health.seconds, 99):.0f}, at most {1000 * max(health.seconds):.0f} ms")  # fmt: skip
    assert {each.status for each in done} == {200}
    assert all(same(each, expected[each.number], CLASSES) for each in done)
    assert len(done) > 1000
    assert len(health.seconds) > 200
    assert healthy(health)


def test_batch_invariant_answers_have_the_same_bits(models):
    """Alone and among fifteen others."""
    with serve(models / "tiny.onnx", "--batch-invariant") as server:
        server.wait()
        alone = asyncio.run(closed_loop(server.port, PICTURES, 1, 3))
        among = asyncio.run(closed_loop(server.port, PICTURES, 16, 3))
    first = {each.number: each.answer["classes"] for each in alone}
    again = [each for each in among if each.number in first]
    assert len(again) > 100
    assert all(each.answer["classes"] == first[each.number] for each in again)


def test_open_loop_at_three_times_the_capacity():
    """A model of 80 pictures a second: what is accepted is answered, the rest refused at once; then all is well."""
    with slow(seconds=0.2) as server:
        idle, *_ = server.wait().held()
        capacity = len(asyncio.run(closed_loop(server.port, PICTURES, 32, 5))) / 5

        async def run():
            async with watched(server.port) as health:
                return await open_loop(server.port, PICTURES, 3 * capacity, 20), health

        done, health = asyncio.run(run())
        grown = server.peak() - idle
        found = told(done, 20)
        refused, accepted = ([each.seconds for each in done if each.status == status] for status in (503, 200))
        late, slowest = percentile(refused, 99), percentile(accepted, 99)
        print(f"capacity {capacity:.0f}/s: {found}, health at most {1000 * max(health.seconds):.0f} ms, "
              f"refused within {1000 * late:.0f} ms (p99), {grown:+.0f} MiB")  # fmt: skip
        assert found["statuses"].keys() == {"200", "503"}
        assert found["images_per_second"] >= 0.9 * capacity
        assert all(each.seconds < 11 for each in done), "the deadline"
        assert late <= 0.1
        assert slowest <= 2
        assert grown <= 256
        assert healthy(health)
        assert {each.status for each in asyncio.run(closed_loop(server.port, PICTURES, 1, 2))} == {200}


WRONG = (b"", b"no picture", PICTURES[0][:200], b"GIF89a" + bytes(30))


def asked(server, count):
    """COUNT requests, three in ten of them with what is no picture, and what the server holds after them."""
    rng = random.Random(count)
    for _ in range(count):
        bad = rng.random() < 0.3
        reply = server.post("/predict?seen=true", rng.choice(WRONG if bad else PICTURES))
        assert (reply.status == 422) == bad
    return server.held()


def grown(server):
    """MiB by which a server grows from the first fifth of 1,200 requests to their end."""
    before, after = asked(server, 240), asked(server, 960)
    assert [abs(a - b) <= 1 for a, b in zip(after[1:], before[1:], strict=True)] == [True, True], "descriptors, threads"
    return after[0] - before[0]


def test_nothing_leaks(models):
    with serve(models / "tiny.onnx") as server:
        assert grown(server.wait()) <= 16
        assert server.log == ""


def test_a_planted_leak_is_found():
    """So that the test before means something: 32 KiB for every picture."""
    with slow() as server, slow(planted=32 * 1024) as leaking:
        assert grown(server.wait()) <= 16
        assert grown(leaking.wait()) > 16


@pytest.mark.parametrize("turn", range(5))
def test_restarts_under_clients(models, turn):
    """Clients that never stop, and a SIGTERM: no answer is cut, every refusal a 503 or a closed door, the end is 0."""
    with serve(models / "tiny.onnx") as server:
        server.wait()

        async def run():
            load = asyncio.create_task(open_loop(server.port, PICTURES, 100, 3))
            await asyncio.sleep(1 + turn / 10)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 10) == 0
            return await load

        done = asyncio.run(run())
        assert {each.status for each in done} <= {CLOSED, 200, 503}, "and none is CUT"
        assert sum(each.status == 200 for each in done) > 30
