import gzip
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import tarfile
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from resnets.data import fetch as module
from resnets.data.fetch import ARCHIVES, Archive, Limits, fetch, unpack
from resnets.errors import DataError, EnvironmentProblem, UsageError

unpacks = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python unpacks no archive safely")
FOLDER = "cifar-10-batches-bin"
FILES = {"data_batch_1.bin": os.urandom(70_000), "test_batch.bin": os.urandom(1024), "batches.meta.txt": b"a\n"}
SMALL = Limits(bytes=4 << 20, members=40)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + data + bytes(-len(data) % 512)


def pax(kind: bytes = b"x", **fields: str) -> bytes:
    records = [f" {key.replace('_', '.')}={value}\n".encode() for key, value in fields.items()]
    return member("pax", b"".join(str(len(record) + 2).encode() + record for record in records), kind)


def packed(*parts: bytes, end: bytes = bytes(1024)) -> bytes:
    return gzip.compress(b"".join(parts) + end, 6, mtime=0)


def good(folder: str = FOLDER) -> bytes:
    files = [member(f"./{folder}/{name}", data, mode=0o4755) for name, data in FILES.items()]
    return packed(member(f"./{folder}", kind=b"5"), *files)


def tree(root) -> dict[str, bytes | None]:
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


PLAIN = r"../x top/../../x /tmp/x //x top/.. .. top/./../x C:\x C:x top\..\x \\host\x top/a:b . ./"
NAMES = [*PLAIN.split(" "), "", "top/\x1b[2J", "top/\n", "top/\x7f", "top/\u202egpj", "top/\udcff"]
NAMES += ["top/" + "n" * 300, "top/" * 40 + "x", "top/" + "é" * 120]
KINDS = {"symbolic link": b"2", "hard link": b"1", "character device": b"3", "block device": b"4", "fifo": b"6"}
KINDS |= {"contiguous": b"7", "sparse": b"S", "volume": b"V", "continued": b"M", "unknown": b"Z"}
TOP, X, DIR, GOOD = member("top", kind=b"5"), member("top/x", b"x"), member("top/x", kind=b"5"), good("top")
CLASHES = [[X, X], [X, DIR], [DIR, X], [X, member("top/x/y", b"y")]]
TOPS = [[], [member("./", kind=b"5")], [member("x", b"x")], [X, member("other/x", b"x")], [member("there/x", b"x")]]
PAX = [{"path": "../x"}, {"path": "/tmp/x"}, {"size": "-512"}, {"size": "99999999999"}, {"comment": "c" * (1 << 20)}]
PAX += [{"GNU_sparse_map": "0,1", "GNU_sparse_size": "9"}, {"GNU_sparse_major": "1", "GNU_sparse_minor": "0"}]
OTHERS = [b"", b"garbage" * 99, packed(b"garbage" * 999), TOP + X + bytes(1024), b"PK\x03\x04" + bytes(600)]
EVIL = {
    **{f"name {name[:30]!r}": packed(TOP, member(name, b"x")) for name in NAMES},
    **{name: packed(TOP, member("top/l", kind=kind, linkname="../../x")) for name, kind in KINDS.items()},
    **{f"size {size}": packed(TOP, member("top/x", b"x", size=size)) for size in (1 << 30, 1 << 60, -512)},
    **{f"clash {i}": packed(TOP, *parts) for i, parts in enumerate(CLASHES)},
    **{f"top {i}": packed(*parts) for i, parts in enumerate(TOPS)},
    **{f"pax {i}": packed(TOP, pax(**fields), X) for i, fields in enumerate(PAX)},
    **{f"no .tar.gz {i}": content for i, content in enumerate(OTHERS)},
    **{f"cut at {at}": GOOD[:at] for at in (5, 20, 30_000, len(GOOD) - 9, len(GOOD) - 1)},
    "link inside": packed(TOP, X, member("top/l", kind=b"2", linkname="x")),
    "file through a link": packed(TOP, member("top/l", kind=b"2", linkname="/tmp"), member("top/l/x", b"x")),
    "link as the top": packed(member("top", kind=b"2", linkname=".."), X),
    "too many members": packed(*(member(f"top/{i}", b"x") for i in range(41))),
    "ratio": packed(TOP, member("top/x", bytes(3 << 20))),
    "too many bytes": packed(TOP, member("top/x", os.urandom(1 << 16) * 80)),
    "zeros after the end": packed(X, end=bytes(5 << 20)),
    "negative size of a folder": packed(member("top", kind=b"5", size=-1024), X),
    "pax path for all": packed(pax(b"g", path="../x"), TOP, X),
    "slow pax": packed(TOP, member("pax", b"1" * (1 << 17), b"x"), X),
    "pax chain": packed(TOP, *[pax(mtime="1")] * 3000, X),
    "long name chain": packed(TOP, *[member("L", b"top/y\0", b"L")] * 3000, X),
    "GNU name": packed(TOP, member("L", b"../../x\0", b"L"), X),
    "no end": packed(TOP, X, end=b""),
    "header damaged": packed(TOP, X[:100] + b"9" + X[101:], X),
    "cut member": packed(TOP, member("top/x", bytes(2000))[:-1024], end=b""),
    "wrong checksum": GOOD[:-8] + b"abcd" + GOOD[-4:],
    "garbage after": GOOD + b"garbage",
}


