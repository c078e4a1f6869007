"""Engines for inference: each a row, in one of the precisions that it really has."""

import copy
import importlib.util
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import files
from ..bundle import Bundle
from ..errors import EnvironmentProblem, UsageError, WeightsError, unknown
from . import export
from .compare import ENOUGH, Difference, Run, compare, noise, refuse
from .fold import Folded, fold
from .pictures import Pictures
from .runtimes import Contents, Session, needed, onnx_session, openvino_session

_CHUNK = 64  # images that are compared together


@dataclass(eq=False)
class Prepared:
    """A model in the forms that engines need, each made when first asked for; FOLDER keeps those that take seconds.

    pictures: what engines are compared on, and what int8 is calibrated on; None means random pictures, and no int8
    but one that FOLDER already has.
    """

    bundle: Bundle
    pictures: Pictures | None = None
    folder: Path | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an input."""
        seen = self.bundle.preprocessing
        return seen.channels, seen.size, seen.size

    @cached_property
    def module(self) -> nn.Module:
        """The network as PyTorch has it: the reference."""
        return self.bundle.model()

    @cached_property
    def folded(self) -> Folded:
        """The network with its BNs folded."""
        return fold(self.module)

    @cached_property
    def examples(self) -> NDArray[np.uint8]:
        """What engines are compared on, uint8 (N, size, size, channels)."""
        return self.pictures.views if self.pictures else noise(self.bundle.preprocessing)

    @cached_property
    def reference(self) -> NDArray[np.float32]:
        """The logits of the examples, (N, classes)."""
        return self.scores(eager(self.module, "fp32"), len(self.examples))

    def inputs(self, start: int, end: int) -> NDArray[np.float32]:
        """Examples as the network takes them, float32 (N, channels, size, size)."""
        return self.bundle.preprocessing.normalise(self.examples[start:end])

    def scores(self, run: Run, count: int) -> NDArray[np.float32]:
        """What RUN says to the first COUNT examples."""
        starts = range(0, count, _CHUNK)
        return np.concatenate([run(self.inputs(i, min(i + _CHUNK, count))) for i in starts])

    @cached_property
    def onnx(self) -> Contents:
        """The network as an ONNX file."""
        return export.as_onnx(self.module, self.shape)

    @cached_property
    def openvino(self) -> Contents:
        """The network as OpenVINO's files."""
        return self._kept("fp32") or self._keep("fp32", export.as_openvino(self.module, self.shape))

    @cached_property
    def int8(self) -> Contents:
        """The same in int8. Raises UsageError where there are no pictures to calibrate on."""
        if self.pictures is not None and len(self.pictures.calibration):
            seen = self.bundle.preprocessing
            return export.as_int8(self.openvino, seen.normalise(self.pictures.calibration))
        if kept := self._kept("int8"):
            return kept
        raise UsageError("int8 is calibrated on pictures; run: resnets benchmark MODEL --data DATA")

    @property
    def has_int8(self) -> bool:
        """Whether int8 can start: from files that are kept, or from pictures to calibrate on."""
        return bool(self.pictures is not None and len(self.pictures.calibration)) or self._kept("int8") is not None

    def accepted(self, engine: "Engine", difference: Difference) -> None:
        """Keep the int8 model for later if ENGINE is its, and enough pictures have shown it to be good."""
        if engine.precision == "int8" and difference.images >= ENOUGH:
            self._keep("int8", self.int8)

    def _kept(self, form: str) -> Contents | None:
        if self.folder:
            with suppress(WeightsError):
                return files.read_verified(self.folder / form)[1]
        return None

    def _keep(self, form: str, contents: Contents) -> Contents:
        if self.folder:
            with suppress(EnvironmentProblem):  # a full or closed cache costs time, no more
                files.write_folder(self.folder / form, contents)
        return contents


@dataclass(frozen=True)
class Engine:
    """One way to compute a network in one precision; `start` takes the model, the precision and a batch size.

    form: what of `Prepared` it computes from, where a folder keeps that between starts.
    """

    name: str
    precision: str
    start: Callable[[Prepared, str, int], Run]
    needs: tuple[str, ...] = ()
    extra: str = ""
    form: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.precision}"

    @property
    def missing(self) -> str:
        """The packages that are not installed, and the line that installs them; empty where nothing is missing."""
        gone = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f'{", ".join(gone)} not installed; run: pip install "resnets[{self.extra}]"' if gone else ""


@dataclass(frozen=True, eq=False)
class Started:
    """A running engine: seconds until its first answers, and how it differs from PyTorch's fp32 on the examples."""

    engine: Engine
    run: Run
    seconds: float
    difference: Difference
    scores: NDArray[np.float32]


