"""What the server refuses: the status of the contract and one sentence, and nothing of its inside."""

import asyncio
import logging
import re
import sys
from dataclasses import replace
from importlib.metadata import requires
from itertools import product

import pytest
from in_process import ask, running
from servers import IMAGE, channel_means, slow, slow_model
from tiny_models import picture

from resnets.serve.refusals import REASONS

LEAKS = re.compile(
    r"Traceback|File \"|\.py|/|resnets\.|0x[0-9a-f]{4}|<class|object at|Error\b|Exception|\d+\.\d+\.\d+|"
    r"uvicorn|starlette|torch"
)
ROUTES = re.compile(r"GET /(openapi\.json|model)\b|image/jpeg")  # what sentences name on purpose
GET, POST = "GET", "POST"
PNG = picture(0)
# method, path, body, headers → the reason in the table
WRONG = [
    (GET, "/nothing", None, {}, "path"),
    (GET, "/docs", None, {}, "path"),
    (GET, "/predict/", None, {}, "path"),
    (GET, "/predict", None, {}, "method"),
    (POST, "/model", PNG, IMAGE, "method"),
    ("DELETE", "/model", None, {}, "method"),
    ("PUT", "/predict", PNG, IMAGE, "method"),
    (POST, "/predict?top=0", PNG, IMAGE, "query"),
    (POST, "/predict?top=x", PNG, IMAGE, "query"),
    (POST, "/predict?top=1001", PNG, IMAGE, "query"),
    (POST, "/predict?seen=perhaps", PNG, IMAGE, "query"),
    (POST, "/predict?path=/etc/passwd", PNG, IMAGE, "query"),
    (POST, "/predict?model=" + "x" * 201, PNG, IMAGE, "query"),
    (POST, "/predict?model=nobody", PNG, IMAGE, "model"),
    (GET, "/model?model=../../etc", None, {}, "model"),
    (POST, "/explain?class=unicorn", PNG, IMAGE, "class"),
    (POST, "/explain?model=other", PNG, IMAGE, "explain"),
    (GET, "/report", None, {}, "report"),
    (GET, "/model", None, {"Host": "evil.example"}, "host"),
    (GET, "/model", None, {"Cookie": 9000 * "x"}, "header"),
    (GET, "/model", None, {"Origin": "http://evil.example"}, "origin"),
    (POST, "/predict", PNG, {"Content-Type": "multipart/form-data; boundary=x"}, "media"),
    (POST, "/predict", PNG, {"Content-Type": "application/json"}, "media"),
    (POST, "/predict", PNG, {"Content-Type": "application/x-www-form-urlencoded"}, "media"),
    (POST, "/predict", PNG, {"Content-Type": "text/plain"}, "media"),
    (POST, "/predict", PNG, IMAGE | {"Content-Encoding": "gzip"}, "media"),
    (POST, "/predict", iter([PNG]), IMAGE, "length"),
]


def told(reply, name):
    """A refusal for this reason, in the form that every refusal has."""
    reason = REASONS[name]
    assert reply.status == reason.status, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {"error": reason.sentence, "request": reply.headers["x-request-id"]}
    for header, value in reason.headers.items():
        assert reply.headers[header] == value


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[4]} {case[0]} {case[1][:40]}")
def test_one_sentence(server, case):
    method, path, body, headers, name = case
    told(server.ask(method, path, body, headers), name)


def test_what_is_asked_by_another_method_names_it(server):
    assert server.get("/predict").headers["allow"] == "POST"


SENTENCES = {  # a body → what is said of it
    b"": "empty file",
    b"%PDF-1.7 ": "not JPEG, PNG, WebP, BMP or GIF: PDF",
    b"<html><script>alert(1)</script>": "not JPEG, PNG, WebP, BMP or GIF: HTML",
    b"II*\0" + bytes(60): "not JPEG, PNG, WebP, BMP or GIF: TIFF",
    b"\x93NUMPY\x01\0": "not JPEG, PNG, WebP, BMP or GIF: NumPy array",
    b"hello": "not JPEG, PNG, WebP, BMP or GIF: unknown",
    PNG[:-40]: "truncated",
    b"\x89PNG\r\n\x1a\n" + bytes(40): None,
    b"\xff\xd8\xff\xe0" + bytes(40): None,
    b"GIF89a" + bytes(20): None,
    b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20): None,
    b"BM" + bytes(60): None,
}