@unpacks
def test_evil_archives(tmp_path):
    archive, into = tmp_path / "a" / "evil.tar.gz", tmp_path / "a" / "into"
    (into / "there").mkdir(parents=True)
    assert len(EVIL) >= 50
    for name, content in EVIL.items():
        archive.write_bytes(content)
        tracemalloc.start()
        before, started = tree(tmp_path), time.process_time()
        with pytest.raises(DataError, match=r"evil\.tar\.gz is refused: .*; get it again") as caught:
            assert not unpack(archive, into, SMALL), name
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tree(tmp_path) == before, name
        assert str(caught.value).isprintable(), name
        assert time.process_time() - started < 1, name
        assert peak < 64 << 20, name


@unpacks
def test_good_archive(tmp_path):
    (tmp_path / "good.tar.gz").write_bytes(good())
    unpack(tmp_path / "good.tar.gz", tmp_path / "into")
    assert tree(tmp_path / "into") == {FOLDER: None, **{f"{FOLDER}/{n}": data for n, data in sorted(FILES.items())}}
    assert all(not path.stat().st_mode & 0o7133 for path in (tmp_path / "into" / FOLDER).iterdir())


def test_python_without_the_filter(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "good.tar.gz").write_bytes(good())
    with pytest.raises(EnvironmentProblem, match=r"cannot unpack .* safely; use 3\.11\.4 or newer"):
        unpack(tmp_path / "good.tar.gz", tmp_path)


class Server:
    def __init__(self):
        server, self.hits, self.content = self, 0, good()
        self.answer = lambda request: self.send(request, self.content)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.hits += 1
                server.answer(self)

            def log_message(self, *_): ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def send(self, request, body: bytes, length: int | None = None, status: int = 200, **headers: str):
        request.send_response(status)
        for key, value in {**headers, "Content-Length": len(body) if length is None else length}.items():
            if value != -1:
                request.send_header(key, str(value))
        request.end_headers()
        request.wfile.write(body)

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    server = Server()
    digest = hashlib.sha256(server.content).hexdigest()
    pinned = Archive(f"{server.url}c.tar.gz", digest, len(server.content), FOLDER, (("test_batch.bin", 1024),))
    monkeypatch.setitem(ARCHIVES, "cifar10", pinned)
    monkeypatch.setattr(module._HttpsOnly, "secure", re.compile(re.escape(server.url)).match)
    monkeypatch.setenv("no_proxy", "*")
    yield server
    server.close()


def fails(into, error, match: str):
    with pytest.raises(error, match=match) as caught:
        fetch("cifar10", into)
    assert str(caught.value).isprintable()
    assert not into.exists() or tree(into) == {}


