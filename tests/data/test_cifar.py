import os
import pickle
import struct
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from resnets.data.cifar import find_cifar, read_cifar
from resnets.errors import DataError

TRAIN10 = [f"data_batch_{i}" for i in range(1, 6)]
WATCHED = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "exec", "import")
SEEN: list[str] = []  # of the WATCHED while WATCHING
WATCHING: list[bool] = []
sys.addaudithook(lambda event, _: SEEN.append(event) if WATCHING and event in WATCHED else None)


def random_part(count: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, classes, count)


def python2_text(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return b"T" + struct.pack("<I", len(value)) + value if len(value) > 255 else b"U" + bytes([len(value)]) + value


def python2_array(pixels: np.ndarray, order: str = "C") -> bytes:
    """The steps that Python 2 and its numpy wrote for an array, as in the published files."""
    shape = b"M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    return head + shape + kind + (b"\x88" if order == "F" else b"\x89") + python2_text(pixels.tobytes(order)) + b"tb"


def python2_pickle(content: dict) -> bytes:
    def value(item) -> bytes:
        if isinstance(item, np.ndarray):
            return python2_array(item)
        if isinstance(item, list):
            return b"](" + b"".join(map(value, item)) + b"e"
        return b"J" + struct.pack("<i", item) if isinstance(item, int) else python2_text(item)

    return b"\x80\x02}q\x01(" + b"".join(value(key) + value(item) for key, item in content.items()) + b"u."


WRITERS = {f"protocol{p}": partial(pickle.dumps, protocol=p) for p in (0, 2, 3, 4)} | {"python2": python2_pickle}


def write_cifar(root: Path, name: str, writer: str = "binary"):
    """The files of NAME in the layout of WRITER below ROOT; returns class names, training parts and test parts."""
    fine, binary = name == "cifar100", writer == "binary"
    names = [f"class_{i}" for i in range(100 if fine else 10)]
    files = ["train", "test"] if fine else [*TRAIN10, "test_batch"]
    parts = {file: random_part(7, len(names), i) for i, file in enumerate(files)}
    names10, names100 = ("batches-bin", "binary") if binary else ("batches-py", "python")
    folder = root / (f"cifar-100-{names100}" if fine else f"cifar-10-{names10}")
    folder.mkdir(parents=True)
    for file, (pixels, labels) in parts.items():
        if binary:
            head = [np.full_like(labels, 77)] if fine else []
            records = np.column_stack([*head, labels, pixels]).astype(np.uint8)
            (folder / f"{file}.bin").write_bytes(records.tobytes())
        else:
            key = {"coarse_labels": [0], "fine_labels": labels.tolist()} if fine else {"labels": labels.tolist()}
            content = {"batch_label": "x", **key, "data": pixels, "filenames": [f"{i}.png" for i in range(7)]}
            (folder / file).write_bytes(WRITERS[writer](content))
    if binary:
        (folder / ("fine_label_names.txt" if fine else "batches.meta.txt")).write_text("\n".join(names) + "\n\n")
    else:
        content = {"fine_label_names" if fine else "label_names": names, "num_vis": 3072}
        (folder / ("meta" if fine else "batches.meta")).write_bytes(WRITERS[writer](content))
    *train, test = parts.values()
    return tuple(names), train, [test]


@pytest.mark.parametrize("writer", ["binary", *WRITERS])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_form_reads_back(tmp_path, name, writer):
    names, train, test = write_cifar(tmp_path, name, writer)
    found = find_cifar(tmp_path)
    assert found is not None
    assert found.parent == tmp_path
    assert find_cifar(found) == found
    data = read_cifar(found)
    assert (data.name, data.classes) == (name, names)
    for (images, labels), parts in ((data.train, train), (data.test, test)):
        expected = np.concatenate([pixels for pixels, _ in parts])
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.flags.c_contiguous
        assert images.shape == (len(expected), 32, 32, 3)
        assert np.array_equal(images[:, :, :, 1], expected[:, 1024:2048].reshape(-1, 32, 32))  # green
        assert np.array_equal(images.transpose(0, 3, 1, 2).reshape(-1, 3072), expected)
        assert labels.tolist() == [int(label) for _, labels in parts for label in labels]


def test_binary_is_preferred_and_other_names_are_found(tmp_path):
    write_cifar(tmp_path, "cifar10", "python2")
    write_cifar(tmp_path, "cifar10", "binary")
    write_cifar(tmp_path, "cifar100", "binary")
    assert find_cifar(tmp_path) == tmp_path / "cifar-10-batches-bin"
    renamed = (tmp_path / "cifar-100-binary").rename(tmp_path / "mine")
    assert find_cifar(renamed) == renamed
    assert read_cifar(renamed).name == "cifar100"
    (tmp_path / "empty").mkdir()
    assert find_cifar(tmp_path / "empty") is find_cifar(tmp_path / "none") is None
    with pytest.raises(DataError, match=r"no CIFAR in .*cifar-10-batches-bin or"):
        read_cifar(tmp_path / "empty")


@pytest.mark.parametrize(("name", "first", "last"), [("cifar10", "airplane", "truck"), ("cifar100", "apple", "worm")])
def test_standard_names_without_meta(tmp_path, name, first, last):
    write_cifar(tmp_path, name)
    folder = find_cifar(tmp_path)
    next(folder.glob("*.txt")).unlink()
    classes = read_cifar(folder).classes
    assert (classes[0], classes[-1], len(set(classes))) == (first, last, 100 if name == "cifar100" else 10)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: p.unlink(), r"data_batch_2\.bin cannot be read \(No such file or directory\)"),
        (
            lambda p: p.write_bytes(p.read_bytes()[:-1]),
            r"data_batch_2\.bin has 21,510 bytes, no multiple of .* 1 \+ 3072",
        ),
        (lambda p: p.write_bytes(b""), r"data_batch_2\.bin has 0 bytes"),
        (lambda p: (p.unlink(), p.mkdir()), r"data_batch_2\.bin is no file"),
        (lambda p: (p.unlink(), os.mkfifo(p)), r"data_batch_2\.bin is no file"),
        (lambda p: os.truncate(p, 1 << 40), r"data_batch_2\.bin is no file of at most"),
        (lambda p: p.write_bytes(bytes(3073) + b"\x0a" + bytes(3072)), r"_2\.bin has label 10 at image 1, not 0 to 9"),
        (lambda p: (p.parent / "batches.meta.txt").write_text("a\nb\n"), r"has 2 different class names, not 10"),
        (lambda p: (p.parent / "batches.meta.txt").write_text("a\n" * 10), r"has 1 different class names, not 10"),
    ],
)
def test_damaged_binary(tmp_path, break_it, message):
    write_cifar(tmp_path, "cifar10")
    break_it(tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin")
    with pytest.raises(DataError, match=message) as caught:
        read_cifar(tmp_path)
    assert "\n" not in str(caught.value)
    assert "unpack the archive again" in str(caught.value)


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": PIXELS, "labels": [0, 10]}, "has label 10 at image 1, not 0 to 9"),
        ({"data": PIXELS, "labels": [-1, 0]}, "has label -1 at image 0, not 0 to 9"),
        ({"data": PIXELS, "labels": [0, 1 << 70]}, "holds no list of integers 'labels'"),
        ({"data": PIXELS, "labels": [0, True]}, "holds no list of integers"),
        ({"data": PIXELS, "labels": [0]}, "holds 2 images and 1 labels"),
        ({"data": PIXELS[:, :-1], "labels": [0, 0]}, "holds no 'data' of N x 3072 bytes"),
        ({"data": PIXELS.astype(np.int64), "labels": [0, 0]}, "holds no 'data' of N x 3072 bytes"),
        ({"data": PIXELS.astype(object), "labels": [0, 0]}, "holds no 'data'|is no plain pickle"),
        ({"labels": [0]}, "holds no 'data'"),
        ([1, 2], "is no plain pickle"),
    ],
)
def test_damaged_pickle(tmp_path, content, message):
    write_cifar(tmp_path, "cifar10", "protocol2")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(DataError, match=message):
        read_cifar(tmp_path)


