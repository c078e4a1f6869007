"""The command: which verb, what went wrong, and the exit code."""

import importlib
import io
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import EnvironmentProblem, ResnetsError, safe_text, unknown

# verb → (file, class, what it does), grouped by what a person wants to do.
GROUPS: dict[str, dict[str, tuple[str, str, str]]] = {
    "Look": {
        "list": ("describe", "List", "names of networks, recipes, data sets, protocols, experiments"),
        "describe": (
            "describe",
            "Describe",
            "stages, parameters and multiply-adds of a network; a run's recipe",
        ),
        "doctor": ("doctor", "Doctor", "versions, devices, memory, extras, and whether they fit together"),
    },
    "Train": {
        "check": ("check", "Check", "what is wrong with a data set: bad files, copies, leaks, balance, shapes"),
        "train": (
            "train",
            "Train",
            "train a network on a data set or a folder of pictures, test it and keep it",
        ),
        "resume": ("train", "Resume", "go on with a run that was stopped or killed"),
        "analyze": (
            "analyze",
            "Analyze",
            "find a learning rate; responses, lesions, paths, gradients, cost of networks; shorten one",
        ),
    },
    "Detect": {
        "detect": ("detect", "Detect", "train, test and use detectors: boxes and masks of the objects on a picture"),
    },
    "Reproduce": {
        "reproduce": ("reproduce", "Reproduce", "a table or figure of the literature, published numbers beside ours"),
    },
    "Use": {
        "evaluate": ("use", "Evaluate", "test a model: errors, figures per class, confusion matrix"),
        "predict": ("predict", "Predict", "name what is on pictures, with probabilities"),
        "explain": ("explain", "Explain", "where on a picture a network sees a class"),
        "benchmark": ("benchmark", "Benchmark", "time every engine on this machine, accuracy beside speed"),
        "report": ("report", "Report", "a run or a test as one page, several as a comparison"),
    },
    "Ship": {
        "export": ("export", "Export", "a model for ONNX Runtime, OpenVINO or torch.export, verified on pictures"),
        "verify": ("export", "Verify", "whether an exported model answers as the model it was made from"),
        "serve": ("serve", "Serve", "a page to drop pictures on, and predictions over HTTP for programs"),
    },
}
VERBS = {verb: row for rows in GROUPS.values() for verb, row in rows.items()}


def usage() -> str:
    """What `resnets --help` prints."""
    lines = ["usage: resnets VERB [options]      resnets VERB --help for its options", ""]
    for group, rows in GROUPS.items():
        lines += [group, *(f"  {verb:<11}{about}" for verb, (_, _, about) in rows.items()), ""]
    lines += [
        "Begin",
        "  resnets train digits                       learns handwritten digits in half a minute, no data needed",
        "  resnets train photos/                      one subfolder of pictures per class",
        "  resnets predict runs/latest picture.jpg    names what is on it",
        "",
        "Options of every verb: --json prints one object for programs, --debug shows a traceback.",
        "Exit codes: 0 ok, 1 failed, 2 usage, 3 data, 4 weights, 5 environment, 6 numeric, 7 in use, 130/143 stopped.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files are bytes
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"resnets {__version__}")
        return 0
    try:
        return _verb(arguments[0], arguments[1:])
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _report(error)


def _verb(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    file, name, _ = VERBS[verb]
    command = getattr(importlib.import_module(f"resnets.cli.{file}"), name)
    return command.parse(arguments).run()


def _report(error: BaseException) -> int:
    """One line on standard error for what went wrong, and its exit code."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, KeyboardInterrupt):
        print("resnets: interrupted", file=sys.stderr)
        return 130
    if not isinstance(error, ResnetsError):
        error = _translated(error)
    print(f"resnets: {safe_text(str(error))}", file=sys.stderr)
    return error.exit_code


def _translated(error: BaseException) -> ResnetsError:
    text = str(error)
    if "torchvision::" in text:
        from .doctor import MISMATCH

        return EnvironmentProblem(MISMATCH)
    if isinstance(error, ModuleNotFoundError):
        return EnvironmentProblem(f"{error.name} is not installed; run: pip install resnets, then: resnets doctor")
    if isinstance(error, MemoryError) or "not enough memory" in text or "out of memory" in text:
        return EnvironmentProblem("out of memory; choose a smaller --batch-size or --size")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return EnvironmentProblem(f"{place}{error.strerror or text}")
    return ResnetsError(f"{type(error).__name__}: {text.splitlines()[0] if text else ''} (--debug shows where)")
