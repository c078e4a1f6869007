"""What arrives byte by byte: too much, too slow, in crumbs, cut off, or no HTTP at all; never a 5xx but 503."""

import concurrent.futures
import contextlib
import random
import re
import threading
import time

import pytest
from servers import slow
from test_refusals import told
from tiny_models import picture

from resnets.serve.refusals import BYTES, REASONS

PNG = picture(0)
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def status(reply):
    """The status of the first answer among these bytes, 0 where there is none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", reply)
    return int(found[1]) if found else 0


def at_rest(server, before, seconds=8):
    """Whether nothing waits in a server any more, and it has as many descriptors as BEFORE."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        waiting = server.metric("resnets_queue_length")  # asked last, so that all others were accepted before
        if not waiting and server.held()[1] <= before + 2:
            return True
        time.sleep(0.05)
    return False


def test_an_oversize_body_is_refused_before_it_is_sent(quick):
    began = time.monotonic()
    reply = quick.raw(HEAD + b"Content-Length: 16000001\r\n\r\n")
    assert status(reply) == 413
    assert REASONS["size"].sentence.encode() in reply
    assert b"connection: close" in reply.lower()
    assert time.monotonic() - began < 3
    waiting = quick.raw(HEAD + b"Content-Length: 16000001\r\nExpect: 100-continue\r\n\r\n")
    assert status(waiting) == 413
    assert b"100 Continue" not in waiting


def test_a_client_that_sends_too_much_reads_why(quick):
    """One that sends all before it reads, as most programs do."""
    reply = quick.ask("POST", "/predict", bytes(BYTES + 1), {"Content-Type": "image/png"})
    told(reply, "size")


def test_just_small_enough_is_read(quick):
    reply = quick.post("/predict", PNG + bytes(BYTES - len(PNG)))
    assert reply.status == 200, reply.body


def test_a_body_without_a_length(quick):
    for chunks in (b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nx\r\n" * 100_000, b"FFFFFFFF\r\n"):
        reply = quick.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert status(reply) == 411, reply


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 \r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_smuggling_pairs(quick, framing):
    reply = quick.raw(HEAD + framing + b"\r\n0\r\n\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    both = b"Content-Length: 5\r\n" in framing and b"Transfer-Encoding: chunked\r\n" in framing
    assert status(reply) in ((400,) if both else (400, 411)), reply
    assert b"live" not in reply, "what follows is no request"


def test_a_lying_length(quick):
    short = quick.raw(HEAD + f"Content-Length: {len(PNG) - 10}\r\n\r\n".encode() + PNG)
    assert status(short) in (200, 422, 400)
    began = time.monotonic()
    long = quick.raw(HEAD + f"Content-Length: {len(PNG) + 10}\r\n\r\n".encode() + PNG)
    assert status(long) == 408
    assert 1.4 < time.monotonic() - began < 4, "body deadline of this server: 1.5 s"


def test_an_endless_header(quick):
    for header in (b"X: " + b"a" * 100_000, b"".join(b"X%d: a\r\n" % n for n in range(5000))):
        reply = quick.raw(b"GET /live HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
        assert status(reply) in (0, 400, 431)


def test_slow_bodies_are_closed_at_their_deadline_and_bother_nobody(quick):
    before = quick.held()[1]
    plugs = [quick.connect() for _ in range(30)]
    stop = threading.Event()

    def drip():
        while not stop.wait(0.2):
            for plug in plugs:
                with contextlib.suppress(OSError):
                    plug.sendall(b"x")

    for plug in plugs:
        plug.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        began = time.monotonic()
        assert all(quick.post("/predict", PNG).status == 200 for _ in range(5))
        assert quick.get("/ready").status == 200
        assert time.monotonic() - began < 3
        for plug in plugs:
            plug.settimeout(8)
            assert status(plug.recv(65536)) == 408
    finally:
        stop.set()
        dripping.join()
        for plug in plugs:
            plug.close()
    assert at_rest(quick, before)


@pytest.mark.parametrize("clients", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_clients_that_go_leave_nothing(quick, clients):
    before = quick.held()[1]
    request = HEAD + f"Content-Length: {len(PNG)}\r\n\r\n".encode() + PNG
    for number in range(clients):
        rng = random.Random(number)
        with quick.connect() as plug, contextlib.suppress(OSError):
            plug.sendall(request if number % 2 else request[: rng.randrange(1, len(request))])
            time.sleep(number % 2 * rng.uniform(0, 0.02))  # it goes before, during and after its answer is made
    assert at_rest(quick, before)
    assert quick.post("/predict", PNG).status == 200
    assert quick.log.count("\n") < 10


FLOODS = {
    "oversize": (413, HEAD + b"Content-Length: 16000001\r\n\r\n" + bytes(500_000)),
    "chunks": (411, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000),
    "header": (400, b"GET /live HTTP/1.1\r\nHost: localhost\r\nX: " + bytes(500_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_floods_take_no_memory(kind):
    """Thirty of each, ten at a time, after as many to warm up (G-12)."""
    wanted, data = FLOODS[kind]
    with slow() as server, concurrent.futures.ThreadPoolExecutor(10) as threads:
        server.wait()
        held = list[float]()
        for _ in range(2):
            statuses = set(threads.map(lambda _: status(server.raw(data, 3)), range(30)))
            assert wanted in statuses
            assert statuses <= {wanted, 0}, "0: it was closed while we were sending"
            held.append(server.held()[0])
        assert held[1] - held[0] <= 1
        assert server.post("/predict", PNG).status == 200


NO_HTTP = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /live HTTP/1.0\r\n\r\n",
    b"G\xc3\x96T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /model?model=%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: line\r\n\r\n",
]


@pytest.mark.parametrize("data", NO_HTTP, ids=lambda data: repr(data[:24]))
def test_malformed_http(quick, data):
    reply = quick.raw(data, seconds=0.5)
    assert status(reply) < 500
    assert b"Traceback" not in reply
    assert quick.get("/live").status == 200


def test_mutated_requests_never_fail_inside(quick):
    """Valid requests with bytes flipped, cut, doubled and mixed: never a 5xx, and the server lives."""
    rng = random.Random(0)
    seeds = [
        HEAD + f"Content-Length: {len(PNG)}\r\n\r\n".encode() + PNG,
        b"GET /model?model=slow HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
        b"POST /explain?class=red HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    ]
    pid = quick.process.pid
    for _ in range(400):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(1, 20)]
            elif kind == 2:
                data[at:at] = rng.choice([b"\r\n", b"\0", b": ", b"%", b" ", b"\xff" * 9, b"0" * 30])
            else:
                data[at:at] = data[:at][-30:]
            data = data or bytearray(b"x")
        reply = quick.raw(bytes(data), seconds=0.02)
        assert status(reply) < 500, bytes(data)
        assert b"Traceback" not in reply
    assert quick.process.pid == pid
    assert quick.process.poll() is None
    assert quick.post("/predict", PNG).status == 200
    assert not quick.metric("resnets_requests_total", 'status="500"'), "nor one that came after we had gone"
