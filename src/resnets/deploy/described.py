"""What an exported or served model says of itself, and where its files keep that. No torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import files
from ..data.preprocessing import Preprocessing
from ..errors import UsageError, WeightsError, safe_text
from ..recipe import from_json
from ..spec import AnyNetwork
from .runtimes import ONNX, XML, Contents, needed

FORMAT = 1
SIDECAR = "resnets.json"  # beside OpenVINO's files, and inside a .pt2
_KEY = "resnets"  # of ONNX's metadata
_LARGEST = 2**31 - 1  # bytes of an ONNX file


@dataclass(frozen=True)
class StageFacts:
    """A stage of a network: the (channels, height, width) that it puts out, its parameters and multiply-adds."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Description:
    """Everything that an answer needs beside the weights, and what a person wants to know.

    temperature: what logits are divided by before the softmax. reject_below: an answer of less probability is no
    answer ("not sure"). facts: what the run said of the model. input: "tensor" takes what `preprocessing` makes,
    float32 (N, channels, size, size), and gives logits; "pixels" takes uint8 (N, H, W, channels) of any size and
    gives probabilities.
    """

    format: int
    version: str
    network: AnyNetwork
    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = 1.0
    reject_below: float = 0.0
    precision: str = "fp32"
    input: Literal["tensor", "pixels"] = "tensor"
    facts: dict[str, Any] | None = None
    stages: tuple[StageFacts, ...] = ()

    def text(self) -> str:
        """This as JSON."""
        return json.dumps(asdict(self), allow_nan=False)


def parsed(text: str | bytes, where: str) -> Description:
    """The description that TEXT is. Raises WeightsError."""
    try:
        data = json.loads(text)
        form, version = data["format"], data["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{where} was not exported by resnets: it does not describe itself") from error
    if isinstance(form, int) and form > FORMAT:
        raise WeightsError(f"{where} was made by resnets {safe_text(str(version))[:20]}, which is newer than this")
    try:
        return from_json(Description, data, where)
    except UsageError as error:
        raise WeightsError(str(error)) from error


def metadata(description: Description) -> dict[str, str]:
    """What stands in an ONNX file's metadata: our description, and what others look for."""
    seen = description.preprocessing
    return {
        _KEY: description.text(),
        "names": json.dumps(dict(enumerate(description.classes))),
        "mean": json.dumps(seen.mean),
        "std": json.dumps(seen.std),
        "size": json.dumps([seen.size, seen.size]),
        "input": description.input,
        "version": description.version,
    }


def in_onnx(contents: Mapping[str, bytes], where: str) -> Description:
    """The description in an ONNX file. Raises WeightsError for one that is damaged, or has weights in other files."""
    onnx = needed("onnx", "onnx")
    try:
        model = onnx.load_model_from_string(contents[ONNX])
    except Exception as error:  # protobuf has an exception of its own
        raise WeightsError(f"{where} is no ONNX file") from error
    if any(t.external_data or t.data_location == onnx.TensorProto.EXTERNAL for t in _inside(model, onnx.TensorProto)):
        raise WeightsError(f"{where} keeps weights in other files; only files that are whole in themselves are read")
    found = {entry.key: entry.value for entry in model.metadata_props}
    return parsed(found.get(_KEY, ""), where)


def _inside(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Every message of a KIND inside a protobuf message, however deep."""
    if isinstance(message, kind):
        yield message
        return
    for _, value in message.ListFields():
        for each in value if isinstance(value, Sequence) or hasattr(value, "add") else (value,):
            if hasattr(each, "ListFields"):
                yield from _inside(each, kind)


def read_exported(path: Path) -> tuple[str, Description, Contents]:
    """The form of the exported model at PATH ("onnx" or "openvino"), its description and its files.

    Raises WeightsError for what is damaged or is none.
    """
    where = safe_text(str(path))
    if path.is_dir():
        _, contents = files.read_verified(path)
        if not {XML, SIDECAR} <= contents.keys():
            raise WeightsError(f"{where} holds no exported model: {XML} or {SIDECAR} is missing")
        return "openvino", parsed(contents[SIDECAR], f"{where}/{SIDECAR}"), contents
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{where} has more than 2 GB; an ONNX file cannot")
        contents = {ONNX: path.read_bytes()}
    except OSError as error:
        raise WeightsError(f"{where}: {error.strerror}") from error
    return "onnx", in_onnx(contents, where), contents


def is_exported(path: Path) -> bool:
    """Whether PATH is a file, or a folder with OpenVINO's files: no run and no model folder."""
    return path.is_file() or ((path / XML).is_file() and (path / SIDECAR).is_file())
