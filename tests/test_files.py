"""Killed, refused or without power at every operation: nothing torn is taken for whole, nothing lost."""

import errno
import itertools
import os
import random
import re
import resource
import shutil
import signal
from collections import Counter
from functools import partial

import pytest

from resnets import files
from resnets.errors import EnvironmentProblem, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* multi-threaded:DeprecationWarning")
OLD = {"model.safetensors": b"old" * 500, "optim.safetensors": b"OLD" * 500, "state.json": b"4"}
NEW = {"model.safetensors": b"newer" * 400, "state.json": b"8"}
SCENES = {  # what is there before, what is done
    "new file": (None, lambda it: files.write_file(it, b"new" * 300)),
    "file": (lambda it: files.write_file(it, b"old" * 400), lambda it: files.write_file(it, b"new" * 300)),
    "new folder": (None, lambda it: files.write_folder(it, NEW)),
    "folder": (lambda it: files.write_folder(it, OLD), lambda it: files.write_folder(it, NEW, {"step": 8})),
    "log": (lambda it: files.write_file(it, b"{}\n" * 9), lambda it: files.Log(it).write({"update": 8})),
    "removal": (lambda it: files.write_folder(it, OLD), files.remove_folder),
}
every_scene = pytest.mark.parametrize("scene", [scene for scene in SCENES if scene != "log"])


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def prepare(scene, root):
    """A fresh ROOT with what is there before; the path and the action."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    before, action = SCENES[scene]
    it = root / "run" / "it"
    if before:
        before(it)
    return it, lambda: action(it)


def state(it):
    """What a reader finds; a torn folder is a WeightsError."""
    if it.is_dir():
        return files.read_verified(it)[1]
    return it.read_bytes() if it.exists() else None


def before_and_after(scene, root):
    it, action = prepare(scene, root)
    before = state(it)
    action()
    return before, state(it)


def fork(action):
    if pid := os.fork():
        return pid
    try:
        action()
        os._exit(0)
    finally:
        os._exit(1)


def killed(action, k):
    """Run ACTION in a child that dies before operation K; False if there was no such operation."""
    count = itertools.count()

    def die_at_k():
        files._hook = lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(count) == k else None
        action()

    status = os.waitpid(fork(die_at_k), 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@every_scene
def test_kill_every_op(scene, tmp_path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    before, after = before_and_after(scene, root)
    for k in itertools.count():
        it, action = prepare(scene, root)
        if not killed(action, k):
            break
        assert state(it) in (before, after, None)  # None: moved out
        shutil.copytree(root, copy, dirs_exist_ok=True)
        for j in itertools.count():  # the recovery is killed too
            again = killed(partial(files.clean, it.parent), j)
            files.clean(it.parent)
            assert state(it) in (before, after), (k, j)
            assert not list(it.parent.glob(".t*"))
            if not again:
                break
            shutil.copytree(copy, root, dirs_exist_ok=True)
        shutil.rmtree(copy)
    assert k > 3
    assert state(it) == after
    assert not list(it.parent.glob(".t*"))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_every_error_at_every_op(scene, for_ever, number, tmp_path, monkeypatch):
    before, after = before_and_after(scene, tmp_path / "root")
    for k in itertools.count():
        it, action = prepare(scene, tmp_path / "root")
        operations, message = [], ""

        def refuse(operation, path, k=k, operations=operations):
            operations.append(operation)
            late = for_ever and len(operations) > k and operation not in ("unlink", "rmdir")
            if len(operations) == k + 1 or late:
                raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(files, "_hook", refuse)
            try:
                action()
            except EnvironmentProblem as error:
                message = str(error)
        if len(operations) <= k:
            assert k > 2
            break
        final = operations[k] in ("unlink", "rmdir")  # of what was replaced: left to `clean`
        assert bool(message) == (scene == "removal" or (for_ever and not final)), (operations[k], message)
        assert not list(tmp_path.rglob(".tmp-*"))
        if message:
            room = "" if scene == "removal" else "bytes needed, .* free.*"
            assert re.fullmatch(f"cannot .*{it}.*{room}{re.escape(os.strerror(number))}.*--out", message)
        files.clean(it.parent)
        assert state(it) in ((before, after) if message else (after,)), (operations[k], message)
        assert not list(tmp_path.rglob(".t*-*"))


class Disk:
    """What may be left of ROOT when the power goes: names and contents, durable or pending, by inode."""

    def __init__(self, root, skipped):
        self.root, self.skipped, self.syncs = root, skipped, 0
        self.names, self.changes, self.contents, self.unsynced = {}, [], {}, {}
        self.update()
        self.durable, self.changes = dict(self.names), []
        self.contents |= self.unsynced
        self.unsynced.clear()

    def update(self, *_):
        names = {}
        for path in self.root.rglob("*"):
            inode, data = path.stat().st_ino, None if path.is_dir() else path.read_bytes()
            names[path.parent.stat().st_ino, path.name] = inode
            if self.contents.setdefault(inode, data and b"") != data:
                self.unsynced[inode] = data
        self.changes.append({key: names.get(key) for key, _ in names.items() ^ self.names.items()})
        self.names = names

    def sync(self, descriptor):
        self.update()
        self.syncs += 1
        if self.syncs - 1 != self.skipped:
            inode = os.fstat(descriptor).st_ino
            self.contents[inode] = self.unsynced.pop(inode, self.contents.get(inode))
            for change in self.changes:
                if {parent for parent, _ in change} == {inode}:
                    self.durable |= change
                    change.clear()

    def crash(self, folder, chance):
        """Make FOLDER what ROOT may be after a crash now."""
        names, contents = dict(self.durable), dict(self.contents)
        for change in self.changes:
            names |= change if chance.random() < 0.5 else {}
        for inode, data in self.unsynced.items():
            contents[inode] = chance.choice([contents[inode], data[: len(data) // 2], bytes(len(data)), data])

        def restore(inode, folder):
            folder.mkdir()
            for (parent, name), child in names.items():
                if parent == inode and child is not None:
                    data = contents[child]
                    restore(child, folder / name) if data is None else (folder / name).write_bytes(data)

        shutil.rmtree(folder, ignore_errors=True)
        restore(os.stat(self.root).st_ino, folder)


def losses(scene, tmp_path, skipped=None):
    """Number of fsyncs, of crash states, and of states that are neither old nor new or not as announced."""
    before, after = before_and_after(scene, tmp_path / "root")
    _, action = prepare(scene, tmp_path / "root")
    draws = 4 if skipped is None else 1
    disk, chance, results = Disk(tmp_path / "root", skipped), random.Random(1), []

    def crash(*allowed):
        disk.update()
        disk.crash(tmp_path / "after", chance)
        there = tmp_path / "after" / "run" / "it"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "_hook", None)
            patch.setattr(os, "fsync", lambda descriptor: None)
            try:
                results.append(state(there) in (before, after, None))
                files.clean(there.parent)
                results[-1] &= state(there) in allowed
            except WeightsError:
                results.append(False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_hook", lambda *_: [crash(before, after) for _ in range(draws)])
        patch.setattr(os, "fsync", disk.sync)
        action()
    for _ in range(30):
        crash(after)
    return disk.syncs, len(results), results.count(False)


@every_scene
def test_powerloss_states(scene, tmp_path):
    syncs, states, lost = losses(scene, tmp_path)
    assert states > 50
    assert lost == 0
    for skipped in range(syncs):  # every single fsync is needed, and this test sees it
        assert losses(scene, tmp_path, skipped)[2] > 0, skipped


def test_no_operation_goes_round_the_seam(tmp_path, monkeypatch):
    real, seam = Counter(), Counter()
    _, action = prepare("folder", tmp_path / "root")
    for name in ("open", "close", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
        do = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _do=do, _name=name, **b: (real.update([_name]), _do(*a, **b))[1])
    names = {"rename": "replace", "fsync-folder": "fsync"}
    monkeypatch.setattr(files, "_hook", lambda operation, _: seam.update([names.get(operation, operation)]))
    action()
    seam["close"] = seam["open"]
    assert real == seam
    assert len(real) == 8


def test_kill_the_log(tmp_path):
    log, whole = files.Log(tmp_path / "log.jsonl"), b'{"update": 8}\n'
    for k in range(3):
        files.write_file(log.path, whole)
        assert killed(lambda: log.write({"update": 9}), k)
        assert log.records() == [{"update": 8}]
        log.truncate_after(9)
        assert log.path.read_bytes() == whole


def test_log_sync(tmp_path, monkeypatch):
    log, synced = files.Log(tmp_path / "log.jsonl"), []
    log.write({"update": 1})
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    log.sync()
    assert synced == [log.path.stat().st_ino, tmp_path.stat().st_ino]


def test_a_disk_that_lies(tmp_path, monkeypatch):
    it, write = tmp_path / "it", os.write
    files.write_folder(it, OLD)
    lies = [True]
    monkeypatch.setattr(os, "write", lambda to, data: len(data) if lies and lies.pop() else write(to, data))
    files.write_folder(it, NEW)
    assert state(it) == NEW
    monkeypatch.setattr(os, "write", lambda to, data: len(data))
    with pytest.raises(EnvironmentProblem, match=r"bytes needed, .*: cannot use .*MANIFEST"):
        files.write_folder(it, OLD)
    assert state(it) == NEW
    assert os.listdir(tmp_path) == ["it"]
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:99]))  # which is no lie
    files.write_folder(it, OLD)
    assert state(it) == OLD


def test_a_limit_on_the_size_of_files(tmp_path):
    it = tmp_path / "it"
    files.write_file(it, b"old")

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(EnvironmentProblem, match="File too large"):
            files.write_file(it, b"new" * 1000)

    assert os.waitpid(fork(write), 0)[1] == 0
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
