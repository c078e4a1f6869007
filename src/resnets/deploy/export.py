"""A network in the forms of other runtimes: ONNX and OpenVINO, fp32, any batch size, compared before they are kept."""

import contextlib
import importlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import files
from ..bundle import Bundle
from ..errors import EnvironmentProblem, UsageError, unknown
from .compare import Difference, Run, compare, noise, refuse

Contents = dict[str, bytes]
_OPSET = 18
_SUBSET = 300  # images that decide the ranges of int8


def needed(package: str, extra: str) -> Any:
    """An optional package. Raises EnvironmentProblem, which names the EXTRA, where it does not import."""
    # All three would report their use, OpenVINO and ONNX Runtime as soon as they are imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EnvironmentProblem(f'{package} is not installed; run: pip install "resnets[{extra}]"') from error


def as_onnx(model: nn.Module, shape: tuple[int, ...]) -> Contents:
    """MODEL as one self-contained ONNX file: `images` (N, *SHAPE) → `logits` (N, classes)."""
    for package in ("onnx", "onnxscript"):
        needed(package, "onnx")
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"], "opset_version": _OPSET}
    program = torch.onnx.export(_program(model, shape), (), dynamo=True, verbose=False, **names)
    assert program is not None
    return {"model.onnx": program.model_proto.SerializeToString()}


def as_openvino(model: nn.Module, shape: tuple[int, ...]) -> Contents:
    """MODEL as OpenVINO's two files, fp32: `images` (N, *SHAPE) → `logits` (N, classes)."""
    openvino = needed("openvino", "openvino")
    converted = openvino.convert_model(_program(model, shape))
    converted.reshape([-1, *shape])
    return _packed(converted)


def as_int8(contents: Mapping[str, bytes], inputs: NDArray[np.float32]) -> Contents:
    """An OpenVINO model quantised after training: the ranges are those on INPUTS (N, C, H, W), about 300 of them."""
    nncf = needed("nncf", "openvino")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    rows = [inputs[i : i + 1] for i in range(min(len(inputs), _SUBSET))]
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        quantised = nncf.quantize(_unpacked(contents), nncf.Dataset(rows), subset_size=len(rows))
    return _packed(quantised)


def _program(model: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch")}
    return torch.export.export(model, (torch.zeros(2, *shape),), dynamic_shapes=(batch,))


def _packed(model: Any) -> Contents:
    openvino = needed("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, "model.xml"), compress_to_fp16=False)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _unpacked(contents: Mapping[str, bytes]) -> Any:
    core = needed("openvino", "openvino").Core()
    return core.read_model(contents["model.xml"], contents["model.bin"])


def run_onnx(contents: Mapping[str, bytes], precision: str = "fp32") -> Run:
    """An ONNX file in ONNX Runtime, with as many threads as PyTorch has."""
    runtime = needed("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(contents["model.onnx"], options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {"images": inputs})[0]


def run_openvino(contents: Mapping[str, bytes], precision: str = "fp32") -> Run:
    """An OpenVINO model on the CPU, computing in PRECISION: left alone it takes bf16 where the processor has it."""
    core = needed("openvino", "openvino").Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EnvironmentProblem("this processor has no bf16: OpenVINO would compute in fp32")
    hint = "bf16" if precision == "bf16" else "f32"  # of what is not int8
    how = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(_unpacked(contents), "CPU", how)
    return lambda inputs: compiled(inputs)[0]


@dataclass(frozen=True)
class Form:
    """A form of a model in files, and what runs it."""

    make: Callable[[nn.Module, tuple[int, ...]], Contents]
    run: Callable[[Contents], Run]


FORMS = {"onnx": Form(as_onnx, run_onnx), "openvino": Form(as_openvino, run_openvino)}


def export(bundle: Bundle, form: str, place: Path) -> Difference:
    """Write the network of BUNDLE as PLACE: one file for "onnx", a folder for "openvino"; how it differs from PyTorch.

    It is run on 16 inputs first, in batches of 1, 2 and 13; beyond 1e-4 it is refused with NumericError, and what was
    at PLACE stays.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    if form == "onnx" and place.suffix != ".onnx":
        raise UsageError(f"{place.name} is no name of an ONNX file; choose one that ends in .onnx")
    model, seen = bundle.model(), bundle.preprocessing
    contents = FORMS[form].make(model, (seen.channels, seen.size, seen.size))
    run, inputs = FORMS[form].run(contents), seen.normalise(noise(seen))
    with torch.inference_mode():
        reference = model(torch.from_numpy(inputs)).numpy()
    difference = compare(reference, np.concatenate([run(part) for part in np.split(inputs, (1, 3))]))
    refuse(place.name, "fp32", difference)
    if form == "onnx":
        files.write_file(place, contents["model.onnx"])
    else:
        files.write_folder(place, contents, {})
    return difference