class EngineModule(nn.Module):
    """A running engine in the place of a network: (N, C, H, W) → logits (N, classes)."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return torch.from_numpy(self.run(x.contiguous().numpy()))


def start(engine: Engine, prepared: Prepared, batch: int = 1, count: int | None = None) -> Started:
    """ENGINE running, for any number of images but best at BATCH, and compared on COUNT examples (None: all).

    Raises EnvironmentProblem where it is not installed, NumericError where it is beyond its tolerance.
    """
    for package in engine.needs:
        needed(package, engine.extra)
    if engine.form and prepared.folder:
        getattr(prepared, engine.form)  # made once for all starts to come
    began = time.perf_counter()
    run = engine.start(prepared, engine.precision, batch)
    run(prepared.inputs(0, batch))
    seconds = time.perf_counter() - began
    scores = prepared.scores(run, min(count or len(prepared.examples), len(prepared.examples)))
    difference = compare(prepared.reference[: len(scores)], scores)
    refuse(str(engine), engine.precision, difference)
    prepared.accepted(engine, difference)
    return Started(engine, run, seconds, difference, scores)


def eager(module: Callable[[Tensor], Tensor], precision: str) -> Run:
    """A module as it is; bf16 comes in and goes out as float32."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    @torch.inference_mode()
    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return module(torch.from_numpy(inputs).to(dtype)).float().numpy()

    return run


def in_precision(module: nn.Module, precision: str) -> nn.Module:
    """A copy of MODULE in channels_last, and in bf16 where PRECISION says so: all but the BNs' statistics."""
    module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if precision == "bf16":
        module.bfloat16()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.float()
    return module


def fixed(run: Run, batch: int) -> Run:
    """RUN, which takes BATCH inputs and no other number, for any number: the last ones are repeated to fill it up."""

    def whole(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = [inputs[i : i + batch] for i in range(0, len(inputs), batch)]
        full = [np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)), "edge") for part in parts]
        return np.concatenate([run(part) for part in full])[: len(inputs)]

    return whole


def _plain(prepared: Prepared, precision: str, batch: int) -> Run:
    return eager(prepared.module if precision == "fp32" else in_precision(prepared.module, precision), precision)


def _folded(prepared: Prepared, precision: str, batch: int) -> Run:
    return eager(in_precision(prepared.folded.module, precision), precision)


def _compiled(prepared: Prepared, precision: str, batch: int) -> Run:
    module = in_precision(prepared.folded.module, precision)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA on machines without a GPU
    run = eager(torch.compile(module, dynamic=False, options={"freezing": True}), precision)
    try:
        run(prepared.bundle.preprocessing.normalise(noise(prepared.bundle.preprocessing, batch)))
    except Exception as error:  # a compiler that is missing or too old says so in many ways
        raise EnvironmentProblem(f"torch.compile does not work here ({type(error).__name__}): it needs gcc") from error
    return fixed(run, batch)


def _form(session: Callable[..., Session], form: str, prepared: Prepared, precision: str, _: int) -> Run:
    return session(getattr(prepared, form), precision, torch.get_num_threads()).run


_ONNX = (partial(_form, onnx_session, "onnx"), ("onnx", "onnxscript", "onnxruntime"), "onnx")
_OPENVINO = (partial(_form, openvino_session, "openvino"), ("openvino",), "openvino", "openvino")
_INT8 = (partial(_form, openvino_session, "int8"), ("openvino", "nncf"), "openvino", "int8")
ENGINES = (
    Engine("torch", "fp32", _plain),
    Engine("torch", "bf16", _plain),
    Engine("torch-folded", "fp32", _folded),
    Engine("torch-folded", "bf16", _folded),
    Engine("torch-compiled", "fp32", _compiled),
    Engine("torch-compiled", "bf16", _compiled),
    Engine("onnxruntime", "fp32", *_ONNX),
    Engine("openvino", "fp32", *_OPENVINO),
    Engine("openvino", "bf16", *_OPENVINO),
    Engine("openvino", "int8", *_INT8),
)


def engine_called(text: str) -> Engine:
    """The engine that NAME or NAME:PRECISION means; without a precision fp32. Raises UsageError."""
    name, _, precision = text.partition(":")
    rows = {engine.precision: engine for engine in ENGINES if engine.name == name}
    if not rows:
        raise unknown("engine", name, {engine.name for engine in ENGINES})
    if (precision or "fp32") not in rows:
        raise UsageError(f"{name} does not compute in {precision[:20]!r}; it has {', '.join(rows)}")
    return rows[precision or "fp32"]
