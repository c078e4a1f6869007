"""A model that answers, whatever computes it: an exported file without torch, or a model folder with any engine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ResnetsError, UsageError, WeightsError, safe_text
from .compare import Run
from .described import Description, is_exported, read_exported
from .runtimes import Contents, Session, onnx_session, openvino_session

LOGITS, FEATURES, CLASSIFIER = "logits", "features", "classifier"  # outputs of an exported model
SERVED = {"onnx": ("onnxruntime", onnx_session), "openvino": ("openvino", openvino_session)}


class Unexplained(ResnetsError):
    """What computes the model cannot say where it looked."""


@dataclass(frozen=True, eq=False)
class Heat:
    """A map float32 (h, w) of what speaks for a class, and the method that made it: "CAM" or "Grad-CAM"."""

    method: str
    values: NDArray[np.float32]


Explain = Callable[[NDArray[np.float32], int], Heat]  # an input (channels, size, size) and a class's number


@dataclass(frozen=True, eq=False)
class Predictor:
    """A running model: views to probabilities. Not for several threads at once.

    engine: NAME:PRECISION. run: inputs float32 (N, channels, size, size) → logits (N, classes), any N.
    """

    description: Description
    engine: str
    run: Run
    explain: Explain | None = None

    def probabilities(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated probabilities (N, classes) of what the network sees, uint8 (N, size, size, channels)."""
        logits = self.run(self.description.preprocessing.normalise(views))
        return softmax(logits / self.description.temperature)

    def heat(self, view: NDArray[np.uint8], label: int) -> Heat:
        """What speaks for class LABEL on a view (size, size, channels). Raises Unexplained where it is not known."""
        if self.explain is None:
            name = self.description.name
            raise Unexplained(f"{name} in {self.engine} has no feature map to explain its answers by")
        return self.explain(self.description.preprocessing.normalise(view), label)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Probabilities of logits (N, classes)."""
    values = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return (values / values.sum(1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Servable:
    """A model that was read and found whole; `start` makes it run, which may take long, by the engine named.

    report: the page of its run, where it has one.
    """

    description: Description
    start: Callable[[str], Predictor]
    report: Path | None = None


def found(path: Path) -> Servable:
    """What PATH holds: an exported file or folder, a model folder or a run. Raises WeightsError, UsageError."""
    if path.suffix == ".pt2":
        raise UsageError(
            f"{safe_text(str(path))}: a .pt2 file is not served; serve the model folder, or export it to onnx"
        )
    if is_exported(path):
        form, description, contents = read_exported(path)
        if description.input != "tensor":
            raise UsageError(f"{safe_text(str(path))} has its preprocessing inside; serve an export of --input tensor")
        return Servable(description, partial(_exported, form, description, contents))
    try:
        from .live import servable
    except ImportError as error:
        where = safe_text(str(path))
        raise WeightsError(f"{where} is no exported model, and without torch only such are served") from error
    return servable(path)


def _exported(form: str, description: Description, contents: Contents, engine: str) -> Predictor:
    """An exported model has one engine, that of its form."""
    name, start = SERVED[form]
    whole = f"{name}:{description.precision}"
    if engine not in ("auto", name, whole):
        raise UsageError(f"an exported model runs by {whole}; leave out --engine, or serve the model folder")
    session = start(contents, description.precision)
    if session.outputs[:1] != (LOGITS,):
        raise WeightsError(f"its first output is not called {LOGITS}; export it again")
    return Predictor(description, whole, session.run, explainer(session))


def explainer(session: Session) -> Explain | None:
    """Class activation maps (arXiv:1512.04150) from the feature map that a session puts out, None where it has none."""
    if not {FEATURES, CLASSIFIER} <= set(session.outputs):
        return None

    def explain(image: NDArray[np.float32], label: int) -> Heat:
        features, weights = session.fetch(image[None], (FEATURES, CLASSIFIER))
        return Heat("CAM", np.einsum("c,chw->hw", weights[label], features[0]).astype(np.float32))

    return explain
