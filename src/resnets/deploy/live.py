"""A model folder or run, ready to be served by any engine."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..analysis.saliency import saliency
from ..bundle import Bundle, load
from ..record import model_folder, run_of
from . import engines, measured
from .export import description_of
from .predictor import Heat, Predictor, Servable

_BATCH = 4  # what engines are measured and started at: requests come alone or in small groups
_IMAGES = 100_000  # a server runs for long: what an engine takes to start hardly counts


def servable(path: Path) -> Servable:
    """What a run or model folder holds. Raises WeightsError for one that is none or is damaged."""
    folder = model_folder(path)
    bundle, run = load(folder), run_of(folder)
    report = run / "report.html" if run else None
    return Servable(description_of(bundle), partial(_start, bundle), report if report and report.is_file() else None)


def _start(bundle: Bundle, engine: str) -> Predictor:
    """BUNDLE on the ENGINE named, or on the fastest here ("auto"), which is measured once and remembered."""
    prepared = engines.Prepared(bundle, folder=measured.folder_of(bundle))
    found = measured.choose(prepared, _IMAGES, _BATCH) if engine == "auto" else engines.engine_called(engine)
    run = engines.start(found, prepared, _BATCH).run
    return Predictor(description_of(bundle, found.precision), str(found), run, partial(_explained, prepared))


def _explained(prepared: engines.Prepared, image: NDArray[np.float32], label: int) -> Heat:
    """PyTorch's own network explains, whatever engine answers."""
    found = saliency(prepared.module, image, label)  # type: ignore[arg-type]
    return Heat(found.method, found.values)
