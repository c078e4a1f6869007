"""Whether an exported model answers as PyTorch does, on real pictures, at several batch sizes."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..bundle import Bundle
from ..errors import UsageError, WeightsError, safe_text
from .compare import ENOUGH, Difference, compare, refuse
from .described import SIDECAR, Description, in_onnx, parsed, read_exported
from .pictures import Pictures
from .predictor import LOGITS, SERVED, softmax
from .runtimes import Contents, Session

BATCHES = (1, 2, 7)
_FIRST = 14  # pictures in batches smaller than the largest one
_AT_ONCE = 64


@dataclass(frozen=True)
class Verified:
    """How an exported model differs from PyTorch's fp32.

    pictures: what it was compared on. batches: the difference at each batch size. mistakes: PyTorch's and its own,
    where the labels are known.
    """

    form: str
    precision: str
    input: str
    pictures: str
    batches: dict[int, Difference]
    mistakes: tuple[int, int] | None = None

    @property
    def whole(self) -> Difference:
        """The largest difference at any batch size, and the agreement on all pictures."""
        last = self.batches[BATCHES[-1]]
        return replace(last, largest=max(each.largest for each in self.batches.values()))

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets export --json` and `verify --json` document."""
        batches = {str(size): asdict(difference) for size, difference in self.batches.items()}
        facts = {**asdict(self.whole), "batches": batches}
        mistakes = {"pytorch": self.mistakes[0], "exported": self.mistakes[1]} if self.mistakes else None
        return {"format": self.form, "precision": self.precision, "input": self.input, **facts} | {
            "pictures": self.pictures,
            "mistakes": mistakes,
        }


def pt2_session(contents: Mapping[str, bytes], precision: str = "fp32", threads: int = 0) -> Session:
    """A file of torch.export in PyTorch; it is never served, and only files of one's own are given to `verify`."""
    module = _pt2(contents)[0].module()

    @torch.inference_mode()
    def fetch(inputs: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[np.float32]]:
        return [module(torch.from_numpy(inputs)).numpy()]

    return Session((LOGITS,), fetch)


def _pt2(contents: Mapping[str, bytes]) -> tuple[torch.export.ExportedProgram, str]:
    """A program and what it says of itself."""
    (data,), extra = contents.values(), {SIDECAR: ""}
    try:
        return torch.export.load(io.BytesIO(data), extra_files=extra), extra[SIDECAR]
    except Exception as error:  # torch raises whatever the damage leads to
        raise WeightsError("the file is no export of PyTorch's, or is damaged") from error


SESSIONS: dict[str, Callable[..., Session]] = {form: start for form, (_, start) in SERVED.items()}
SESSIONS["pt2"] = pt2_session


def read(path: Path) -> tuple[str, Contents]:
    """The form and the files of the export at PATH. Raises WeightsError for what is damaged or is none."""
    if path.suffix == ".pt2":
        try:
            return "pt2", {path.name: path.read_bytes()}
        except OSError as error:
            raise WeightsError(f"{safe_text(str(path))}: {error.strerror}") from error
    form, _, contents = read_exported(path)
    return form, contents


def described_in(form: str, contents: Contents) -> Description:
    """What the files of an export say of themselves. Raises WeightsError."""
    if form == "onnx":
        return in_onnx(contents, "the ONNX file")
    text = contents[SIDECAR] if form == "openvino" else _pt2(contents)[1]
    return parsed(text, SIDECAR)


@dataclass(frozen=True, eq=False)
class _Compared:
    """What goes into an exported model for pictures uint8 (N, H, W, channels), and what PyTorch says of the same.

    scale: what a difference is a fraction of; None for the largest magnitude of the reference.
    """

    given: Callable[[NDArray[np.uint8]], NDArray[Any]]
    expected: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    scale: float | None = None


def verified(bundle: Bundle, form: str, contents: Contents, pictures: Pictures) -> Verified:
    """Compare an exported model with BUNDLE's network on PICTURES.

    Raises NumericError with the numbers where it is beyond its tolerance at any batch size, WeightsError where it is
    an export of another model.
    """
    description = described_in(form, contents)
    theirs, ours = ((d.network, d.classes, d.preprocessing, d.temperature) for d in (description, bundle))
    names = ("network", "classes", "preprocessing", "temperature")
    if others := [name for name, a, b in zip(names, theirs, ours, strict=True) if a != b]:
        raise WeightsError(f"the exported model is of another model than MODEL: its {', '.join(others)} differ")
    if description.precision == "int8" and len(pictures.views) < ENOUGH:
        told = f"{pictures.name} has {len(pictures.views)}"
        raise UsageError(f"int8 is compared on at least {ENOUGH} pictures beside those it is calibrated on; {told}")
    pictures = _enough(pictures)
    session, pixels = SESSIONS[form](contents, description.precision), description.input == "pixels"
    how = _whole(bundle) if pixels else _network(bundle)
    expected = np.concatenate([how.expected(part) for part in _parts(pictures.views, _AT_ONCE)])
    kind = "pixels" if pixels and description.precision == "fp32" else description.precision
    batches, answers = dict[int, Difference](), expected
    for size in BATCHES:
        some = pictures.views if size == BATCHES[-1] else pictures.views[:_FIRST]
        answers = np.concatenate([session.run(how.given(part)) for part in _parts(some, size)])
        batches[size] = compare(expected[: len(answers)], answers, how.scale)
        refuse(f"the {form} export at batch {size}", kind, batches[size])
    for one in pictures.originals if pixels else ():
        alone = compare(how.expected(one[None]), session.run(how.given(one[None])), how.scale)
        refuse(f"the {form} export on a picture of {one.shape[1]} x {one.shape[0]}", kind, alone)
        batches[1] = replace(batches[1], largest=max(batches[1].largest, alone.largest))
    mistakes = None
    if pictures.labels is not None and not pixels:
        theirs, own = (int((scores.argmax(1) != pictures.labels).sum()) for scores in (expected, answers))
        mistakes = theirs, own
    return Verified(form, description.precision, description.input, pictures.name, batches, mistakes)


def _enough(pictures: Pictures) -> Pictures:
    """PICTURES, again and again where there are fewer than fill the largest batch."""
    rows = np.arange(max(len(pictures.views), BATCHES[-1])) % len(pictures.views)
    labels = None if pictures.labels is None else pictures.labels[rows]
    return replace(pictures, views=pictures.views[rows], labels=labels)


def _parts(views: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    return (views[i : i + size] for i in range(0, len(views), size))


def _network(bundle: Bundle) -> _Compared:
    """Tensors in, logits out."""
    model, normalise = bundle.model(), bundle.preprocessing.normalise

    @torch.inference_mode()
    def expected(views: NDArray[np.uint8]) -> NDArray[np.float32]:
        return model(torch.from_numpy(normalise(views))).numpy()

    return _Compared(normalise, expected)


def _whole(bundle: Bundle) -> _Compared:
    """Pixels of any size in, probabilities out."""
    network, seen = _network(bundle), bundle.preprocessing

    def given(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.repeat(pictures, 3, axis=3) if seen.channels == 1 and pictures.shape[3] == 1 else pictures

    def expected(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        colour = seen.channels in (1, 3)
        views = [seen.view(Image.fromarray(one) if colour else one) for one in given(pictures)]
        return softmax(network.expected(np.stack(views)) / bundle.temperature)

    return _Compared(given, expected, 1.0)
