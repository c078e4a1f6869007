"""What goes wrong, in one line each, and the exit code it ends with."""

import difflib
from collections.abc import Iterable


class ResnetsError(Exception):
    """A failed run: the message says what, where and what to do, in one line."""

    exit_code = 1


class UsageError(ResnetsError):
    """An unknown name, a wrong option or a combination that cannot be."""

    exit_code = 2


class DataError(ResnetsError):
    """Images, labels or folders that cannot be used as they are."""

    exit_code = 3


class WeightsError(ResnetsError):
    """Weights or a checkpoint that are damaged, hostile or of another network."""

    exit_code = 4


class EnvironmentProblem(ResnetsError):
    """The machine refuses: disk, memory, permission, a mismatched installation."""

    exit_code = 5


class NumericError(ResnetsError):
    """A number that is no number: the loss, a weight or a comparison."""

    exit_code = 6


class LockHeld(ResnetsError):
    """Another process works in the same run folder."""

    exit_code = 7


class Interrupted(ResnetsError):
    """A signal stopped the run after its state was saved; the exit code is 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def safe_text(text: str) -> str:
    """TEXT with everything that could drive a terminal or forge a line shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a NAME that is no KIND; it lists the nearest known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5) or known[:8]
    return UsageError(f"unknown {kind} '{safe_text(name)}'; nearest: {', '.join(near)}")
