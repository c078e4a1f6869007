"""The layer in front of everything, called event by event: limits that take patience or many clients to reach."""

import asyncio
import time
from types import SimpleNamespace

from in_process import HERE, ask, running
from servers import slow_model
from test_refusals import told
from tiny_models import picture

from resnets.serve import limits
from resnets.serve.limits import Rules

PNG = picture(0)


def test_crumbs():
    """A body in more pieces than any network makes of it; as many larger ones are read."""

    def pieces(size):
        left = [bytes(size)] * 5000

        async def receive():
            await asyncio.sleep(0)
            if left:
                return {"type": "http.request", "body": left.pop(), "more_body": True}
            return {"type": "http.disconnect"}

        return receive

    async def run():
        async with running({"run": slow_model()}) as (_, front):
            headers = {"content-length": "15000000"}
            crumbs = await ask(front, "POST", "/predict", headers=headers, receive=pieces(2))
            return crumbs, await ask(front, "POST", "/predict", headers=headers, receive=pieces(1400))

    crumbs, bites = asyncio.run(run())
    told(crumbs, "pieces")
    assert bites is None, "its client has gone; nobody is told anything"


def test_bodies_together_have_a_limit(monkeypatch):
    monkeypatch.setattr(limits, "HELD", 1000)

    async def run():
        async with running({"run": slow_model()}) as (_, front):
            first = await ask(front, "POST", "/predict", bytes(1001))
            return first, front.held, await ask(front, "POST", "/predict", bytes(100))

    full, held, other = asyncio.run(run())
    told(full, "busy")
    assert held == 0
    assert other.status == 422


def test_requests_together_have_a_limit_but_health_has_none(monkeypatch):
    monkeypatch.setattr(limits, "REQUESTS", 2)

    async def run():
        async with running({"run": slow_model(0.2)}) as (_, front):
            asked = [asyncio.create_task(ask(front, "POST", "/predict", PNG)) for _ in range(4)]
            await asyncio.sleep(0.05)
            health = await ask(front, "GET", "/live"), await ask(front, "GET", "/ready")
            return await asyncio.gather(*asked), health, front.requests

    asked, health, left = asyncio.run(run())
    assert [reply.status for reply in asked] == [200, 200, 503, 503]
    told(asked[-1], "busy")
    assert [reply.status for reply in health] == [200, 200]
    assert left == 0


def test_a_client_that_goes_is_not_worked_for():
    async def run():
        async with running({"run": slow_model(0.3)}, rules=HERE) as (service, front):
            model, left = service.models["run"], [{"type": "http.request", "body": PNG, "more_body": False}]

            async def receive():
                if left:
                    return left.pop()
                await asyncio.sleep(0.1)
                return {"type": "http.disconnect"}

            first = asyncio.create_task(ask(front, "POST", "/predict", PNG))
            await asyncio.sleep(0.05)
            began = time.monotonic()
            gone = await ask(front, "POST", "/predict", PNG, receive=receive)
            assert time.monotonic() - began < 0.25
            assert gone is None
            assert model.taken == 1, "its place is free again"
            assert (await first).status == 200
            return service.metrics.text().decode()

    assert 'resnets_batch_size_sum{model="run"} 1.0' in asyncio.run(run())


def test_what_was_accepted_is_answered_though_the_server_stops():
    """Some versions of uvicorn call every client gone as soon as the signal comes."""

    async def run():
        async with running({"run": slow_model(0.3)}) as (service, front):
            left = [{"type": "http.request", "body": PNG, "more_body": False}]

            async def receive():
                await asyncio.sleep(0.1 * (not left))
                service.server = SimpleNamespace(should_exit=not left)
                return left.pop() if left else {"type": "http.disconnect"}

            accepted = await ask(front, "POST", "/predict", PNG, receive=receive)
            half = await ask(front, "POST", "/predict", PNG, receive=receive)
            return accepted, half, await ask(front, "GET", "/ready")

    accepted, half, ready = asyncio.run(run())
    assert accepted.status == 200
    assert accepted.headers["connection"] == "close"
    told(half, "stopping")
    told(ready, "stopping")


def test_names_that_a_server_goes_by():
    local = Rules(frozenset({"localhost", "::1"}))
    wide = Rules(frozenset({"birds.example.org"}), any_address=True)
    assert [local.know(host) for host in ("localhost", "localhost:80", "[::1]:80", "10.0.0.1", "x", "", "a b")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert [wide.know(host) for host in ("birds.example.org:1", "10.0.0.1", "[fe80::1]", "evil.example", "1.2")] == [
        True, True, True, False, False,
    ]  # fmt: skip
