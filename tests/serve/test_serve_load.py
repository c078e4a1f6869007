"""Under load: right answers, quick refusals, health at all times, nothing left behind."""

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from servers import serve, slow
from test_bytes import descriptors
from tiny_models import CLASSES, picture

from benchmarks.clients import closed_loop, open_loop, percentile, told, watched
from benchmarks.serving import same
from resnets.deploy.predictor import found
from resnets.serve.decoder import decoded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PICTURES = [picture(number, "JPEG", (120, 90)) for number in range(96)]


@pytest.fixture(scope="module")
def expected(models):
    """Probabilities of every picture without a server, distinguishable from each other."""
    servable = found(models / "tiny.onnx")
    predictor, seen = servable.start("auto"), servable.description.preprocessing
    each = np.concatenate([predictor.probabilities(decoded(seen, data)[None]) for data in PICTURES])
    assert len(np.unique(each.round(3), axis=0)) >= 64
    return each


def memory(server):
    """MiB that the process itself holds."""
    lines = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss")) / 1024


@pytest.mark.parametrize("clients", [8, 32])
def test_closed_loop(server, expected, clients):
    async def run():
        async with watched(server.port) as health:
            return await closed_loop(server.port, PICTURES, clients, 30), health

    done, health = asyncio.run(run())
    print(f"{clients} clients: {told(done, 30)}, health at most {1000 * max(health.seconds):.0f} ms")
    assert {each.status for each in done} == {200}
    assert all(same(each, expected[each.number], CLASSES) for each in done)
    assert len(done) > 1000
    assert not health.failures
    assert len(health.seconds) > 200
    assert max(health.seconds) <= 0.25


def test_open_loop_at_three_times_the_capacity():
    """A model of 80 pictures a second: what is accepted is answered, the rest refused at once, and then all is well."""
    with slow(seconds=0.2) as server:
        server.wait()
        capacity = len(asyncio.run(closed_loop(server.port, PICTURES, 32, 5))) / 5

        async def run():
            async with watched(server.port) as health:
                return await open_loop(server.port, PICTURES, 3 * capacity, 20), health

        done, health = asyncio.run(run())
        found, refused = told(done, 20), [each.seconds for each in done if each.status == 503]
        print(f"capacity {capacity:.0f}/s: {found}, health at most {1000 * max(health.seconds):.0f} ms, "
              f"refused within {1000 * percentile(refused, 99):.0f} ms (p99)")  # fmt: skip
        assert found["statuses"].keys() == {"200", "503"}
        assert found["statuses"]["200"] > 64
        assert all(each.seconds < 11 for each in done), "the deadline"
        assert not health.failures
        assert max(health.seconds) <= 0.25
        assert {each.status for each in asyncio.run(closed_loop(server.port, PICTURES, 1, 2))} == {200}


def test_nothing_leaks(models):
    rng = random.Random(0)
    wrong = [b"", b"no picture", PICTURES[0][:200], b"GIF89a" + bytes(30)]

    def ask(server, count):
        for _ in range(count):
            bad = rng.random() < 0.3
            reply = server.post("/predict?seen=true", rng.choice(wrong if bad else PICTURES))
            assert (reply.status == 422) == bad

    with serve(models / "tiny.onnx") as server:
        server.wait()
        ask(server, 200)
        before, open_ = memory(server), descriptors(server)
        threads = len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))
        ask(server, 1000)
        assert memory(server) - before <= 16
        assert abs(descriptors(server) - open_) <= 1
        assert abs(len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) - threads) <= 1
        assert server.log == ""


@pytest.mark.parametrize("turn", range(5))
def test_restarts_under_clients(models, turn):
    """Sixteen clients that never stop, and a SIGTERM: every answer is whole, every refusal a 503, the end is 0."""
    with serve(models / "tiny.onnx") as server:
        server.wait()

        async def run():
            load = asyncio.create_task(open_loop(server.port, PICTURES, 100, 3))
            await asyncio.sleep(1 + turn / 10)
            server.process.terminate()
            return await load

        done = asyncio.run(run())
        assert {each.status for each in done} <= {0, 200, 503}
        assert sum(each.status == 200 for each in done) > 30
        assert server.process.wait(10) == 0
