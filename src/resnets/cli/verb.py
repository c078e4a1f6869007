"""What every verb shares: parsing a flat dataclass, and printing for people or for programs."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Self

import tyro
from rich.console import Console

from ..errors import safe_text


class Verb:
    """A flat frozen dataclass whose fields are options; `run` does it and answers the exit code."""

    called = ""  # its name, where that is not the class's

    @classmethod
    def parse(cls, arguments: Sequence[str], default: Any = None) -> Self:
        """The options from the command line; tyro prints the help, and ends with exit code 2 for a wrong one."""
        given = {} if default is None else {"default": default}
        name = f"resnets {cls.called or cls.__name__.lower()}"
        return tyro.cli(cls, prog=name, args=list(arguments), config=(tyro.conf.FlagCreatePairsOff,), **given)

    def run(self) -> int:
        """Do it; the exit code."""
        raise NotImplementedError


def print_json(value: Any) -> None:
    """One object on standard output."""
    print(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """VALUE with dataclasses as dictionaries."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def console(to_stderr: bool = False) -> Console:
    """Where a verb writes for people: no markup in what it is given, no colours off a terminal."""
    return Console(stderr=to_stderr, markup=False, highlight=False, soft_wrap=True)


def shown(value: Any) -> str:
    """VALUE as text that cannot drive a terminal."""
    return safe_text(str(value))
