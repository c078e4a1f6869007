"""Weight files of bad intent, in both forms of torch.save, and the pieces to make them of."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

CANARY = Path(tempfile.gettempdir()) / f"resnets-canary-{os.getpid()}"
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + row(*arguments) + b"R"


def storage(numel: int = 4, key: str = "0", kind: str = "FloatStorage", legacy: bool = False) -> bytes:
    tail = b"N" if legacy else b""
    return row(text("storage"), name("torch", kind), text(key), text("cpu"), number(numel), tail) + b"Q"


def tensor(data: bytes, size: int = 4, stride: int = 1, offset: int = 0, extras: bytes = b"") -> bytes:
    arguments = data, number(offset), row(number(size)), row(number(stride)), b"\x89", EMPTY, extras
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def state_dict(value: bytes, key: bytes = b"X\x01\x00\x00\x00w") -> bytes:
    return b"\x80\x02}" + key + value + b"s."


def zip_form(content: bytes, members: dict[str, bytes] | None = None, **options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:  # pyright: ignore
        for path, data in {"data.pkl": content, "data/0": NUMBERS, "version": b"3\n", **(members or {})}.items():
            archive.writestr(f"archive/{path}", data)
    return file.getvalue()


def legacy_form(
    content: bytes, numel: int = 4, *, version: bytes = b"", system: bytes = b"", keys: bytes = b""
) -> bytes:
    version = version or pickle.dumps(1001, 2)
    system = system or pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    keys = keys or pickle.dumps(["0"], 2)
    return MAGIC + version + system + content + keys + struct.pack("<q", numel) + NUMBERS


EMPTY = call("collections", "OrderedDict")
VIEW = row(text("1"), b"K\x00", b"K\x04") + b"tQ"
TOUCH = f"touch {CANARY}"
PYTHON = f"open({str(CANARY)!r}, 'w')"
HARMFUL = call("os", "system", text(TOUCH))

CALLS = {
    "os.system": HARMFUL,
    "nt.system": call("nt", "system", text(TOUCH)),
    "subprocess.Popen": call("subprocess", "Popen", row(text("touch"), text(str(CANARY)))),
    "builtins.eval": call("builtins", "eval", text(PYTHON)),
    "builtins.exec": call("builtins", "exec", text(PYTHON)),
    "builtins.open": call("builtins", "open", text(str(CANARY)), text("w")),
    "builtins.__import__": call("builtins", "__import__", text("antigravity")),
    "getattr chain": call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")),
    "dotted attribute": name("torch", "serialization.os.system") + row(text(TOUCH)) + b"R",
    "torch.load": call("torch", "load", text(str(CANARY))),
    "torch.hub.load": call("torch.hub", "load", text("a/b"), text("c")),
    "torch.jit.load": call("torch.jit", "load", text(str(CANARY))),
    "torch.save": call("torch", "save", b"N", text(str(CANARY))),
    "torch wrapper subclass": call("torch._utils", "_rebuild_wrapper_subclass", name("os", "system"), b"N"),
    "torch type": call("torch._tensor", "_rebuild_from_type_v2", HARMFUL, name("torch", "Tensor"), b")", b"}"),
    "torch sparse": call("torch._utils", "_rebuild_sparse_tensor", b"N", b"N"),
    "numpy ctypes": call("numpy.ctypeslib", "load_library", text("libc.so.6"), text("/lib")),
    "numpy scalar": call("numpy._core.multiarray", "scalar", b"N", b"N"),
    "ctypes": call("ctypes", "CDLL", text("libc.so.6")),
    "functools.partial": call("functools", "partial", name("os", "system"), text(TOUCH)) + b")R",
    "operator.methodcaller": call("operator", "methodcaller", text("system"), text(TOUCH)),
    "runpy.run_path": call("runpy", "run_path", text(str(CANARY))),
    "pickle.loads": call("pickle", "loads", call("_codecs", "encode", text("cos\nsystem\n."), text("latin1"))),
    "codecs.encode": call("_codecs", "encode", text("x"), text("latin1")),
    "socket": call("socket", "create_connection", row(text("127.0.0.1"), number(9))),
    "Namespace": call("argparse", "Namespace"),
    "whole network": name("torch.nn.modules.linear", "Linear") + b")\x81}b",
    "set": call("builtins", "set", b"]"),
}
OPCODES = {
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + row(text(TOUCH)) + b"R",
    "STACK_GLOBAL of memo": text("os") + b"q\x00" + text("system") + b"q\x01h\x00h\x01\x93" + row(text(TOUCH)) + b"R",
    "INST": b"(" + text(TOUCH) + b"ios\nsystem\n",
    "OBJ": b"(" + name("os", "system") + text(TOUCH) + b"o",
    "NEWOBJ": name("torch", "Size") + b")\x81",
    "NEWOBJ_EX": name("torch", "Size") + b")}\x92",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pstorage\n",
    "NEXT_BUFFER": b"\x97",
    "FRAME": b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N",
    "DUP": b"N2",
    "second PROTO": b"\x80\x02N",
    "BUILD of items": EMPTY + b"}" + text("items") + b"Nsb",
    "BUILD of a type": name("torch", "Size") + b"}" + text("__call__") + HARMFUL + b"sb",
    "call of a text": text("os.system") + b")R",
    "call of a dtype": name("torch", "float32") + b")R",
    "call with a list": name("collections", "OrderedDict") + b"]R",
    "dictionary of a dictionary": call("collections", "OrderedDict", b"}"),
    "tuple of what is not there": b"(K\x01\x87t",
    "persistent unknown": row(text("other"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x04") + b"Q",
    "call of itself": name("torch", "Size") * 2 + b"\x85R",
    "parameter of a number": call("torch._utils", "_rebuild_parameter", b"K\x01", b"\x88", EMPTY),
    "persistent module": row(text("module"), name("os", "system"), text("a"), text("b")) + b"Q",
    "persistent text": text("os.system") + b"Q",
    "persistent number": b"K\x01Q",
    "persistent global": row(text("storage"), name("collections", "OrderedDict"), text("0"), text("cpu"), b"K\x04")
    + b"Q",
    "escaped global": b"ctorch\\x2eserialization\nload\n",
    "key of nested tuples": b")q\x00" + b"\x86q\x00h\x00".join([b"h\x00"] * 40) + b"\x86" + b"}q\x01h\x00Nsh\x01",
    "keys of one hash": b"}(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(4000)) + b"u",
    "copies of a list": b"]("
    + b"]K\x01aK\x01a" * 40_000
    + b"eq\x00"
    + (name("collections", "OrderedDict") + b"h\x00\x85R") * 9000,
    "too many opcodes": b"](" + b"N" * 500_000 + b"e",
    "STOP without a value": b"0.",
    "POP_MARK without MARK": b"t",
    "unknown memo": b"h\x09",
    "append to a tuple": b")K\x01a",
}
OPCODES["deep tuples"] = b")" + b"\x85" * 100_000 + b"q\x00" + b"}h\x00Ns"
TENSORS = {  # written for the zip form; the old form says None behind the number of elements
    "tensor beyond its data": lambda **form: tensor(storage(**form), size=5),
    "offset beyond its data": lambda **form: tensor(storage(**form), offset=1),
    "negative offset": lambda **form: tensor(storage(**form), offset=-1),
    "negative stride": lambda **form: tensor(storage(**form), stride=-1),
    "huge shape": lambda **form: tensor(storage(**form), size=2**62, stride=2**62),
    "tensor without storage": lambda **form: tensor(text("storage")),
    "tensor with metadata": lambda **form: tensor(storage(**form), extras=b"}"),
    "data longer than the file": lambda **form: tensor(storage(10**10, **form)),
    "data of another type": lambda **form: tensor(storage(kind="DoubleStorage", **form)),
    "unknown data": lambda **form: tensor(storage(key="1", **form)),
    "view of data": lambda **form: tensor(storage(**form).removesuffix(b"tQ").removesuffix(b"N") + VIEW),
    "untyped data": lambda **form: tensor(storage(kind="UntypedStorage", **form)),
    "data of two sizes": lambda **form: b"(" + tensor(storage(**form)) + tensor(storage(2, **form), size=2) + b"t",
}


def corpus() -> dict[str, bytes]:
    """Name → file; each is to be refused before torch sees it."""
    files = {}
    for title, payload in (CALLS | OPCODES).items():
        files[f"zip: {title}"] = zip_form(state_dict(payload))
        files[f"legacy: {title}"] = legacy_form(state_dict(payload))
    for title, make in TENSORS.items():
        files[f"zip: {title}"] = zip_form(state_dict(make()))
        files[f"legacy: {title}"] = legacy_form(state_dict(make(legacy=True)))
    return {**files, **_odd_zips(), **_odd_legacy(), **_strangers()}


def _odd_zips() -> dict[str, bytes]:
    content = state_dict(tensor(storage()))
    good = zip_form(content)
    name_at = good.index(b"archive/data/0")  # in the member; the last one is in the table of contents
    entry = good.rindex(b"archive/data/0") - 46
    many = {f"data/x{i}": b"" for i in range(20_001)}
    inner = good[name_at - 30 : name_at + 30]  # a whole member, with its header
    outer = zip_form(content, {"x": inner})
    *_, length, start, _ = struct.unpack("<4s4H2LH", good[-22:])
    wide = struct.pack("<4sQL2L4Q", b"PK\x06\x06", 44, 45, 0, 0, 2, 2, length, start)
    wide += struct.pack("<4sLQL", b"PK\x06\x07", 0, len(good) - 22, 1)
    return {
        "zip: TorchScript": zip_form(content, {"constants.pkl": content}),
        "zip: TorchScript code": zip_form(content, {"code/__torch__.py": b"import os"}),
        "zip: second pickle": zip_form(content, {"other.pkl": state_dict(HARMFUL)}),
        "zip: something behind the pickle": zip_form(content + state_dict(HARMFUL)),
        "zip: no pickle": zip_form(content).replace(b"data.pkl", b"data.pkx"),
        "zip: protocol 4": zip_form(pickle.dumps({"w": 1}, 4)),
        "zip: compressed": zip_form(content, compression=zipfile.ZIP_DEFLATED),
        "zip: two dots": good.replace(b"archive/data/0", b"archive/../t/0"),
        "zip: absolute": good.replace(b"archive/", b"/rchive/"),
        "zip: control character": good.replace(b"archive/version", b"archive/vers\x1b[n"),
        "zip: NUL": good.replace(b"archive/version", b"archive/vers\x00on"),
        "zip: not UTF-8": good.replace(b"archive/version", b"archive/vers\xffon"),
        "zip: twice": zip_form(content, {"dAta.pkl": content}).replace(b"dAta.pkl", b"data.pkl"),
        "zip: twice but for case": zip_form(content, {"DATA.PKL": content}),
        "zip: two folders": good.replace(b"archive/version", b"brchive/version"),
        "zip: encrypted": patch(good, entry + 8, b"\x01", name_at - 24),
        "zip: table with another name": patch(good, entry + 46 + 13, b"1"),
        "zip: table with another size": patch(good, entry + 20, struct.pack("<LL", 8, 8)),
        "zip: table with another place": patch(good, entry + 42, struct.pack("<L", 0)),
        "zip: table with a huge size": patch(good, entry + 20, b"\xff" * 8),
        "zip: other bytes": patch(good, good.index(NUMBERS), b"\x01"),
        "zip: behind something": b"PK\x03\x04" + good,
        "zip: with a comment": patch(good, len(good) - 2, b"\x03\x00") + b"abc",
        "zip: second table": good + good[good.index(b"PK\x01\x02") :],
        "zip: table with another irrelevant name": patch(good, good.rindex(b"version"), b"V"),
        "zip: other count of this disk": patch(good, len(good) - 14, b"\x02\x00"),
        "zip: other count": patch(good, len(good) - 12, b"\x02\x00"),
        "zip: cut off": good[:-40],
        "zip: half": good[: len(good) // 2],
        "zip: too many members": zip_form(content, many),
        "zip: 64-bit table that lies": good[:-22] + wide + good[-22:],
        "zip: member within a member": patch(
            outer, outer.rindex(b"archive/data/0") - 4, struct.pack("<L", outer.rindex(inner))
        ),
        "zip: bomb of overlapping members": overlapping_bomb(200_000, 20),
    }


def _odd_legacy() -> dict[str, bytes]:
    content = state_dict(tensor(storage(legacy=True)))
    good, evil = legacy_form(content), state_dict(HARMFUL)
    return {
        "legacy: wrong magic": good.replace(MAGIC, pickle.dumps(0x1950A86A20F9469CFC6D, 2)),
        "legacy: other version": legacy_form(content, version=pickle.dumps(1002, 2)),
        "legacy: evil version": legacy_form(content, version=evil),
        "legacy: evil system": legacy_form(content, system=evil),
        "legacy: evil keys": legacy_form(content, keys=evil),
        "legacy: a tensor among the keys": legacy_form(content, keys=content),
        "legacy: no keys": legacy_form(content, keys=pickle.dumps([], 2)),
        "legacy: keys twice": legacy_form(content, keys=pickle.dumps(["0", "0"], 2)),
        "legacy: unknown keys": legacy_form(content, keys=pickle.dumps(["0", "1"], 2)),
        "legacy: other length": legacy_form(content, numel=5),
        "legacy: negative length": legacy_form(content, numel=-1),
        "legacy: appended": good + b"\x00",
        "legacy: cut off": good[:-1],
        "legacy: only the magic": MAGIC,
        "legacy: half": good[: len(good) // 2],
    }


def _strangers() -> dict[str, bytes]:
    tar, evil = io.BytesIO(), b"\x80\x02" + HARMFUL + b"."
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for member in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(member))
    return {
        "tar": tar.getvalue(),
        "pickle": evil,
        "pickle of protocol 0": f"cos\nsystem\n(V{TOUCH}\ntR.".encode(),
        "pickle of protocol 4": pickle.dumps([1], 4),
        "gzip": gzip.compress(evil),
        "empty": b"",
        "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "web page": b"\n<!DOCTYPE html><html>404</html>",
        "text": b"hello",
    }


def patch(data: bytes, at: int, new: bytes, *also_at: int) -> bytes:
    for place in (at, *also_at):
        data = data[:place] + new + data[place + len(new) :]
    return data


def overlapping_bomb(full_size: int, members: int) -> bytes:
    """A zip in which all members share one stretch of compressed zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(bytes(full_size)) + packer.flush()
    fields = 0, 8, 0, 0, 0, len(body), full_size, 8, 0
    local = struct.pack("<4sH", b"PK\x03\x04", 20) + struct.pack("<4H3L2H", *fields) + b"a/member" + body
    entry = struct.pack("<4sHH", b"PK\x01\x02", 20, 20) + struct.pack("<4H3L2H", *fields)
    entry += struct.pack("<3H2L", 0, 0, 0, 0, 0)
    table = b"".join(entry + f"a/{i:06d}".encode() for i in range(members))
    return local + table + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, members, members, len(table), len(local), 0)


def bombs() -> Iterator[bytes]:
    """Files of some 200 KB, or less, that would grow to 40 GB."""
    many = state_dict(tensor(storage(10**10, legacy=True), size=10**10))
    view = state_dict(tensor(storage(), size=10**10, stride=0))
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}).encode()
    yield overlapping_bomb(200_000_000, 200)
    yield legacy_form(many, numel=10**10)
    yield zip_form(view, {"filler": bytes(200_000)})
    yield struct.pack("<Q", len(header)) + header + bytes(200_000)
