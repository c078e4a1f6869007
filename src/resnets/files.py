"""Durable writes: what is announced survives a kill, a full disk, a power loss; what is torn is never read.

New work stands beside its target as `.tmp-<name>-<8 hex>`, what is on its way out as `.trash-<name>-<8 hex>`.
A folder is moved out before its successor is moved in: who dies between leaves none, and `clean` restores it.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from resnets.errors import EnvironmentProblem, LockHeld, WeightsError, safe_text

MANIFEST, FORMAT, LARGEST_MANIFEST = "MANIFEST.json", 1, 1 << 24
_LEFTOVER = re.compile(r"\.(tmp|trash)-(.+)-[0-9a-f]{8}", re.DOTALL)
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
T = TypeVar("T")
_hook: Callable[[str, Path], None] | None = None  # tests count, kill, fail and record here
_locks: set[int] = set()  # descriptors; a forked loader worker must not keep the lock of a dead parent
os.register_at_fork(after_in_child=lambda: [os.dup2(os.open(os.devnull, os.O_RDONLY), d) for d in _locks])


def _act(operation: str, path: Path, do: Callable[[], T]) -> T:  # the one seam to the disk
    if _hook is not None:
        _hook(operation, path)
    return do()


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Make PATH hold DATA, whole or not at all; missing folders are made."""
    for chance in _twice(path, len(data)):
        with chance, _temp(path) as temp:
            _create(temp, data)
            _rename(temp, path)
            return _sync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write VALUE as JSON with its keys in their order; NaN is a ValueError."""
    write_file(path, json.dumps(value, indent=2, allow_nan=False).encode() + b"\n")


def write_folder(target: Path, files: Mapping[str, bytes], facts: Mapping[str, object] = {}) -> None:
    """Make TARGET hold just FILES and a manifest with FACTS, all or nothing; an older TARGET is replaced."""
    if wrong := [name for name in files if Path(name).name != name or name in ("", "..", MANIFEST)]:
        raise ValueError(f"not plain file names: {wrong}")
    entries = {name: _entry(data) for name, data in files.items()}
    body = {"format": FORMAT, "files": entries, "facts": dict(facts), "sha256": ""}
    head = json.dumps(body, indent=2, allow_nan=False).encode().removesuffix(b'"\n}')
    contents, trash = {**files, MANIFEST: _sealed(head)}, _beside(target, "trash")
    for chance in _twice(target, sum(map(len, contents.values()))):
        with chance, _temp(target) as temp, ExitStack() as undo:
            _act("mkdir", temp, temp.mkdir)
            for name, data in contents.items():  # the manifest last
                _create(temp / name, data)
            _sync_folder(temp)
            if os.path.lexists(target):
                _rename(target, trash)
                undo.callback(_rename, trash, target)
            _rename(temp, target)
            undo.callback(_rename, target, temp)
            _sync_folder(target.parent)
            verify_folder(target)
            undo.pop_all()
            with suppress(OSError):  # what resists is left to `clean`
                _delete(trash)
            return


def verify_folder(folder: Path) -> dict[str, object]:
    """The manifest of FOLDER after every byte was checked; WeightsError names the first wrong file."""
    return read_verified(folder, keep=False)[0]


def read_verified(folder: Path, keep: bool = True) -> tuple[dict[str, object], dict[str, bytes]]:
    """Manifest and files of FOLDER, empty unless KEEP; the hashes are of the very bytes returned."""
    path, end = folder / MANIFEST, None if keep else 0
    data = _read(path, None)
    with _refusing(f"use {path}", WeightsError):
        manifest = _parse(data)
        if manifest.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {manifest.get('format')} of another resnets")
        sealed, files = _sealed(data[:-68]), manifest.get("files")
        if data != sealed or not isinstance(files, dict):
            raise ValueError(f"expected to end with {sealed[-68:]!r}, found {data[-68:]!r}")
        entries = cast("dict[str, object]", files)
        expected, found = sorted([MANIFEST, *entries]), sorted(entry.name for entry in folder.iterdir())
        if expected != found:  # a listing has no paths, so there are none from here on
            raise ValueError(f"expected the files {expected}, found {found}")
    return manifest, {name: _read(folder / name, entry)[:end] for name, entry in entries.items()}


def remove_folder(folder: Path) -> None:
    """Remove FOLDER so that no part of it is ever taken for the whole."""
    trash = _beside(folder, "trash")
    with _refusing(f"remove {folder}"):
        _rename(folder, trash)
        _sync_folder(folder.parent)
        _delete(trash)


def clean(parent: Path) -> None:
    """Remove what dead writers left in PARENT but restore a moved-out whole folder; call it under a lock."""
    with _refusing(f"clean {parent}"):
        for entry in sorted(parent.glob(".t*")):
            left = _LEFTOVER.fullmatch(entry.name)
            if left and left[1] == "trash" and not os.path.lexists(parent / left[2]):
                with suppress(WeightsError):
                    verify_folder(entry)
                    _rename(entry, parent / left[2])
                    _sync_folder(parent)
                    continue
            if left:
                _delete(entry)


class Log:
    """An append-only file of JSON lines; on resume `truncate_after` comes before the first `write`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: Mapping[str, object]) -> None:
        """Append RECORD as one line: it survives a kill at once, and a power loss after `sync`."""
        line = json.dumps(dict(record), allow_nan=False).encode() + b"\n"
        for chance in _twice(self.path, len(line)):
            with chance, _opened(self.path, _APPEND) as descriptor, ExitStack() as undo:
                undo.callback(os.ftruncate, descriptor, os.fstat(descriptor).st_size)
                _write(descriptor, self.path, line)
                undo.pop_all()
                return

    def sync(self) -> None:
        """Make all that was written survive a power loss."""
        with _refusing(f"write {self.path}"), _opened(self.path, _APPEND) as descriptor:
            _act("fsync", self.path, partial(os.fsync, descriptor))
            _sync_folder(self.path.parent)

    def truncate_after(self, update: int) -> None:
        """Keep the lines whose `update` is at most UPDATE; damaged lines go, and repetitions of a line."""
        found = [(line, record.get("update")) for line, record in self._lines().items()]
        kept = [line for line, at in found if isinstance(at, int) and at <= update]
        write_file(self.path, b"".join(kept))

    def records(self) -> list[dict[str, object]]:
        """The records of all undamaged lines, repetitions left out."""
        return list(self._lines().values())

    def _lines(self) -> dict[bytes, dict[str, object]]:
        lines: dict[bytes, dict[str, object]] = {}
        for line in self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else ():
            with suppress(ValueError, RecursionError):
                lines[line + b"\n"] = _parse(line)
        return lines


