"""CIFAR-10 and CIFAR-100 as their publisher packs them: the binary form and the pickled ("python") form.

A pickle makes no object of a real class: it is scanned first, and the few names it may use become stand-ins that
only keep what it says.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, safe_text

_NAMES = """
airplane automobile bird cat deer dog frog horse ship truck apple aquarium_fish baby bear beaver bed bee beetle
bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud
cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_CLASSES = {"cifar10": tuple(_NAMES.split()[:10]), "cifar100": tuple(_NAMES.split()[10:])}
_PIXELS = 3 * 32 * 32
_MAX_FILE = 256 << 20  # bytes; CIFAR-100's training set, the largest file published, has 155 million
_MAX_STEPS = 300_000  # of a pickle; the same file takes about 205,000
_STEPS = """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT LONG1 BININT BININT1 BININT2 STRING BINSTRING SHORT_BINSTRING UNICODE
BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND
APPENDS EMPTY_DICT DICT SETITEM SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
REDUCE BUILD
"""
_GLOBALS = ("numpy.ndarray", "numpy.dtype", "_codecs.encode", "numpy.core.multiarray._reconstruct")
_Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Cifar:
    """What a folder holds: images uint8 (N, 32, 32, 3), RGB and C-contiguous, and labels int64 (N,).

    name is "cifar10" or "cifar100"; classes are in label order; the labels of CIFAR-100 are the fine ones.
    """

    name: str
    classes: tuple[str, ...]
    train: _Part
    test: _Part


@dataclass(frozen=True)
class _Form:
    """One of the four layouts; labels: how many bytes before the pixels, or the key in the pickle."""

    folder: str
    name: str
    train: list[str]
    test: str
    meta: str
    meta_key: str
    labels: int | str


_BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
_BINARY = [f"{name}.bin" for name in _BATCHES]
_FINE = "fine_label_names"
_FORMS = (
    _Form("cifar-10-batches-bin", "cifar10", _BINARY, "test_batch.bin", "batches.meta.txt", "", 1),
    _Form("cifar-10-batches-py", "cifar10", _BATCHES, "test_batch", "batches.meta", "label_names", "labels"),
    _Form("cifar-100-binary", "cifar100", ["train.bin"], "test.bin", f"{_FINE}.txt", "", 2),
    _Form("cifar-100-python", "cifar100", ["train"], "test", "meta", _FINE, "fine_labels"),
)


def find_cifar(folder: Path) -> Path | None:
    """FOLDER or the child of it that holds CIFAR in one of its forms: CIFAR-10 first, binary first."""
    found = _locate(folder)
    return found[1] if found else None


def cifar_called(folder: Path) -> str:
    """The name of the set that `find_cifar` finds, cifar10 or cifar100; "" where there is none."""
    found = _locate(folder)
    return found[0].name if found else ""


def read_cifar(folder: Path) -> Cifar:
    """The data set in FOLDER or a child of it. Raises DataError for what is missing, damaged or hostile."""
    found = _locate(folder)
    if not found:
        names = " or ".join(form.folder for form in _FORMS)
        raise DataError(f"no CIFAR in {safe_text(str(folder))}; give a folder with {names}")
    form, place = found
    classes = _read_classes(form, place / form.meta)
    parts = [_read_part(form, place / name) for name in [*form.train, form.test]]
    return Cifar(form.name, classes, _join(parts[:-1]), _join(parts[-1:]))


def _locate(folder: Path) -> tuple[_Form, Path] | None:
    names = {folder.name, folder.resolve().name}
    found = [(f, folder) for f in _FORMS if all(_has(folder / name) for name in (f.train[0], f.test, f.meta))]
    named = [(f, folder if f.folder in names else folder / f.folder) for f in _FORMS]
    found += [(f, place) for f, place in named if _has(place, Path.is_dir)]
    return found[0] if found else None


def _has(path: Path, kind: Callable[[Path], bool] = Path.is_file) -> bool:
    try:
        return kind(path)
    except OSError:  # in a folder that may not be entered
        return False


def _refusal(path: Path, what: str) -> DataError:
    return DataError(f"{safe_text(str(path))} {what}; unpack the archive again")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE or not path.is_file():
            raise _refusal(path, f"is no file of at most {_MAX_FILE:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror})") from None


