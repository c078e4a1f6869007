"""What is found on a disk: damaged and hostile folders, logs with a bad tail, locks, too little room."""

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnets import files
from resnets.errors import EnvironmentProblem, LockHeld, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* multi-threaded:DeprecationWarning")
OLD = {"model.safetensors": b"old" * 500, "optim.safetensors": b"OLD" * 500, "state.json": b"4"}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def flip(path, chance):
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    path.write_bytes(data)


def test_corruption_is_found(tmp_path):
    it, other, chance = tmp_path / "it", tmp_path / "other", random.Random(1)
    files.write_folder(it, OLD, {"step": 4})
    files.write_folder(other, {name: data[::-1] + b"." for name, data in OLD.items()}, {"step": 8})
    damages = [lambda path: flip(path, chance)] * 75
    damages += [lambda path: os.truncate(path, chance.randrange(path.stat().st_size))] * 12
    damages += [lambda path, size=size: os.truncate(path, size) for size in (0, 10**10)]  # empty; huge, not read
    damages += [lambda path, do=do: (path.unlink(), do(path)) for do in (Path.exists, Path.mkdir, os.mkfifo)]
    damages += [lambda path: shutil.copy(other / path.name, path)]
    damages += [lambda path: (shutil.copy(path, tmp_path), path.unlink(), path.symlink_to(tmp_path / path.name))]
    damages += [lambda path: shutil.copy(it / ({*OLD} - {path.name}).pop(), path)]
    for name, damage in itertools.product([*OLD, files.MANIFEST], damages):
        damage(it / name)
        for check in (files.verify_folder, files.read_verified):
            with pytest.raises(WeightsError, match=f"cannot use {it}.*; take another copy") as caught:
                check(it)
            pattern = f"{name}: (expected .* found|Too many)|expected the files .*{name}.* found"
            assert name == files.MANIFEST or re.search(pattern, str(caught.value))
        shutil.rmtree(it)
        files.write_folder(it, OLD, {"step": 4})
    (it / "extra").touch()
    with pytest.raises(WeightsError, match=r"expected the files .* found .*extra"):
        files.verify_folder(it)


def test_a_pipe_is_no_empty_file(tmp_path):
    files.write_folder(tmp_path / "it", {"a": b""})
    (tmp_path / "it" / "a").unlink()
    os.mkfifo(tmp_path / "it" / "a")
    with pytest.raises(WeightsError, match="expected a plain file"):
        files.verify_folder(tmp_path / "it")


def sealed(body):
    head = json.dumps({**body, "sha256": ""}, indent=2).encode()[:-3]
    return head + hashlib.sha256(head).hexdigest().encode() + b'"\n}\n'


def evil_manifests():
    good = {"size": 1, "sha256": hashlib.sha256(b"4").hexdigest()}
    yield from (b"", b"[]", b"null", b"{", b"\xff", b"[" * 10**5, b" " * (files.LARGEST_MANIFEST + 1))
    for name in (
        "../it",
        "/dev/null",
        "..",
        ".",
        "",
        files.MANIFEST,
        "a/../a",
        "./a",
        "a/",
        "a\0",
        "sub/a",
        "\ud800",
    ):
        yield sealed({"format": 1, "files": {name: good}})
        yield sealed({"format": 1, "files": {"a": good, name: good}})
    for entry in (None, [], {}, 1, {"size": 1}, {"sha256": good["sha256"]}, {**good, "more": 1}):
        yield sealed({"format": 1, "files": {"a": entry}})
    for wrong in (
        {"size": -1},
        {"size": 2**70},
        {"size": "1"},
        {"size": None},
        {"sha256": None},
        {"sha256": ""},
    ):
        yield sealed({"format": 1, "files": {"a": good | wrong}})
    for body in (
        {"format": 2},
        {"format": "1"},
        {"format": None},
        {"files": None},
        {"files": []},
        {"files": {}},
    ):
        yield sealed({"format": 1, "files": {"a": good}} | body)


@pytest.mark.parametrize("manifest", list(evil_manifests()), ids=itertools.count())
def test_manifest_evil(manifest, tmp_path, monkeypatch):
    it, opened = tmp_path / "it", set()
    files.write_folder(it, {"a": b"4"})
    (it / files.MANIFEST).write_bytes(manifest)
    monkeypatch.setattr(files, "_hook", lambda _, path: opened.add(path))
    with pytest.raises(WeightsError, match="cannot use"):
        files.read_verified(it)
    assert opened <= {it / "a", it / files.MANIFEST}


def test_names_with_paths_are_not_written(tmp_path):
    for name in ("../a", "a/b", "/a", "..", ".", "", files.MANIFEST):
        with pytest.raises(ValueError, match="not plain"):
            files.write_folder(tmp_path / "it", {name: b""})
    assert not list(tmp_path.iterdir())