@unpacks
def test_fetch(tmp_path, server):
    seen = []
    folder = fetch("cifar10", tmp_path / "new" / "into", lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "new" / "into" / FOLDER
    assert tree(folder) == FILES
    assert (seen, seen[-1]) == (sorted(seen), (len(server.content),) * 2)
    assert list(folder.parent.iterdir()) == [folder]
    assert (fetch("cifar10", folder.parent), server.hits) == (folder, 1)


def test_what_is_pinned():
    folders = {name: (archive.bytes, archive.folder) for name, archive in ARCHIVES.items()}
    assert folders == {"cifar10": (170052171, FOLDER), "cifar100": (168513733, "cifar-100-binary")}
    assert all(re.fullmatch("[0-9a-f]{64}", a.sha256) and a.url.startswith("https://") for a in ARCHIVES.values())
    with pytest.raises(UsageError, match="unknown archive 'cifar'; nearest: cifar10"):
        fetch("cifar", None)


@unpacks
@pytest.mark.parametrize("at", [0, 1, 512, 40_000, len(good()) - 1], ids=["nothing", "one", "block", "middle", "last"])
@pytest.mark.parametrize("length", [None, -1, len(good())], ids=["short length", "no length", "full length"])
def test_download_cut(tmp_path, server, at, length):
    whole, server.answer = server.answer, lambda request: server.send(request, server.content[:at], length)
    fails(tmp_path, (DataError, EnvironmentProblem), "run it again")
    server.answer = whole
    assert tree(fetch("cifar10", tmp_path)) == FILES


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (lambda s, r: s.send(r, s.content[:-1] + b"x"), DataError, "not .* with [0-9a-f]{64}; run it again"),
        (lambda s, r: s.send(r, s.content + b"x"), DataError, "with SHA-256 .* run it again"),
        (lambda s, r: s.send(r, s.content + b"x" * (1 << 20), -1), DataError, "with SHA-256 .* run it again"),
        (lambda s, r: s.send(r, s.content, len(s.content) - 9), DataError, "with SHA-256 .* run it again"),
        (lambda s, r: s.send(r, b"<html>sign in</html>"), DataError, "gave 20 bytes"),
        (
            lambda s, r: s.send(r, b"", status=404),
            EnvironmentProblem,
            "404: .*unpack it yourself .SHA-256 [0-9a-f]{64}",
        ),
        (lambda s, r: r.wfile.write(b"no http\n"), EnvironmentProblem, "cannot download"),
        (lambda s, r: r.connection.close(), EnvironmentProblem, "cannot download"),
        (lambda s, r: s.send(r, b"", status=302, Location="file:///etc/passwd"), EnvironmentProblem, "cannot download"),
        (lambda s, r: s.send(r, b"", status=302, Location="ftp://127.0.0.1:9/x"), DataError, "ftp.* is not https"),
        (lambda s, r: s.send(r, b"", status=302, Location=f"{s.url}c"), EnvironmentProblem, "infinite loop"),
    ],
)
def test_server_lies(tmp_path, server, answer, error, match):
    server.answer = lambda request: answer(server, request)
    fails(tmp_path, error, match)


def test_only_https(tmp_path, server, monkeypatch):
    other = Server()
    server.answer = lambda request: server.send(request, b"", status=302, Location=f"{other.url}c.tar.gz")
    fails(tmp_path, DataError, "is not https; nothing was fetched")
    assert (server.hits, other.hits) == (1, 0)
    other.close()
    monkeypatch.setattr(module._HttpsOnly, "secure", re.compile("https://").match)
    fails(tmp_path, DataError, "is not https; nothing was fetched")
    assert server.hits == 1


def test_a_folder_that_is_not_complete(tmp_path, server):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "test_batch.bin").write_bytes(b"half")
    with pytest.raises(DataError, match=r"is not complete \(test_batch.bin\); delete it and fetch again"):
        fetch("cifar10", tmp_path)
    assert (server.hits, tree(tmp_path / FOLDER)) == (0, {"test_batch.bin": b"half"})


@pytest.mark.parametrize("size", [0, 1000, 60_000, 69_999])
def test_no_file_may_grow(tmp_path, server, size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        fails(tmp_path, EnvironmentProblem, rf"cannot write in {re.escape(str(tmp_path))}: \[Errno 27\].*; make room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@unpacks
@pytest.mark.parametrize(("function", "at"), [("fsync", 1), ("fsync", 3), ("mkdir", 2), ("mkdir", 4), ("rename", 1)])
def test_disk_full(tmp_path, server, monkeypatch, function, at):
    calls, real = [], getattr(os, function)

    def full(*arguments, **options):
        calls.append(arguments)
        if len(calls) >= at:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, full)
    fails(tmp_path, EnvironmentProblem, "cannot write in .*No space left on device")


def killed(action, at: int) -> bool:
    """Run ACTION in a child killed at its operation number AT; False if it had fewer."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    count = [0]

    def tick(event: str, _: tuple = ()) -> None:
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "read"):
            count[0] += 1
            if count[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)

    read = module._Guarded.read
    module._Guarded.read = lambda self, size: (tick("read"), read(self, size))[1]
    sys.addaudithook(tick)
    try:
        action()
    finally:
        os._exit(0)


@unpacks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # beside the thread of the server
def test_killed(tmp_path, server):
    at = 1
    while killed(lambda: fetch("cifar10", tmp_path), at):
        folder = tmp_path / FOLDER
        if folder.exists():
            assert tree(folder) == FILES
            shutil.rmtree(folder)
        at += 1
    assert at > 20
    assert tree(tmp_path / FOLDER) == FILES
