"""The published archives: fetched only when somebody asks for it, checked against pinned hashes, unpacked safely."""

import gzip
import hashlib
import http.client
import os
import re
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, EnvironmentProblem, safe_text, unknown


@dataclass(frozen=True)
class Archive:
    """A pinned archive; folder is what it unpacks to, files are names and sizes that make that folder complete."""

    url: str
    sha256: str
    bytes: int
    folder: str
    files: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; ratio is unpacked to packed size."""

    bytes: int = 2 << 30
    members: int = 10_000
    ratio: int = 100


_KRIZ = "https://www.cs.toronto.edu/~kriz/"
ARCHIVES = {
    "cifar10": Archive(
        f"{_KRIZ}cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        170_052_171,
        "cifar-10-batches-bin",
        tuple((f"{name}.bin", 10_000 * 3073) for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6)))),
    ),
    "cifar100": Archive(
        f"{_KRIZ}cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        168_513_733,
        "cifar-100-binary",
        (("train.bin", 50_000 * 3074), ("test.bin", 10_000 * 3074)),
    ),
}
_PIECE = 1 << 18
_HEADERS = 512, 64 * 512  # bytes: one block at a time, that many for one member
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotADirectoryError, ValueError, RecursionError)


def fetch(name: str, into: Path, report: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Download the archive NAME and unpack it as the child of INTO returned; a complete one is not fetched again.

    report gets the bytes received and expected. Raises DataError for other contents than the pinned ones and for a
    folder that is not complete, EnvironmentProblem where network or disk fail.
    """
    if name not in ARCHIVES:
        raise unknown("archive", name, ARCHIVES)
    archive = ARCHIVES[name]
    folder = into / archive.folder
    if not os.path.lexists(folder):
        with _workplace(into, archive.folder) as place:
            packed = place / archive.url.rpartition("/")[2]
            _download(archive, packed, folder, report)
            unpack(packed, place)
            if not os.path.lexists(folder):  # another process may have been faster
                _publish(_complete(place / archive.folder, archive), folder)
    return _complete(folder, archive)


def unpack(archive: Path, into: Path, limits: Limits = Limits()) -> None:
    """Unpack a .tar.gz that holds one folder as a child of INTO: all of it or nothing.

    Raises DataError for what is hostile, damaged or there already, EnvironmentProblem where disk or Python refuse.
    """
    shown = safe_text(str(archive))
    if not hasattr(tarfile, "data_filter"):
        raise EnvironmentProblem(f"Python {sys.version.split()[0]} cannot unpack {shown} safely; use 3.11.4 or newer")
    with _workplace(into, "unpacked") as place:
        try:
            with archive.open("rb") as file, gzip.GzipFile(fileobj=file) as stream:
                most = min(limits.bytes, limits.ratio * archive.stat().st_size + (1 << 20))
                _extract(_Guarded(stream, most), place, limits)
            found = list(place.iterdir())
            if len(found) != 1 or not found[0].is_dir() or os.path.lexists(into / found[0].name):
                raise DataError("it must hold one folder, which is not there yet")
        except (DataError, *_DAMAGE) as error:
            reason = safe_text(str(error))[:200] or "it is cut"
            raise DataError(f"{shown} is refused: {reason}; get it again from its publisher") from None
        _publish(found[0], into / found[0].name)


class _Guarded:
    """What tarfile reads from: forward only, MOST bytes in all and no more at a time than was allowed last."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self.stream, self.most, self.position, self.last = stream, most, 0, b""
        self.allow(*_HEADERS)

    def allow(self, piece: int, total: int) -> None:
        self.piece, self.left = piece, total

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        self.read(position - self.position)

    def read(self, size: int) -> bytes:
        self.left -= size
        if not 0 <= size <= self.piece or self.left < 0:
            raise DataError("a header is too long or leads back")
        self.last = self.stream.read(size)
        self.position += len(self.last)
        if self.position > self.most:
            raise DataError(f"it unpacks to more than {self.most:,} bytes")
        return self.last


def _extract(stream: Any, root: Path, limits: Limits) -> None:
    with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as tar:
        for count, member in enumerate(tar, 1):
            name = _checked_name(member)
            there = os.path.lexists(root / name) and not (member.isdir() and (root / name).is_dir())
            if there or count > limits.members:
                raise DataError(f"{name} is there twice" if there else f"it has more than {limits.members} members")
            stream.allow(1 << 20, member.size)
            tar.extract(member.replace(name=name, deep=False), root, set_attrs=False, filter="data")
            stream.allow(*_HEADERS)
    if stream.last != bytes(512):
        raise DataError("it is cut or damaged")
    stream.allow(_PIECE, stream.most + 2 * _PIECE)
    while stream.read(_PIECE):  # up to the checksum of gzip
        pass


def _checked_name(member: tarfile.TarInfo) -> str:
    name = member.name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    plain = member.isdir() or (member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and parts)
    if not plain or member.issparse() or member.size < 0:
        raise DataError(f"{name} is no plain file or folder")
    if name.startswith("/") or ".." in parts or not name.isprintable() or set(name) & set("\\:"):
        raise DataError(f"{name} leads elsewhere")
    if len(os.fsencode(name)) > 1000 or max(len(os.fsencode(part)) for part in [*parts, ""]) > 200 or len(parts) > 32:
        raise DataError(f"too long or too deep a name, {name}")
    return "/".join(parts) or "."


class _HttpsOnly(urllib.request.BaseHandler):
    secure = re.compile("https://").match  # tests let one server of their own pass

    def default_open(self, request: urllib.request.Request) -> None:
        """Sees every request before it is sent, those after a redirect too."""
        if not self.secure(request.full_url):
            raise DataError(f"{safe_text(request.full_url)} is not https; nothing was fetched from there")


def _download(archive: Archive, target: Path, folder: Path, report: Callable[[int, int], None]) -> None:
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        for piece in _pieces(archive, folder):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            report(done, archive.bytes)
            if done > archive.bytes:
                break
    if done != archive.bytes or digest.hexdigest() != archive.sha256:
        got = f"{done:,} bytes with SHA-256 {digest.hexdigest()}"
        raise DataError(f"{archive.url} gave {got}, not {archive.bytes:,} with {archive.sha256}; run it again")


def _pieces(archive: Archive, folder: Path) -> Generator[bytes, None, None]:
    try:
        with urllib.request.build_opener(_HttpsOnly).open(archive.url, timeout=30) as answer:
            while piece := answer.read(_PIECE):
                yield piece
    except (OSError, http.client.HTTPException) as error:
        by_hand = f"run it again or unpack it yourself (SHA-256 {archive.sha256}) as {safe_text(str(folder))}"
        raise EnvironmentProblem(f"cannot download {archive.url} ({safe_text(str(error))}); {by_hand}") from None


@contextmanager
def _workplace(into: Path, name: str) -> Generator[Path, None, None]:
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".tmp-{name}-", dir=into, ignore_cleanup_errors=True) as place:
            yield Path(place)  # a killed process leaves this folder, never a half one with the target's name
    except OSError as error:
        where = safe_text(str(into))
        raise EnvironmentProblem(f"cannot write in {where}: {error}; make room or choose another folder") from None


def _publish(source: Path, target: Path) -> None:
    for path in filter(Path.is_file, source.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    source.rename(target)


def _complete(folder: Path, archive: Archive) -> Path:
    sizes = {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()}
    wrong = [name for name, size in archive.files if sizes.get(name) != size]
    if wrong or not folder.is_dir():
        raise DataError(f"{safe_text(str(folder))} is not complete ({', '.join(wrong)}); delete it and fetch again")
    return folder
