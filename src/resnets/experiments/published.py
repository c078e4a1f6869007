"""Published numbers, each with where it stands and how sure it is."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _all() -> dict[str, dict[str, dict[str, Any]]]:
    found = tomllib.loads(Path(__file__).with_name("published.toml").read_text("utf-8"))
    return {kind: {entry["id"]: entry for entry in found[kind]} for kind in ("source", "table", "fact")}


def table(name: str) -> dict[str, Any]:
    """The published table called NAME, such as "he2015.T6": `where`, `confidence` and `rows`."""
    return _all()["table"][name]


def fact(name: str) -> dict[str, Any]:
    """A single published statement."""
    return _all()["fact"][name]


def origin(name: str) -> str:
    """Where the table or fact called NAME stands, for a person; what is only recalled, wholly or in part, says so."""
    entry = _all()["table"].get(name) or fact(name)
    source = _all()["source"].get(entry.get("paper") or entry.get("source", ""), {})
    place = source.get("arxiv") or source.get("github") or entry.get("source", "")
    what = entry.get("where") or entry.get("what", "")
    told = ", ".join(filter(None, (source.get("what"), place and f"({place})", what)))
    if entry["confidence"] == "recalled":
        return f"{told}; recalled, not checked"
    note = entry.get("note", "")
    return f"{told}; {note}" if "recalled" in note else told


def lookup(name: str, key: str, value: str, figure: str = "error") -> dict[str, float]:
    """FIGURE of the rows called VALUE in column KEY of a table, by the id of its source."""
    entry = table(name)
    found = [row[figure] for row in entry["rows"] if row[key] == value and figure in row]
    return {entry["source"]: found[0]} if found else {}
