"""The process that decodes pictures of strangers: `python -m resnets.serve.decoder`, asked on its standard input.

It may crash, hang or run out of memory: the server ends it, starts another, and refuses that one picture. A message is
two lengths, then a JSON object of the first length, then bytes of the second. No torch, no pickle.
"""

import io
import json
import os
import re
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import ImageError, Limits, decode, decode_any
from ..data.preprocessing import Preprocessing
from .refusals import BYTES, REASONS

LENGTHS = struct.Struct(">IQ")  # of the JSON object and of the bytes


def message(facts: dict[str, Any], data: bytes = b"") -> bytes:
    """FACTS and DATA as they go through the pipe."""
    text = json.dumps(facts).encode()
    return LENGTHS.pack(len(text), len(data)) + text + data


def decoded(seen: Preprocessing, data: bytes) -> NDArray[np.uint8]:
    """What the network sees of an encoded picture, uint8 (size, size, channels). Raises ImageError.

    Arrays of numbers are read for networks whose channels are no colours only.
    """
    limits = Limits(max_bytes=BYTES, enough=seen.enough)
    return seen.view((decode if seen.channels in (1, 3) else decode_any)(data, limits))


def as_png(view: NDArray[np.uint8]) -> bytes:
    """A view (size, size, channels) for a person; of channels that are no colours the first, or the first three."""
    pixels = view[..., :3] if view.shape[-1] >= 3 else view[..., 0]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", compress_level=3)
    return out.getvalue()


def sentence(error: Exception) -> str:
    """What is said of a picture that cannot be read; what a decoder found damaged in it stays here."""
    if isinstance(error, ImageError):
        return re.sub(r"^(damaged [\w ]+):.*", r"\1", str(error))
    return "not enough memory" if isinstance(error, MemoryError) else REASONS["picture"].sentence


def _answer(models: dict[str, Preprocessing], facts: dict[str, Any], data: bytes) -> bytes:
    try:
        view = decoded(models[facts["model"]], data)
        png = as_png(view) if facts["png"] else b""
        return message({"view": view.nbytes}, view.tobytes() + png)
    except Exception as error:  # whatever the picture leads to
        return message({"error": sentence(error)})


def _read(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    head = source.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    text, data = LENGTHS.unpack(head)
    return json.loads(source.read(text)), source.read(data)


def main() -> None:
    """Say that it is ready, then answer one message after the other until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the server, which still needs its pictures
        signal.signal(number, signal.SIG_IGN)
    answers, nowhere = os.fdopen(os.dup(1), "wb"), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    first = _read(sys.stdin.buffer)
    if first is None:
        return
    settings, _ = first
    models = {name: Preprocessing(**fields) for name, fields in settings["models"].items()}
    resource.setrlimit(resource.RLIMIT_DATA, (settings["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(message({"ready": True}))
    answers.flush()
    os.dup2(nowhere, 2)  # what libraries say of broken pictures
    while asked := _read(sys.stdin.buffer):
        signal.setitimer(signal.ITIMER_REAL, settings["seconds"] + 1)  # should the server not be there to end it
        answers.write(_answer(models, *asked))
        answers.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
