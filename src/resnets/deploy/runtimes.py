"""ONNX Runtime and OpenVINO on models in memory. No torch: an exported model runs without it."""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EnvironmentProblem, WeightsError, safe_text

Contents = dict[str, bytes]
ONNX, XML, BIN = "model.onnx", "model.xml", "model.bin"  # names in contents


@dataclass(frozen=True, eq=False)
class Session:
    """A model that runs: the names of its outputs, and what gives those asked for by name.

    fetch: inputs (N, …) and names → an array each, N of any size.
    """

    outputs: tuple[str, ...]
    fetch: Callable[[NDArray[Any], Sequence[str]], list[NDArray[np.float32]]]

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """The first output: logits (N, classes), or probabilities where preprocessing is inside."""
        return self.fetch(inputs, self.outputs[:1])[0]


def needed(package: str, extra: str) -> Any:
    """An optional package. Raises EnvironmentProblem, which names the EXTRA, where it does not import."""
    # All three would report their use, OpenVINO and ONNX Runtime as soon as they are imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EnvironmentProblem(f'{package} is not installed; run: pip install "resnets[{extra}]"') from error


def onnx_session(contents: Mapping[str, bytes], precision: str = "fp32", threads: int = 0) -> Session:
    """An ONNX file in ONNX Runtime on so many THREADS, 0 for all cores. Raises WeightsError for what is none."""
    runtime = needed("onnxruntime", "onnx")
    options, how = runtime.SessionOptions(), runtime.RunOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    how.only_execute_path_to_fetches = True
    try:
        session = runtime.InferenceSession(contents[ONNX], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has an exception for each of its reasons
        raise WeightsError(f"ONNX Runtime does not take the model: {_line(error)}") from error
    (name,) = (each.name for each in session.get_inputs())
    return Session(
        tuple(output.name for output in session.get_outputs()),
        lambda inputs, names: session.run(list(names), {name: inputs}, how),
    )


def openvino_session(contents: Mapping[str, bytes], precision: str = "fp32", threads: int = 0) -> Session:
    """An OpenVINO model on the CPU, computing in PRECISION: left alone it takes bf16 where the processor has it."""
    core = needed("openvino", "openvino").Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EnvironmentProblem("this processor has no bf16: OpenVINO would compute in fp32")
    hint = "bf16" if precision == "bf16" else "f32"  # of what is not int8
    how = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    try:
        compiled = core.compile_model(unpacked(contents), "CPU", how)
    except Exception as error:
        raise WeightsError(f"OpenVINO does not take the model: {_line(error)}") from error
    names = tuple(next(iter(sorted(output.get_names())), str(i)) for i, output in enumerate(compiled.outputs))

    def fetch(inputs: NDArray[Any], wanted: Sequence[str]) -> list[NDArray[np.float32]]:
        found = compiled(inputs)
        return [found[names.index(name)] for name in wanted]

    return Session(names, fetch)


def packed(model: Any) -> Contents:
    """An OpenVINO model as its two files."""
    openvino = needed("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, XML), compress_to_fp16=False)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def unpacked(contents: Mapping[str, bytes]) -> Any:
    """Its two files as an OpenVINO model."""
    return needed("openvino", "openvino").Core().read_model(contents[XML], contents[BIN])


def _line(error: Exception) -> str:
    return safe_text(" ".join(str(error).split()))[:160]