@pytest.mark.parametrize("data", SENTENCES, ids=lambda data: repr(data[:12]))
def test_what_is_no_picture(server, data):
    reply = server.post("/predict", data)
    assert reply.status == 422
    assert SENTENCES[data] in (None, reply.json["error"])
    assert re.fullmatch(r"(truncated|damaged [\w ]+|.*[a-z].*)", reply.json["error"])


def test_absurd_sizes(server):
    import struct
    import zlib

    def png(width, height):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
        framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
        return b"\x89PNG\r\n\x1a\n" + b"".join(framed)

    for width, height in ((30_000, 30_000), (60_000, 1), (10_000, 6_000), (0, 5)):
        reply = server.post("/predict", png(width, height))
        assert reply.status == 422
    assert server.post("/predict", png(60_000, 1)).json["error"] == "image is 60000 x 1, at most 30000 a side"


def test_no_leak(server):
    """No path, class, version or address in the body of any error."""
    replies = [server.ask(*case[:4]) for case in WRONG if case[4] != "length"]
    replies += [server.post("/predict", data) for data in SENTENCES]
    for reply in replies:
        assert reply.status >= 400
        assert not LEAKS.search(ROUTES.sub("", reply.json["error"])), reply.body
        assert set(reply.json) == {"error", "request"}
    assert len(replies) > 30


def test_every_reason_of_the_table_is_one_sentence():
    for reason in REASONS.values():
        assert "\n" not in reason.sentence
        assert 400 <= reason.status < 504
        assert not LEAKS.search(ROUTES.sub("", reason.sentence))


HOSTS = {  # of a server on 127.0.0.1 → whether it goes by it
    "127.0.0.1:{port}": True,
    "localhost:{port}": True,
    "LOCALHOST": True,
    "[::1]:{port}": True,
    "0.0.0.0:{port}": False,
    "evil.example:{port}": False,
    "127.0.0.1.evil.example": False,
    "": False,
}
ORIGINS = {  # → whether a page from there may ask, given that the host is right
    None: True,
    "http://{host}": True,
    "https://{host}": True,
    "http://evil.example": False,
    "null": False,
    "http://{host}.evil.example": False,
}


@pytest.mark.parametrize(("host", "origin"), [*product(HOSTS, ORIGINS)])
def test_host_origin_matrix(server, host, origin):
    name = host.format(port=server.port)
    headers = {"Host": name} | ({"Origin": origin.format(host=name)} if origin else {})
    reply = server.get("/model", **headers)
    if not HOSTS[host]:
        told(reply, "host")
    elif not ORIGINS[origin]:
        told(reply, "origin")
    else:
        assert reply.status == 200


def encodings():
    """200 ways to ask for a file outside."""
    dots = ("..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..;", "%c0%ae%c0%ae", "....", "..%00", "%u002e%u002e")
    slashes = ("/", "%2f", "%5c", "\\", "//", "%252f", "/./", "%c0%af", "/%2f", "%2F")
    for dot, slash in product(dots, slashes):
        yield f"/{slash.join([dot] * 6)}{slash}etc{slash}passwd"
        yield f"/static{slash}{slash.join([dot] * 3)}{slash}pyproject.toml"


def test_traversal(server):
    statuses = set()
    for path in encodings():
        reply = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        statuses.add(int(reply.split(b" ", 2)[1]))
        assert b"root:" not in reply
        assert b"hatchling" not in reply
    assert statuses <= {400, 404}
    assert len(list(encodings())) == 200


