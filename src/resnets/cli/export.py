"""`export` and `verify`: a model in the forms of other runtimes, and whether they answer as it does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..errors import UsageError
from .source import ModelSource
from .verb import console, print_json, shown

_PICTURES = 100


@dataclass(frozen=True)
class Export(ModelSource):
    """Write a model for other runtimes: ONNX, OpenVINO, PyTorch's .pt2; verified on pictures before it is kept.

    examples: resnets export runs/latest model.onnx; resnets export runs/latest model.onnx --input pixels; resnets
    export runs/latest model/ --format openvino --precision int8 --data photos/; resnets export model.onnx --network
    cifar_resnet20 --weights resnet20-12fca82f.th --data cifar10
    """

    paths: Positional[
        Annotated[
            tuple[Path, ...], arg(help="a run or model folder, and the file or folder to write", metavar="MODEL OUT")
        ]
    ] = ()
    format: Annotated[str, arg(help="onnx, openvino or pt2")] = "onnx"
    precision: Annotated[str, arg(help="fp32; onnx and openvino int8 too, openvino bf16")] = "fp32"
    input: Annotated[
        str,
        arg(help="tensor: what preprocessing makes → logits; pixels (onnx): uint8 RGB of any size → probabilities"),
    ] = "tensor"
    data: Annotated[str, arg(help="pictures to verify on and to calibrate int8; default: the run's own data")] = ""
    images: Annotated[int, arg(help="how many of them, 0 for all")] = _PICTURES
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Make, verify, keep and tell."""
        from ..deploy import export

        model, (out,) = self.divided(self.paths, "the file or folder to write")
        wanted = export.Wanted(self.format, self.precision, self.input)  # type: ignore[arg-type]
        export.checked(wanted, out)
        bundle, pictures = _model(self, model)
        found = export.export(bundle, wanted, out, pictures)
        if self.json:
            print_json({"out": str(out), **found.as_dict()})
        else:
            _print(found)
            console().print(f"written  {shown(out)}")
        return 0


@dataclass(frozen=True)
class Verify(ModelSource):
    """Compare an exported model with the model it was made from: outputs, answers and mistakes, at batches 1, 2 and 7.

    examples: resnets verify runs/latest model.onnx --data photos/; resnets verify model.onnx --network cifar_resnet20
    --weights resnet20-12fca82f.th --data cifar10 --images 0
    """

    paths: Positional[
        Annotated[
            tuple[Path, ...],
            arg(help="a run or model folder, and an exported file or folder", metavar="MODEL EXPORTED"),
        ]
    ] = ()
    data: Annotated[str, arg(help="pictures to compare on; default: the run's own data")] = ""
    images: Annotated[int, arg(help="how many of them, 0 for all")] = _PICTURES
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Compare and tell."""
        from ..deploy.verify import read, verified

        model, (exported,) = self.divided(self.paths, "the exported file or folder")
        form, contents = read(exported)
        bundle, pictures = _model(self, model)
        found = verified(bundle, form, contents, pictures)
        if self.json:
            print_json({"exported": str(exported), **found.as_dict()})
        else:
            _print(found)
        return 0


def _model(verb: Export | Verify, model: Any) -> tuple[Any, Any]:
    """The bundle, and the pictures to compare on."""
    from ..deploy import pictures

    if verb.images < 0:
        raise UsageError(f"--images is {verb.images}; it must be at least 0")
    count = verb.images or 2**31
    return (pictures.of_foreign if verb.weights else pictures.of_own)(model, verb.data, count)


def _print(found: Any) -> None:
    out, whole = console(), found.whole
    share = f"{100 * whole.agreement:.2f} % of {whole.images}"
    out.print(f"compared with PyTorch on {shown(found.pictures)}: {whole.images} pictures")
    for size, difference in found.batches.items():
        out.print(f"  batch {size}: largest difference {difference.largest:.1e} on {difference.images} pictures")
    out.print(f"  same answer on {share}")
    if found.mistakes:
        theirs, own = found.mistakes
        out.print(f"  mistakes: PyTorch {theirs}, exported {own}")
