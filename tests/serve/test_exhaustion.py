"""When something runs out: connections, descriptors, the disk of the log, the clock; then all is as before."""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time

import pytest
from in_process import ask, running
from servers import slow, slow_model
from test_bytes import HEAD, PNG, status
from test_refusals import told

from resnets.serve.serving import CONNECTIONS


@contextlib.contextmanager
def plugs(server, count, data=b""):
    """So many connections, each of which has sent DATA and says no more; those that are refused count, too."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                plug = stack.enter_context(server.connect(5))
                plug.sendall(data)
                found.append(plug)
        yield found


@contextlib.contextmanager
def dripping(found, every=0.2):
    """A byte of a header on each of these connections, again and again."""
    stop = threading.Event()

    def drip():
        while not stop.wait(every):
            for plug in found:
                with contextlib.suppress(OSError):
                    plug.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def recovered(server, seconds=8):
    """Whether pictures are answered again within so many SECONDS."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if server.ask("POST", "/predict", PNG, {"Content-Type": "image/png"}, seconds=2).status == 200:
                return True
        time.sleep(0.1)
    return False


def test_slow_headers_bother_nobody_below_the_limit(quick):
    with plugs(quick, 100, b"GET /live HTTP/1.1\r\nHost: localhost\r\nX: ") as found, dripping(found):
        assert len(found) == 100
        began = time.monotonic()
        assert [quick.post("/predict", PNG).status for _ in range(10)] == [200] * 10
        assert quick.get("/ready").status == 200
        assert time.monotonic() - began < 3


def test_slow_readers_bother_nobody_below_the_limit():
    """Fifty that ask for much and read nothing of it: the server waits for them, with few bytes of each in hand."""
    route, count, times = "/openapi.json", 50, 60
    with slow() as server, contextlib.ExitStack() as stack:
        before = server.wait().held()[0]
        for _ in range(count):
            plug = stack.enter_context(socket.socket())
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plug.connect((server.host, server.port))
            plug.settimeout(0.2)
            with contextlib.suppress(OSError):  # it does not take all of them either
                plug.sendall(f"GET {route} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * times)
        answered = [0.0, 1.0]
        while answered[-1] != answered[-2]:
            time.sleep(0.3)
            answered.append(server.metric("resnets_requests_total", f'route="{route}"'))
        assert 0 < answered[-1] < count * times / 2, "they are stuck"
        began = time.monotonic()
        assert [server.post("/predict", PNG).status for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 3
        assert server.held()[0] - before < 64


def test_connections_have_a_limit():
    """Slow headers up to the limit (F-54): whoever comes then reads 503; when they go all is as before."""
    with slow() as server:
        server.wait()
        with plugs(server, CONNECTIONS, b"GET /live HTTP/1.1\r\nX: ") as found, dripping(found):
            assert len(found) == CONNECTIONS
            for _ in range(5):
                assert status(server.raw(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 503
            assert server.process.poll() is None
        assert recovered(server, 2)
        assert server.log == ""


def test_few_descriptors():
    """64 of them and 200 clients (F-60): some are answered, none finds a server that spins or is gone."""
    with slow(descriptors=64) as server:
        server.wait()
        with plugs(server, 200, HEAD) as found:
            assert len(found) > 64
            time.sleep(0.5)
            spent, began = server.seconds(), time.monotonic()
            time.sleep(2)
            assert server.seconds() - spent < 0.25 * (time.monotonic() - began), "it waits, it does not spin"
            assert server.held()[1] <= 64
            assert server.process.poll() is None
        assert recovered(server)
        assert 0 < server.log.count("out of system resource") < 30, "a line a second"


def failing(server):
    """Requests that each leave some lines in the log."""
    told(server.ask("POST", "/explain", PNG, {"Content-Type": "image/png"}), "failed")


def test_a_log_that_takes_nothing():
    with slow(failing=True, log="/dev/full") as server:
        server.wait()
        for _ in range(5):
            failing(server)
        assert server.post("/predict", PNG).status == 200
        assert server.get("/ready").status == 200


def test_a_disk_that_is_full_of_the_log(tmp_path):
    """A real file system of 64 KB (F-64)."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if made.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        log = tmp_path / "log"
        with slow(failing=True, log=log) as server:
            server.wait()
            for _ in range(60):
                failing(server)
            left = os.statvfs(tmp_path)
            assert left.f_bavail == 0, "the disk is full"
            assert server.post("/predict", PNG).status == 200
            assert server.get("/ready").status == 200
            assert log.read_text().startswith("{")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps(monkeypatch, jump):
    """A day back or on while pictures wait (F-66): no deadline passes, no time is negative."""
    now, jumped = time.time, threading.Event()
    monkeypatch.setattr(time, "time", lambda: now() + (jump if jumped.is_set() else 0))

    async def run():
        async with running({"run": slow_model(0.3)}) as (service, front):
            asked = [asyncio.create_task(ask(front, "POST", "/predict", PNG)) for _ in range(3)]
            await asyncio.sleep(0.1)
            jumped.set()
            assert service.ready
            return await asyncio.gather(*asked, ask(front, "POST", "/predict", PNG))

    for reply in asyncio.run(run()):
        assert reply.status == 200
        assert all(0 <= each < 5000 for each in reply.json["milliseconds"].values())
