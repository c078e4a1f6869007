"""A model in the forms of other runtimes: ONNX, OpenVINO and PyTorch's own .pt2, verified before they are kept."""

import contextlib
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import __version__, files
from ..analysis.complexity import by_stage
from ..bundle import Bundle
from ..errors import UsageError, unknown
from ..families import name_of
from ..models import ResidualNetwork
from . import preprocessing_graph
from .described import FORMAT, SIDECAR, Description, StageFacts, is_exported, metadata
from .pictures import Pictures
from .predictor import CLASSIFIER, FEATURES, LOGITS
from .runtimes import ONNX, Contents, needed, packed, unpacked
from .verify import Verified, verified

PT2 = "model.pt2"
_OPSET = 18
_SUBSET = 300  # images that decide the ranges of int8


def description_of(
    bundle: Bundle, precision: str = "fp32", form: Literal["tensor", "pixels"] = "tensor"
) -> Description:
    """What an export of BUNDLE says of itself."""
    stages = tuple(
        StageFacts(name, output, counts.parameters, counts.multiply_adds)
        for name, output, counts in by_stage(bundle.network)
    )
    return Description(
        FORMAT, __version__, bundle.network, name_of(bundle.network), bundle.classes, bundle.preprocessing,
        bundle.temperature, bundle.reject_below, precision, form, bundle.facts, stages,
    )  # fmt: skip


class Explained(nn.Module):
    """A residual network that also puts out what its class activation maps are made of (arXiv:1512.04150).

    (N, C, H, W) → logits (N, classes), features (N, channels, h, w), classifier (classes, channels).
    """

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits first."""
        features = self.network.forward_features(images)
        return self.network.forward_head(features), features, self.network.fc.weight.clone()


def as_onnx(model: nn.Module, shape: tuple[int, ...], outputs: Sequence[str] = (LOGITS,)) -> Contents:
    """MODEL as one self-contained ONNX file: `images` (N, *SHAPE) → OUTPUTS, first `logits` (N, classes)."""
    for package in ("onnx", "onnxscript"):
        needed(package, "onnx")
    _silent("onnx_ir")  # it tells of every output that is a constant
    names: dict[str, Any] = {"input_names": ["images"], "output_names": list(outputs), "opset_version": _OPSET}
    program = torch.onnx.export(_program(model, shape), (), dynamo=True, verbose=False, **names)
    assert program is not None
    return {ONNX: program.model_proto.SerializeToString()}


def as_openvino(model: nn.Module, shape: tuple[int, ...], outputs: Sequence[str] = (LOGITS,)) -> Contents:
    """MODEL as OpenVINO's two files, fp32: `images` (N, *SHAPE) → OUTPUTS, first `logits` (N, classes)."""
    openvino = needed("openvino", "openvino")
    converted = openvino.convert_model(_program(model, shape))
    converted.reshape([-1, *shape])
    for output, name in zip(converted.outputs, outputs, strict=True):
        output.get_tensor().set_names({name})
    return packed(converted)


def as_int8(contents: Mapping[str, bytes], inputs: NDArray[np.float32]) -> Contents:
    """An OpenVINO or ONNX model quantised after training: the ranges are those on INPUTS (N, C, H, W), about 300."""
    _silent("torch.utils.cpp_extension", "nncf")  # the first misses CUDA on machines without a GPU
    nncf = needed("nncf", "openvino")
    rows: list[Any] = [inputs[i : i + 1] for i in range(min(len(inputs), _SUBSET))]
    onnx = needed("onnx", "onnx") if ONNX in contents else None
    model = onnx.load_model_from_string(contents[ONNX]) if onnx else unpacked(contents)
    data = nncf.Dataset([{"images": row} for row in rows] if onnx else rows)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        quantised = nncf.quantize(model, data, subset_size=len(rows))
    return {ONNX: quantised.SerializeToString()} if onnx else packed(quantised)


def _silent(*loggers: str) -> None:
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)


def as_pt2(model: nn.Module, shape: tuple[int, ...], description: Description) -> Contents:
    """MODEL as a file of torch.export: (N, *SHAPE) → logits (N, classes); the description is an extra file inside."""
    out = io.BytesIO()
    torch.export.save(_program(model, shape), out, extra_files={SIDECAR: description.text()})
    return {PT2: out.getvalue()}


