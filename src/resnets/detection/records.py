"""Records of JSON files that nobody vouches for: ids, numbers and boxes, each checked as it is taken.

Ids are whole numbers below 2^53, numbers are smaller than that too, and NaN and Infinity are no JSON.
"""

import json
from pathlib import Path
from typing import NoReturn

from ..data.images import ImageError, Limits, read_bytes
from ..errors import DataError, safe_text

MAX_BYTES, MAX_ID = 2_000_000_000, 1 << 53
Record = dict[str, object]


def read_json(path: Path, called: str = "") -> object:
    """The value in a JSON file. Raises DataError, in one line that names it as CALLED, for what is none."""
    where = safe_text(called or str(path))
    try:
        return json.loads(read_bytes(path, Limits(max_bytes=MAX_BYTES)), parse_constant=_no_constant)
    except ImageError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply for annotations or results") from error
    except MemoryError as error:
        raise DataError(f"{where}: needs more memory than there is") from error
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {safe_text(str(error))[:200]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def records(value: object, key: str, where: str) -> list[object]:
    """The list under KEY of a JSON object. Raises DataError where there is none."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object with images, annotations and categories")
    if not isinstance(found := value.get(key), list):
        raise DataError(f"{where}: {'no list' if key in value else 'nothing'} under '{key}'")
    return found


def whole(record: Record, key: str) -> int:
    """An id or a count of RECORD. ValueError says that it is none."""
    value = record.get(key)
    if type(value) is not int or not 0 <= value < MAX_ID:
        raise ValueError(f"{key} is {shown(value)}, not a whole number below 2^53" if key in record else f"no {key}")
    return value


def number(record: Record, key: str) -> float:
    """A finite number of RECORD. ValueError says that it is none."""
    value = record.get(key)
    if not _is_number(value):
        raise ValueError(f"{key} is {shown(value)}, not a number" if key in record else f"no {key}")
    return float(value)  # type: ignore[arg-type]


def corners(record: Record) -> tuple[float, float, float, float]:
    """x, y, width and height of RECORD. ValueError says what is wrong with them."""
    value = record.get("bbox")
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise ValueError(f"bbox is {shown(value)}, not four numbers" if "bbox" in record else "no bbox")
    x, y, width, height = map(float, value)
    if width < 0 or height < 0:
        raise ValueError(f"reversed corners: bbox {shown(value)} has a negative width or height")
    return x, y, width, height


def as_record(value: object) -> Record:
    """VALUE if it is a JSON object, else ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not an object")
    return value


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < MAX_ID  # type: ignore[arg-type] - NaN is not


def shown(value: object) -> str:
    """VALUE as a message shows it."""
    if isinstance(value, dict) or (isinstance(value, list) and (len(value) > 8 or any(map(_is_many, value)))):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) >= MAX_ID:
        return "a huge number"
    return safe_text(repr(value[:40] if isinstance(value, str) else value))[:60]


def _is_many(value: object) -> bool:
    return isinstance(value, list | dict | str) or (type(value) is int and abs(value) >= MAX_ID)


def categories_of(value: object, where: str) -> dict[int, str]:
    """Names of the categories by id, in the order of the ids. Raises DataError for a fault in any."""
    found, names = dict[int, str](), set[str]()
    for place, entry in enumerate(records(value, "categories", where)):
        try:
            record = as_record(entry)
            key, name = whole(record, "id"), record.get("name")
            if not isinstance(name, str) or not 0 < len(name) <= 200:
                raise ValueError(f"name is {shown(name)}, not a name")
            if key in found or name in names:
                raise ValueError(f"{'id' if key in found else 'name'} of another category")
        except ValueError as error:
            raise DataError(f"{where}: category number {place}: {safe_text(str(error))}") from error
        found[key] = name
        names.add(name)
    if not found:
        raise DataError(f"{where}: no categories")
    return dict(sorted(found.items()))