def test_log(tmp_path):
    log = files.Log(tmp_path / "log.jsonl")
    assert log.records() == []
    for update in range(1, 11):
        log.write({"update": update, "loss": 0.5})
    lines = log.path.read_bytes().splitlines(keepends=True)
    for tail in (
        b"",
        lines[9][:9],
        lines[9][:-1],
        b"".join(lines[-3:]),
        bytes(99),
        b'{"update": 1}',
        b"[]\n{}\n\xff\n",
        b"[" * 10**5 + b"\n",
    ):
        log.path.write_bytes(b"".join(lines) + tail)
        assert [record["update"] for record in log.records() if record] == [*range(1, 11)]
        log.truncate_after(8)
        assert log.path.read_bytes() == b"".join(lines[:8])
    with pytest.raises(ValueError, match="Out of range"):
        log.write({"update": 9, "loss": float("nan")})


def fork(action):
    if pid := os.fork():
        return pid
    try:
        action()
        os._exit(0)
    finally:
        os._exit(1)


def test_lock(tmp_path):
    gate, reports = os.pipe(), os.pipe()

    def start():
        os.close(gate[1])
        os.read(gate[0], 1)
        begun = time.monotonic()
        try:
            with files.lock(tmp_path):
                helper = fork(lambda: time.sleep(60))  # a loader worker must not keep the lock
                os.write(reports[1], json.dumps([os.getpid(), helper, ""]).encode() + b"\n")
                time.sleep(60)
        except LockHeld as error:
            os.write(reports[1], json.dumps([0, time.monotonic() - begun, str(error)]).encode() + b"\n")

    children = [fork(start) for _ in range(20)]
    os.close(gate[1])
    with open(reports[0]) as lines:
        results = [json.loads(next(lines)) for _ in children]
    ((winner, helper, _),) = [result for result in results if result[0]]
    for _, seconds, message in [result for result in results if not result[0]]:
        assert seconds < 2
        assert f"{tmp_path} is in use by process {winner} on {os.uname().nodename};" in message
    os.kill(winner, signal.SIGKILL)
    with files.lock(tmp_path):
        os.kill(helper, signal.SIGKILL)
        with pytest.raises(LockHeld, match=f"process {os.getpid()} "), files.lock(tmp_path):
            pass
    with files.lock(tmp_path):
        pass
    assert not files._locks
    for child in children:
        os.waitpid(child, 0)


def test_probe(tmp_path):
    files.probe(tmp_path / "a" / "b", 1000)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(EnvironmentProblem, match=f"cannot write to {folder}: .*; choose another --out"):
            files.probe(folder)
    with pytest.raises(EnvironmentProblem, match=rf"cannot write to .*: {2**80} bytes needed, \d+ free; choose"):
        files.probe(tmp_path, 2**80)


SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from resnets import files
from resnets.errors import EnvironmentProblem

def refused(do, *arguments):
    try:
        do(*arguments)
    except EnvironmentProblem as error:
        return str(error)

disk = Path(sys.argv[1])
files.probe(disk, 5_000_000)
files.write_folder(disk / "it", {"a": bytes(2_500_000)})
files.write_folder(disk / "it", {"a": bytes(2_600_000)})
message = refused(files.write_folder, disk / "it", {"a": bytes(4_000_000)})
assert "No space left" in message and "40002" in message and " free)" in message, message
assert "No space left" in refused(files.write_file, disk / "file", bytes(4_000_000))
assert [path.name for path in disk.iterdir()] == ["it"]
files.verify_folder(disk / "it")
log = files.Log(disk / "log.jsonl")
log.write({"update": 1})
with open(disk / "full", "wb", 0) as file, __import__("contextlib").suppress(OSError):
    while file.write(bytes(4096)):
        pass
assert "No space left" in refused(lambda: [log.write({"update": 1, "text": "x" * 500}) for _ in range(20)])
assert log.path.read_bytes().endswith(b"}\\n")
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
assert "cannot write to" in refused(files.probe, disk) and "Read-only" in refused(files.probe, disk / "new")
files.verify_folder(disk / "it")
"""


def test_small_disk_and_read_only_disk(tmp_path):
    mount = 'mount -t tmpfs -o size=6m none "$1" && exec "$0" -c "$2" "$1"'
    command = ["unshare", "-Urm", "sh", "-c", mount, sys.executable, tmp_path, SMALL_DISK]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    if not shutil.which("unshare"):
        pytest.skip("needs the command unshare")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | path)
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"no disk of our own: {done.stderr}")
    assert done.returncode == 0, done.stderr