def test_fortran_order_of_python_2(tmp_path):
    _, _, [(pixels, labels)] = write_cifar(tmp_path, "cifar10", "python2")
    body = b"\x80\x02}(" + python2_text("labels") + b"](" + b"".join(b"K" + bytes([x]) for x in labels) + b"e"
    body += python2_text("data") + python2_array(pixels, "F") + b"u."
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(body)
    assert np.array_equal(read_cifar(tmp_path).test[0].transpose(0, 3, 1, 2).reshape(-1, 3072), pixels)


class Call:
    """Pickles to the call of FUNCTION."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def evil_pickles(canary: str) -> dict[str, bytes]:
    """Each would leave the CANARY, make what is no data, crash or fill the memory in a plain unpickler."""
    touch = f"touch {canary}"
    code = f"open({canary!r}, 'w')"
    data = b"\x80\x02}" + python2_text("data")
    good = python2_array(PIXELS)
    calls = {
        "open": Call(open, canary, "w"),
        "system": Call(os.system, touch),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "import": Call(__import__, "antigravity"),
        "mkfifo": Call(os.mkfifo, canary),
        "memmap": Call(np.memmap, canary, "u1", "w+", 0, (4,)),
        "ndarray": Call(np.ndarray, (1 << 40,)),
        "zeros": Call(np.zeros, (1 << 40,)),
        "fromfile": Call(np.fromfile, "/etc/hostname"),
        "path": Path("x"),
    }
    raw = {
        "protocol 0": f"cposix\nsystem\n(S'{touch}'\ntR.".encode(),
        "inst": f"(S'{touch}'\niposix\nsystem\n.".encode(),
        "obj": b"(cposix\nsystem\n" + python2_text(touch) + b"o.",
        "newobj": b"\x80\x02cnumpy\nndarray\n)\x81.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + python2_text(touch) + b"\x85R.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x15dtype.__class__.mro.x\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pcanary\n.",
        "out of band": b"\x80\x05\x97.",
        "object array": data[:3] + b"(" + data[3:] + good.replace(b"u1", b"O8") + b"U\x06labels](K\x00K\x00eu.",
        "build a class": data + b"cnumpy\nndarray\nN}U\x08__init__K\x01s\x86bs.",
        "call a result": b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R)R.",
        "memo bomb": b"\x80\x02]r\xff\xff\xff\x7f.",
        "memo bomb as text": b"]p2147483646\n.",
        "length lie": b"\x80\x02T\xff\xff\xff\x7fabc.",
        "length lie in bytes": b"\x80\x03B\xff\xff\xff\xffabc.",
        "frame lie": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f].",
        "deep tuple as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
        "deep tuple": b")" + b"\x85" * 250_000 + b".",
        "many names": b"\x80\x02" + b"cnumpy\ndtype\n" * 250_000 + b".",
        "many steps": b"](" + b"]" * 400_000 + b"e.",
        "shape lie": data + good.replace(b"M\x02\x00", b"M\xff\xff") + b"s.",
        "negative shape": data + good.replace(b"M\x02\x00M\x00\x0c\x86", b"J\xff\xff\xff\xffK\x07\x86") + b"u.",
        "cut": (data + good + b"s.")[:-900],
        "empty": b"",
        "big number": b"L" + b"9" * 100_000 + b"L\n.",
    }
    return raw | {name: pickle.dumps({"data": value, "labels": [0]}, protocol=2) for name, value in calls.items()}


REASONS = {
    "open": r"io\.open",
    "stack global": r"posix\.system",
    "newobj": "step 3 is NEWOBJ",
    "memo bomb": "LONG_BINPUT",
}
REASONS |= {"many steps": "step 300001", "memmap": "numpy.*memmap", "deep tuple": "step 33 is TUPLE1"}


@pytest.mark.parametrize(("file", "measured"), [("test_batch", "time"), ("batches.meta", "memory")])
def test_cifar_pickle_evil(tmp_path, file, measured):
    canary = tmp_path / "canary"
    evil = evil_pickles(str(canary))
    assert len(evil) >= 20
    write_cifar(tmp_path, "cifar10", "protocol2")
    for name, content in evil.items():
        (tmp_path / "cifar-10-batches-py" / file).write_bytes(content)
        if measured == "memory":
            tracemalloc.start()
        started = time.process_time()
        WATCHING.append(True)
        with pytest.raises(DataError, match=f"{file}.*{REASONS.get(name, '')}"):
            read_cifar(tmp_path)
        WATCHING.clear()
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 << 20, name
        assert measured == "memory" or seconds < 1, name
        assert not canary.exists(), name
        assert SEEN == [], name


@pytest.mark.parametrize("name", ["open", "system", "eval", "protocol 0", "inst", "obj", "stack global", "memmap"])
def test_the_evil_pickles_are_evil(tmp_path, name):
    canary = tmp_path / "canary"
    pickle.loads(evil_pickles(str(canary))[name])
    assert canary.exists()


@pytest.mark.data
def test_the_published_images():
    root = os.environ.get("RESNETS_DATA")
    if not root or not (Path(root) / "cifar-10-batches-bin").is_dir():
        pytest.skip("RESNETS_DATA names no folder with cifar-10-batches-bin")
    data = read_cifar(Path(root) / "cifar-10-batches-bin")
    assert " ".join(data.classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert [len(data.train[1]), len(data.test[1])] == [50_000, 10_000]
    total, squares = np.zeros(3), np.zeros(3)
    for part in np.split(data.train[0], 50):
        rows = part.reshape(-1, 96).astype(np.uint32)
        total += rows.sum(0).reshape(32, 3).sum(0)
        squares += (rows * rows).sum(0).reshape(32, 3).sum(0)
    mean, mean_square = total / (50_000 * 1024), squares / (50_000 * 1024)
    assert mean == pytest.approx((125.307, 122.950, 113.865), abs=0.01)
    assert np.sqrt(mean_square - mean**2) == pytest.approx((62.993, 62.089, 66.705), abs=0.01)
