"""Weight files that other people made, read without trust (T-1 to T-3 of the reliability goals)."""

import io
import json
import os
import re
import stat
import struct
import zlib
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from ..errors import EnvironmentProblem, WeightsError, safe_text
from .pickles import MAX_OPCODES, are_counts, follow, guarded, require, short

TORCH_FLOOR = (2, 11)  # below it `weights_only` has known holes
MAX_BYTES = 4 * 2**30 - 1  # of a file, thereby of its tensors; below it a zip needs no 64-bit fields
MAX_HEADER = 2 * 2**20  # of safetensors; parsed, it takes up to twenty times as much memory
MAX_METADATA = 2**20
MAX_PICKLE = 16 * 2**20
MAX_MEMBERS = 20_000

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "state_dict_ema")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
INTEGERS = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}
DTYPES = {**FLOATS, **INTEGERS, "BOOL": torch.bool}
ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the first of five pickles, a magic number
UNFIT_NAME = re.compile(r"^$|^/|(^|/)\.\.(/|$)|[\x00-\x1f\x7f-\x9f]")
STRANGERS = {
    b"version https://git-lfs": "it is a git-lfs pointer; fetch the file itself with `git lfs pull`",
    b"<": "it is a web page, not the file; download it again",
    b"\x1f\x8b": "it is compressed by gzip; unpack it first",
    b"\x89HDF": "it is an HDF5 file; convert it to safetensors",
    b"\x80": "it is a pickle that torch.save did not write; save the state_dict() as safetensors",
}


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pth.tar, .th, .pt or .bin file, by name; nothing in it is run.

    The content tells the format. A state dict inside a training checkpoint is found, the other entries are
    ignored, the prefixes of DataParallel and torch.compile are taken off. Raises WeightsError.
    """
    try:
        data = _read(path)
        if data.startswith((ZIP, LEGACY)):
            tensors = _checked(_state_dict(_load_with_torch(data)), len(data))
        else:
            require(data[8:9] == b"{", _stranger(data))
            tensors, _ = read_safetensors(data)
        return _without_prefix(tensors)
    except WeightsError as problem:
        raise WeightsError(f"cannot read weights {safe_text(os.fsdecode(path))}: {problem}") from problem


def read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, all finite, and the metadata of a safetensors file. Raises WeightsError.

    The metadata is at most 1 MiB of text, but still hostile text.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    require(end <= min(len(data), 8 + MAX_HEADER), "its header is longer than the file or than 2 MiB")
    metadata = guarded(_safetensors_header, data[8:end])
    try:
        tensors = parse_safetensors(data)
    except Exception as problem:  # the library raises many kinds
        raise WeightsError("its header and its tensors disagree; download it again") from problem
    return _checked(tensors, len(data)), metadata


def check_torch_zip(data: bytes) -> None:
    """Refuse all but a plain state dict in the zip form of torch.save (torch ≥ 1.6). Raises WeightsError."""
    members = guarded(_zip_members, data)
    top = next(iter(members)).partition("/")[0] + "/"
    inside = {name.removeprefix(top): span for name, span in members.items() if name.startswith(top)}
    program = any(name == "constants.pkl" or name.startswith("code/") for name in inside)
    require(not program, "it is a TorchScript archive, which is a program; save its state_dict() instead")
    require("data.pkl" in inside and len(inside) == len(members), "it is a zip that torch.save did not write")
    require(sum(name.endswith(".pkl") for name in inside) == 1, "it holds more than one pickle")

    def storage(key: str, size: int, numel: int) -> None:
        start, end = inside[f"data/{key}"]
        require(size * numel == end - start, f"the data of tensor {short(key)} are not as long as announced")

    start, end = inside["data.pkl"]
    require(end - start <= MAX_PICKLE, "its pickle is over 16 MiB")
    _, used = follow(data[start:end], storage)
    require(used == end - start, "something follows its pickle")


def check_legacy_pickle(data: bytes) -> None:
    """Refuse all but a plain state dict in the bare form of torch.save (torch < 1.6). Raises WeightsError."""
    require(data.startswith(LEGACY), "it is a pickle that torch.save did not write; save it as safetensors")
    storages: dict[str, tuple[int, int]] = {}

    def storage(key: str, size: int, numel: int) -> None:
        known = storages.setdefault(key, (size, numel))
        require(known == (size, numel), f"tensor {short(key)} has two sizes")

    values, at = [], len(LEGACY)
    pickles = ((None, 10), (None, 1000), (storage, MAX_OPCODES), (None, MAX_OPCODES // 10))
    for reader, limit in pickles:  # version, system, the objects, the order of the tensors' data
        value, used = follow(data[at : at + MAX_PICKLE], reader, limit)
        values.append(value)
        at += used
    version, _, _, keys = values
    require(version == 1001, "it has an unknown version of torch's old form")
    listed = type(keys) is list and all(type(key) is str for key in keys) and sorted(keys) == sorted(storages)
    require(listed, "its list of tensors is damaged; download it again")
    for key in keys:
        size, numel = storages[key]
        require(data[at : at + 8] == struct.pack("<q", numel), f"the data of tensor {short(key)} are damaged")
        at += 8 + size * numel
    require(at == len(data), "it is cut off, or something was appended; download it again")


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        require(not Path(path).is_dir(), "it is a folder; give the weight file itself")
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            require(stat.S_ISREG(status.st_mode), "it is no regular file; give the weight file itself")
            require(status.st_size > 0, "it is empty; download it again")
            require(status.st_size <= MAX_BYTES, "it is over 4 GiB, the limit")
            return file.read(status.st_size)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "this is no file name"
        raise WeightsError(f"{reason}; check the name and the permissions") from problem


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # or a FIFO would block


def _stranger(data: bytes) -> str:
    if data[257:262] == b"ustar":
        return "it is a tar archive, maybe of the oldest torch; unpack it, or save it anew with a newer torch"
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    known = (reason for magic, reason in STRANGERS.items() if start.startswith(magic))
    return next(known, "its form is unknown; safetensors and state dicts written by torch.save are read")


def _zip_members(data: bytes) -> dict[str, tuple[int, int]]:
    """Name → (start, end) of the bytes, if the table of contents and the members themselves say the same."""
    end = len(data) - 22
    mark, *disks, here, count, length, start, comment = struct.unpack("<4s4H2LH", data[max(end, 0) :])
    sound = (mark, disks, here, comment) == (b"PK\x05\x06", [0, 0], count, 0)
    if data[max(end - 20, 0) : end].startswith(b"PK\x06\x07"):  # torch writes it in 64 bits, too
        end -= 76
        mark, size, _, *again = struct.unpack("<4sQL2L4Q", data[end : end + 56])
        sound &= (mark, size, again) == (b"PK\x06\x06", 44, [0, 0, count, count, length, start])
        sound &= data[end + 56 : end + 76] == struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    require(sound and start + length == end, "its table of contents is damaged; download it again")
    require(0 < count <= MAX_MEMBERS, f"it has {count} members, more than {MAX_MEMBERS} or none")
    members, checksums, extents, at = {}, {}, [(start, start)], start
    for _ in range(count):
        name, at, offset, span, crc = _zip_member(data, at)
        checksums[name] = crc
        extents.append((offset, span[1]))
        members[name] = span
    require(at == end and all(a[1] <= b[0] for a, b in pairwise(sorted(extents))), "its members overlap")
    require(len({name.lower() for name in members}) == count, "it has a member twice")
    for name, (begin, stop) in members.items():
        whole = checksums[name] in (
            0,
            zlib.crc32(memoryview(data)[begin:stop]),
        )  # 0: torch was told to omit it
        require(whole, "a checksum is wrong; download it again")
    return members


def _zip_member(data: bytes, at: int) -> tuple[str, int, int, tuple[int, int], int]:
    """An entry of the table of contents: name, next entry, member, (start, end) of its bytes, checksum."""
    entry = struct.unpack("<4s6H3L5H2L", data[at : at + 46])
    mark, _, _, flags, method, _, _, crc, size, full_size, name_size, extra, comment, *_, offset = entry
    raw = data[at + 46 : at + 46 + name_size]
    name = raw.decode()
    shown = f"its member '{short(name)}'"
    local = struct.unpack("<4s5H3L2H", data[offset : offset + 30])
    start = offset + 30 + local[9] + local[10]
    unknown_yet = flags & 8 and local[6:9] == (0, 0, 0)  # checksum and sizes stand behind the bytes instead
    same = unknown_yet or local[6:9] == (crc, size, full_size)
    same = same and (mark, local[0], local[2:4]) == (b"PK\x01\x02", ZIP, (flags, method))
    same = same and data[offset + 30 : offset + 30 + local[9]] == raw
    require(same, f"{shown} and its table of contents disagree")
    require(not UNFIT_NAME.search(name), f"{shown} has a name that leads elsewhere")
    require(not flags & ~0x808, f"{shown} is encrypted or patched")  # torch sets these two flags
    stored = method == 0 and size == full_size
    require(stored, f"{shown} is compressed, as torch.save never does; unpack the archive")
    return name, at + 46 + name_size + extra + comment, offset, (start, start + size), crc


def _safetensors_header(text: bytes) -> dict[str, str]:
    """The metadata; types, shapes and names are looked at, offsets are the library's business."""
    header: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique)
    metadata = header.pop("__metadata__", {})
    size = sum(len(key) + len(value) for key, value in metadata.items())
    require(size <= MAX_METADATA, "its metadata are over 1 MiB")
    for name, entry in header.items():
        require(entry["dtype"] in DTYPES, f"'{short(name)}' has the unknown type {short(entry['dtype'])}")
        require(are_counts(tuple(entry["shape"])), f"'{short(name)}' has no usable shape")
    return metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len(entries := dict(pairs)) == len(pairs), "its header has a name twice")
    return entries