def _program(model: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch")}
    return torch.export.export(model, (torch.zeros(2, *shape),), dynamic_shapes=(batch,))


@dataclass(frozen=True)
class Wanted:
    """What to export: the form, its precision, and what goes in; see `Description.input`."""

    form: str = "onnx"
    precision: str = "fp32"
    input: Literal["tensor", "pixels"] = "tensor"


@dataclass(frozen=True)
class Form:
    """A form: the precisions and inputs it has, the ending of its file ("" for a folder), and what makes it."""

    precisions: tuple[str, ...]
    inputs: tuple[str, ...]
    ending: str
    make: Callable[[Bundle, Description, Pictures], Contents]


def _onnx(bundle: Bundle, description: Description, pictures: Pictures) -> Contents:
    onnx = needed("onnx", "onnx")
    contents = as_onnx(*_explained(bundle))
    if description.precision == "int8":
        contents = as_int8(contents, _calibration(description, pictures))
    model = onnx.load_model_from_string(contents[ONNX])
    if description.input == "pixels":
        model = preprocessing_graph.inside(model, description)
    onnx.helper.set_model_props(model, metadata(description))
    model.producer_name, model.producer_version = "resnets", __version__
    onnx.checker.check_model(model, full_check=True)
    return {ONNX: model.SerializeToString()}


def _openvino(bundle: Bundle, description: Description, pictures: Pictures) -> Contents:
    contents = as_openvino(*_explained(bundle))
    if description.precision == "int8":
        contents = as_int8(contents, _calibration(description, pictures))
    return {**contents, SIDECAR: description.text().encode()}


def _pt2(bundle: Bundle, description: Description, pictures: Pictures) -> Contents:
    return as_pt2(bundle.model(), _shape(bundle), description)


FORMS = {
    "onnx": Form(("fp32", "int8"), ("tensor", "pixels"), ".onnx", _onnx),
    "openvino": Form(("fp32", "bf16", "int8"), ("tensor",), "", _openvino),
    "pt2": Form(("fp32",), ("tensor",), ".pt2", _pt2),
}


def _shape(bundle: Bundle) -> tuple[int, int, int]:
    seen = bundle.preprocessing
    return seen.channels, seen.size, seen.size


def _explained(bundle: Bundle) -> tuple[nn.Module, tuple[int, ...], tuple[str, ...]]:
    """The module to export, the shape of an input, and the names of the outputs; a VGG has no maps."""
    model = bundle.model()
    if isinstance(model, ResidualNetwork):
        return Explained(model).eval(), _shape(bundle), (LOGITS, FEATURES, CLASSIFIER)
    return model, _shape(bundle), (LOGITS,)


def _calibration(description: Description, pictures: Pictures) -> NDArray[np.float32]:
    if not len(pictures.calibration):
        raise UsageError("int8 is calibrated on pictures like those it will see; give --data DATA")
    return description.preprocessing.normalise(pictures.calibration)


def checked(wanted: Wanted, place: Path) -> Form:
    """The form that is WANTED. Raises UsageError, which names what exists, for what does not, and for a wrong PLACE."""
    if wanted.form not in FORMS:
        raise unknown("format", wanted.form, FORMS)
    form = FORMS[wanted.form]
    for what, given, known in (("precision", wanted.precision, form.precisions), ("input", wanted.input, form.inputs)):
        if given not in known:
            raise UsageError(f"{wanted.form} has no {what} {given[:20]!r}; it has {', '.join(known)}")
    if form.ending and place.suffix != form.ending:
        raise UsageError(f"{place.name} is no name of a {wanted.form} file; choose one that ends in {form.ending}")
    if not form.ending and place.is_file():
        raise UsageError(f"{place.name} is a file; {wanted.form} needs the name of a folder")
    if place.is_symlink():
        raise UsageError(f"{place.name} is a link; choose a name of its own")
    if place.is_dir() and any(place.iterdir()) and not is_exported(place):
        raise UsageError(f"{place.name} is a folder with other things in it; choose a new name")
    return form


def export(bundle: Bundle, wanted: Wanted, place: Path, pictures: Pictures) -> Verified:
    """Write BUNDLE in the form WANTED as PLACE, a file or a folder, after it was verified on PICTURES.

    Raises NumericError with the numbers where its answers differ from PyTorch's; what was at PLACE stays then.
    """
    form = checked(wanted, place)
    contents = form.make(bundle, description_of(bundle, wanted.precision, wanted.input), pictures)
    found = verified(bundle, wanted.form, contents, pictures)
    if form.ending:
        (data,) = contents.values()
        files.write_file(place, data)
    else:
        files.write_folder(place, contents, {})
    return found