def _read_classes(form: _Form, path: Path) -> tuple[str, ...]:
    if not _has(path):
        return _CLASSES[form.name]
    key = form.meta_key
    names = _unpickle(path).get(key) if key else _read(path).decode("utf-8", "replace").split()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refusal(path, "holds no list of class names")
    if not len(names) == len(set(names)) == len(_CLASSES[form.name]):
        raise _refusal(path, f"has {len(set(names))} different class names, not {len(_CLASSES[form.name])}")
    return tuple(names)


def _read_part(form: _Form, path: Path) -> _Part:
    """Pixels as stored, (N, 3072) with all of red first, and the checked labels."""
    read = _from_pickle if isinstance(form.labels, str) else _from_records
    pixels, labels = read(path, form.labels)
    most = len(_CLASSES[form.name]) - 1
    for at in np.flatnonzero((labels < 0) | (labels > most))[:1]:
        raise _refusal(path, f"has label {labels[at]} at image {at}, not 0 to {most} ({form.name})")
    return pixels, labels.astype(np.int64)


def _from_records(path: Path, head: Any) -> _Part:
    data = _read(path)
    if not data or len(data) % (head + _PIXELS):
        raise _refusal(path, f"has {len(data):,} bytes, no multiple of a record's {head} + {_PIXELS}")
    records = np.frombuffer(data, np.uint8).reshape(-1, head + _PIXELS)
    return records[:, head:], records[:, head - 1]


def _from_pickle(path: Path, key: Any) -> _Part:
    content = _unpickle(path)
    try:
        pixels = _pixels(content.get("data"))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise _refusal(path, f"holds no 'data' of N x {_PIXELS} bytes") from None
    labels = content.get(key)
    if not isinstance(labels, list) or not all(type(x) is int and abs(x) < 1 << 31 for x in labels):
        raise _refusal(path, f"holds no list of integers '{key}'")
    if not 0 < len(labels) == len(pixels):
        raise _refusal(path, f"holds {len(pixels)} images and {len(labels)} labels")
    return pixels, np.array(labels, np.int64)


def _join(parts: list[_Part]) -> _Part:
    labels = np.concatenate([labels for _, labels in parts])
    images, start = np.empty((len(labels), 32, 32, 3), np.uint8), 0
    for pixels, _ in parts:
        images[start : start + len(pixels)] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start += len(pixels)
    return images, labels


class _StandIn:
    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_StandIn]:
        """A new class without behaviour for the names that arrays need; UnpicklingError for others."""
        if f"{module}.{name}".replace("numpy._core", "numpy.core") not in _GLOBALS:
            raise pickle.UnpicklingError(f"the name {module}.{name}")
        return type(name, (_StandIn,), {})


def _unpickle(path: Path) -> dict[str, Any]:
    data = _read(path)
    try:
        _scan(data)
        content = _Reader(io.BytesIO(data), encoding="latin1").load()
        return {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    except Exception as error:  # a damaged pickle raises anything, and nothing but data was made
        raise _refusal(path, f"is no plain pickle of CIFAR ({safe_text(str(error))[:80]})") from None


def _scan(data: bytes) -> None:
    """Raises ValueError for steps that plain data needs not, and for what costs more than the file's size."""
    steps, rare = set(_STEPS.split()), 0  # rare: tuples nested without end would overflow the stack of C as a key
    for count, (step, argument, _) in enumerate(pickletools.genops(data)):
        rare += step.name.startswith("TUPLE") or "GLOBAL" in step.name
        far = "PUT" in step.name and int(argument or 0) > count  # the memo is as long as its largest index
        if step.name not in steps or far or rare > 32 or count > _MAX_STEPS:
            raise ValueError(f"step {count} is {step.name}")


def _pixels(array: Any) -> np.ndarray:
    _, (rows, _), dtype, fortran, raw = array.state
    if dtype.arguments[0] != "u1":
        raise ValueError("not bytes")
    raw = raw.arguments[0] if isinstance(raw, _StandIn) else raw  # bytes in protocol 2 of Python 3
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # and of Python 2
    return np.frombuffer(raw, np.uint8).reshape((rows, _PIXELS), order="F" if fortran else "C")