@contextmanager
def lock(folder: Path) -> Generator[None]:
    """Hold FOLDER, which exists, for this process alone; LockHeld names the holder; death frees it."""
    with ExitStack() as held:
        with _refusing(f"lock {folder}"):
            descriptor = held.enter_context(_opened(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW))
            for _ in range(20):  # one second: a winner needs a moment to write its name down
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.05)
            else:
                holder = os.pread(descriptor, 300, 0).partition(b"\n")[0].decode(errors="replace")
                raise LockHeld(safe_text(f"{folder} is in use by {holder}; stop it or choose another --out"))
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            _locks.add(descriptor)
            held.callback(_locks.discard, descriptor)
        yield


def probe(folder: Path, needed_bytes: int = 0) -> None:
    """Make FOLDER and write there once: EnvironmentProblem if that fails or NEEDED_BYTES are not free."""
    with _refusing(f"write to {folder}"), _temp(folder / "probe") as temp:
        _create(temp, b"probe")
        if (free := shutil.disk_usage(folder).free) < needed_bytes:
            raise ValueError(f"{needed_bytes} bytes needed, {free} free")


def _twice(path: Path, needed: int) -> Generator[AbstractContextManager[object]]:
    """A first and a last chance for what the machine may refuse; who succeeds returns."""
    yield suppress(OSError, WeightsError)
    free: int | str = "unknown"
    with suppress(OSError):
        free = shutil.disk_usage(next(filter(os.path.lexists, path.parents))).free
    yield _refusing(f"write {path} ({needed} bytes needed, {free} free)")


@contextmanager
def _refusing(what: str, kind: type[Exception] = EnvironmentProblem) -> Generator[None]:
    """Say in one line what cannot be done, why, and what to do."""
    try:
        yield
    except (OSError, ValueError, RecursionError, WeightsError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        advice = "take another copy" if kind is WeightsError else "choose another --out"
        raise kind(safe_text(f"cannot {what}: {reason}; {advice}")) from error


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{kind}-{path.name}-{os.urandom(4).hex()}")


@contextmanager
def _temp(path: Path) -> Generator[Path]:  # a new name beside PATH; what bears it at the end goes
    temp = _beside(path, "tmp")
    _make_folder(path.parent)
    try:
        yield temp
    finally:
        with suppress(OSError):
            _delete(temp)


@contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    descriptor = _act("open", path, partial(os.open, path, flags, 0o666))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _create(path: Path, data: bytes | memoryview) -> None:
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        _write(descriptor, path, data)
        _act("fsync", path, partial(os.fsync, descriptor))


def _write(descriptor: int, path: Path, data: bytes | memoryview) -> None:
    half = len(data) // 2
    for rest in (memoryview(data)[:half], memoryview(data)[half:]):  # tests stop between the two
        while rest:
            rest = rest[_act("write", path, partial(os.write, descriptor, rest)) :]


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        _act("mkdir", folder, partial(folder.mkdir, exist_ok=True))
        _sync_folder(folder.parent)


def _rename(source: Path, target: Path) -> None:
    _act("rename", source, partial(source.replace, target))


def _sync_folder(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        _act("fsync-folder", folder, partial(os.fsync, descriptor))


def _delete(path: Path) -> None:
    is_folder = stat.S_ISDIR(path.lstat().st_mode)
    for child in list(path.iterdir()) if is_folder else ():
        _delete(child)
    _act("rmdir" if is_folder else "unlink", path, path.rmdir if is_folder else path.unlink)


def _read(path: Path, entry: object) -> bytes:
    """The bytes of the plain file PATH; they are as ENTRY says, but for the manifest, which has none."""
    with _refusing(f"use {path}", WeightsError), _opened(path, _READ) as descriptor:
        facts = os.fstat(descriptor)
        most = cast("dict[str, object]", entry).get("size") if isinstance(entry, dict) else LARGEST_MANIFEST
        if not stat.S_ISREG(facts.st_mode) or not isinstance(most, int) or facts.st_size > most:
            raise ValueError(f"expected a plain file of {most} bytes, found {facts.st_size} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(facts.st_size + 1)
        if path.name != MANIFEST and _entry(data) != entry:
            raise ValueError(f"expected {entry}, found {_entry(data)}")
        return data


def _parse(data: bytes) -> dict[str, object]:
    if isinstance(value := json.loads(data.decode()), dict):
        return cast("dict[str, object]", value)
    raise ValueError("no JSON object")


def _entry(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sealed(head: bytes) -> bytes:  # a manifest whose last 68 bytes hold the sha256 of all before them
    return head + f'{hashlib.sha256(head).hexdigest()}"\n}}\n'.encode()
