"""A pickle followed opcode by opcode without making its objects: only a plain state dict passes (T-1)."""

import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

from ..errors import WeightsError, safe_text

MAX_OPCODES = 450_000  # of one pickle; cifar_resnet1202 with its momentum needs 378,000
MAX_DIMENSIONS = 64  # torch's own limit

ADVICE = "ask for safetensors or for a plain state dict"

StorageCheck = Callable[[str, int, int], None]

SIZES = {
    1: ("Byte", "Char", "Bool"),
    2: ("Half", "BFloat16", "Short"),
    4: ("Float", "Int"),
    8: ("Double", "Long"),
}
STORAGES = {f"torch.{name}Storage": size for size, names in SIZES.items() for name in names}
NUMBERS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
DTYPES = {f"torch.{name}" for name in NUMBERS}


def follow(data: bytes, storage: StorageCheck | None, limit: int = MAX_OPCODES) -> tuple[Any, int]:
    """The value of the pickle at the start of DATA, and the place behind it. Raises WeightsError.

    Tensors and storages are mere marks in it. `storage` is called with key, bytes per element and number of
    elements; it is None where no tensor may be. `limit` is the number of opcodes and of copied items.
    """
    return guarded(_Machine(storage, limit).follow, data)


def require(condition: bool, reason: str) -> None:
    """Raise WeightsError with the REASON unless the condition holds."""
    if not condition:
        raise WeightsError(reason)


def short(text: object) -> str:
    """TEXT from a hostile file as part of a message."""
    return safe_text(str(text)[:80])


def guarded(read: Callable[[bytes], Any], data: bytes) -> Any:
    """What `read` makes of DATA; whatever it stumbles over (warnings made errors too) is damage."""
    try:
        return read(data)
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        Warning,
        struct.error,
    ) as problem:
        raise WeightsError("it is damaged or cut off; download it again") from problem


def are_counts(numbers: Any) -> bool:
    """Whether this is a tuple of integers ≥ 0 that can be a shape or strides."""
    short_tuple = type(numbers) is tuple and len(numbers) <= MAX_DIMENSIONS
    return short_tuple and all(type(n) is int and 0 <= n < 2**48 for n in numbers)


class _Global(NamedTuple):
    path: str


class _Storage(NamedTuple):
    numel: int


class _Machine:
    """The stacks and the memo that torch's own reader would have, and its opcodes in `_OPCODES`."""

    def __init__(self, storage: StorageCheck | None, limit: int) -> None:
        self.storage = storage
        self.limit = limit
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def follow(self, data: bytes) -> tuple[Any, int]:
        """The value at the pickle's STOP, and the place behind it."""
        for count, (opcode, argument, at) in enumerate(pickletools.genops(data)):
            name = opcode.name
            require(count < self.limit, "its pickle is too long")
            if name == "STOP":
                return self.stack.pop(), int(at or 0) + 1
            if (name == "PROTO") != (count == 0) or name not in _OPCODES:
                raise WeightsError(f"its pickle uses {name}, which no state dict needs; {ADVICE}")
            _OPCODES[name](self, argument)
        raise ValueError("no STOP")

    def push(self, value: Any) -> None:
        """One more value."""
        self.stack.append(value)

    def mark(self) -> None:
        """MARK: a new stack upon the old one."""
        self.outer.append(self.stack)
        self.stack = []

    def take(self, count: int | None = None) -> list[Any]:
        """The last COUNT values; without it, those since the last MARK."""
        if count is None:
            taken, self.stack = self.stack, self.outer.pop()
            return taken
        require(len(self.stack) >= count, "its pickle is damaged")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def extend(self, items: list[Any]) -> None:
        """APPEND(S): only to a list."""
        require(type(self.stack[-1]) is list, "its pickle appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        """SETITEM(S): only into a dictionary, and only under texts and integers, whose hash is quick."""
        require(type(self.stack[-1]) in (dict, OrderedDict), "its pickle sets items of what is no dictionary")
        self.stack[-1].update(_ordered(list(zip(items[::2], items[1::2], strict=True))))

    def reduce(self) -> None:
        """REDUCE: only the calls that a state dict needs, with sensible arguments."""
        function, arguments = self.take(2)
        known = type(function) is _Global and function.path in _CALLS and type(arguments) is tuple
        require(known, f"its pickle calls what no state dict calls; {ADVICE}")
        self.limit -= sum(len(argument) for argument in arguments if type(argument) is list)  # copied each time
        self.push(_CALLS[function.path](*arguments))

    def build(self) -> None:
        """BUILD: only the attribute `_metadata` of a state dict."""
        state = self.stack.pop()
        known = type(self.stack[-1]) is OrderedDict and type(state) is dict and set(state) <= {"_metadata"}
        require(known, f"its pickle sets attributes; {ADVICE}")

    def name_global(self, argument: str) -> None:
        """GLOBAL: only the names in the tables of this file."""
        path = argument.replace(" ", ".")
        if not (path in _CALLS or path in STORAGES or path in DTYPES):
            raise WeightsError(f"its pickle asks for {short(path)}, which no state dict needs; {ADVICE}")
        self.push(_Global(path))

    def persistent(self) -> None:
        """BINPERSID: only the data of a tensor."""
        identity = self.stack.pop()
        if self.storage is None or type(identity) is not tuple or identity[5:] not in ((), (None,)):
            raise WeightsError(f"its pickle refers to what is no tensor; {ADVICE}")
        tag, kind, key, location, numel = identity[:5]
        known = type(tag) is type(key) is type(location) is str and tag == "storage" and are_counts((numel,))
        known = known and type(kind) is _Global and kind.path in STORAGES
        require(known, f"it has a tensor of an unknown kind; {ADVICE}")
        self.storage(key, STORAGES[kind.path], numel)
        self.push(_Storage(numel))


def _ordered(*pairs: Any) -> OrderedDict[Any, Any]:
    require(all(type(items) is list for items in pairs), "its pickle has a damaged dictionary")
    result = OrderedDict()
    for key, value in chain(*pairs):
        quick = type(key) is str or (type(key) is int and abs(key) < 2**60)  # larger ones can all hash to 0
        require(quick, "its pickle has a key that is neither a text nor a small integer")
        result[key] = value
    return result


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *rest: object) -> object:
    shaped = type(storage) is _Storage and are_counts((offset,)) and are_counts(size) and are_counts(stride)
    require(shaped and len(size) == len(stride), "its pickle has a tensor without a usable shape")
    reach = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else -1
    require(offset + reach < storage.numel, "it has a tensor that reaches beyond its data")
    require(not rest or (len(rest) == 2 and type(rest[1]) is OrderedDict), "it has a tensor with extras")
    return _TENSOR


def _parameter(data: object, requires_grad: object, hooks: object) -> object:
    sound = data is _TENSOR and type(requires_grad) is bool and type(hooks) is OrderedDict
    require(sound, "it has a damaged parameter")
    return _TENSOR


def _size(numbers: object) -> object:
    require(are_counts(numbers), "its pickle has a damaged size")
    return numbers


_TENSOR = object()
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": lambda kind, index=0: object(),
}
_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _Machine.push),
    "SHORT_BINSTRING": lambda m, text: m.push(text.encode("ascii").decode()),  # Python 2
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "MARK": lambda m, _: m.mark(),
    "TUPLE": lambda m, _: m.push(tuple(m.take())),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.take()),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.take()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, place: m.memo.update({place: m.stack[-1]})),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, place: m.push(m.memo[place])),
    "PROTO": lambda m, version: require(version == 2, f"its pickle has protocol {version}, not 2"),
    "GLOBAL": _Machine.name_global,
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
}