def _load_with_torch(data: bytes) -> Any:
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < TORCH_FLOOR:
        raise EnvironmentProblem(f"torch {torch.__version__} is unsafe for .pth files; install 2.11 or newer")
    (check_torch_zip if data.startswith(ZIP) else check_legacy_pickle)(data)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except Exception as problem:  # of any kind; there is no second try by other means
        raise WeightsError(f"torch refuses it ({type(problem).__name__}); save it as safetensors") from problem


def _state_dict(content: Any) -> dict[Any, Any]:
    dictionaries = (dict, OrderedDict)
    require(type(content) in dictionaries, "it holds no state dict; save model.state_dict()")
    inner = (dict.get(content, key) for key in WRAPPERS)
    found = next((value for value in inner if type(value) in dictionaries), content)
    return dict(dict.items(found or {}))  # not found.items(): the file can give it an attribute of that name


def _without_prefix(tensors: dict[Any, Tensor]) -> dict[str, Tensor]:
    result = {}
    for name, tensor in tensors.items():
        require(type(name) is str, f"its state dict has the number {short(name)} as a name")
        while name.startswith(PREFIXES):
            name = name.partition(".")[2]
        require(name not in result, f"'{short(name)}' appears with and without a prefix")
        result[name] = tensor
    return result


def _checked(tensors: dict[str, Any], file_size: int) -> dict[str, Tensor]:
    """The tensors, if they are plain, finite and not much larger than their file."""
    require(bool(tensors), "it holds no tensors")
    left = 2 * file_size  # tied weights count twice; a view that repeats one number for ever does not pass
    for name, tensor in tensors.items():
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.dtype in DTYPES.values()
        require(plain, f"'{short(name)}' is no plain tensor; save model.state_dict() alone")
        left -= tensor.numel() * tensor.element_size()
        require(left >= 0, "its tensors are larger than the file")
        extremes = tensor.detach().aminmax() if tensor.is_floating_point() and tensor.numel() else ()
        finite = all(torch.isfinite(extreme) for extreme in extremes)
        require(finite, f"'{short(name)}' has NaN or infinite values; ask its publisher for other weights")
    return {name: tensor.detach() for name, tensor in tensors.items()}