def test_traversal_opens_no_file():
    """The same ways by the application alone, under an audit of every file that this process opens."""
    opened, watching = [], [True]
    sys.addaudithook(lambda event, arguments: opened.append(arguments) if event == "open" and watching else None)

    async def run():
        async with running({"run": slow_model()}) as (_, front):
            await ask(front, "GET", "/live")
            opened.clear()
            return [(await ask(front, "GET", path.partition("?")[0])).status for path in encodings()]

    statuses, seen = asyncio.run(run()), [*opened]
    watching.clear()  # an audit hook stays for ever
    assert set(statuses) == {404}
    assert not [arguments for arguments in seen if "passwd" in str(arguments[0]) or "pyproject" in str(arguments[0])]


def test_nothing_reads_forms():
    """Most holes of uploads in Python are in there (reliability decision 11): the serving extra does not bring it."""
    served = next(r for r in requires("resnets") if r.startswith("fastapi"))
    assert "[" not in served.split(";")[0]
    assert "multipart" not in " ".join(requires("resnets"))


@pytest.mark.parametrize("host", ["127.0.0.1"])
def test_a_token(models, host):
    from servers import serve

    with serve(models / "tiny.onnx", "--token", "s3cret", "--host", host) as server:
        assert server.get("/live").status == 200, "probes have none"
        for wrong in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            told(server.get("/model", **wrong), "token")
            told(server.ask("POST", "/predict", PNG, IMAGE | wrong), "token")
        for right in ("Bearer s3cret", "bearer s3cret"):
            assert server.get("/model", Authorization=right).status == 200
        from resnets.serve.app import page

        assert all(server.get(path).status == 200 for path in page()), "the page asks for it"


def test_a_report_has_a_policy_of_its_own(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("<p>errors</p>")
    servable = replace(slow_model(), report=path)

    async def run():
        async with running({"run": servable}) as (_, front):
            there = await ask(front, "GET", "/report?model=run")
            assert (await ask(front, "GET", "/model")).json["report"] is True
            path.unlink()
            return there, await ask(front, "GET", "/report")

    there, gone = asyncio.run(run())
    assert (there.status, there.body) == (200, b"<p>errors</p>")
    assert "frame-ancestors 'self'" in there.headers["content-security-policy"]
    assert "script" not in there.headers["content-security-policy"], "so none runs"
    told(gone, "report")


def test_too_slow_an_answer(tmp_path):
    with slow(seconds=0.6, deadline=0.2) as server:
        server.wait()
        told(server.post("/predict", PNG), "late")
        assert server.get("/live").status == 200


def test_not_ready_yet():
    with slow(start=1.5) as server:
        assert server.get("/live").json == {"live": True}
        told(server.get("/ready"), "starting")
        told(server.post("/predict", PNG), "starting")
        assert server.get("/model").json["ready"] is False
        assert server.get("/model").json["engine"] is None
        server.wait()
        assert server.post("/predict", PNG).status == 200


def test_a_failure_says_nothing_and_is_in_the_log(caplog):
    """One picture of a batch fails inside: it gets the one sentence, the log the traceback, its companions answers."""
    servable = slow_model(0.05)
    began = servable.start

    def broken(image, label):
        raise RuntimeError(f"/secret/path {label}")

    servable = replace(servable, start=lambda engine: replace(began(engine), explain=broken))

    async def run():
        async with running({"run": servable}) as (_, front):
            asked = [ask(front, "POST", "/predict", PNG) for _ in range(4)]
            return await asyncio.gather(ask(front, "POST", "/explain", PNG), *asked)

    with caplog.at_level(logging.ERROR):
        failed, *others = asyncio.run(run())
    told(failed, "failed")
    assert [other.status for other in others] == [200] * 4
    assert failed.headers["x-request-id"] in caplog.text
    assert "/secret/path" in caplog.text


def test_all_that_fails_with_its_batch_is_refused():
    def run_badly(_images):
        if len(calls) > 2:  # it has answered twice to be ready
            raise MemoryError
        calls.append(len(_images))
        return channel_means(_images)

    calls, servable = [0], slow_model()
    began = servable.start
    servable = replace(servable, start=lambda engine: replace(began(engine), run=run_badly))

    async def run():
        async with running({"run": servable}) as (_, front):
            return [await ask(front, "POST", "/predict", PNG) for _ in range(2)]

    for reply in asyncio.run(run()):
        told(reply, "failed")
