"""He2015 table 9: box refinement, context, multi-scale testing and an ensemble, one upon the other, on COCO."""

from .experiment import DETECTION_BAND, DetectorRow, Experiment
from .published import table
from .table_8 import EXPERIMENT as TABLE_8
from .table_8 import row

_STEPS = {entry["step"]: entry for entry in table("he2015.T9")["rows"]}
_BASE, _REFINED, _CONTEXT, _MULTI = "baseline ResNet-101", "+ box refinement", "+ context", "+ multi-scale test"
SCALES = (200, 400, 600, 800, 1000)  # he2015 appendix B
_REFINE = {"refine": True}
_ALL = {"refine": True, "scales": SCALES}
_OTHERS = tuple(
    DetectorRow(f"member {number} of the ensemble", "resnet101_v1", changes={"context": True, "seed": number - 1})
    for number in (2, 3)
)
EXPERIMENT = Experiment(
    "table-9",
    "Improvements of Faster R-CNN on COCO (he2015 table 9)",
    ("he2015.T9",),
    data="coco",
    recipe="coco-2015",
    rows=(
        row("baseline VGG-16", "VGG-16", _STEPS["baseline VGG-16"]),
        row(_BASE, "ResNet-101", _STEPS[_BASE]),
        row(_REFINED, "", _STEPS[_REFINED], testing=_REFINE, of=_BASE, over=_BASE),
        row(_CONTEXT, "ResNet-101", _STEPS[_CONTEXT], testing=_REFINE, changes={"context": True}, over=_REFINED),
        row(_MULTI, "", _STEPS[_MULTI], testing=_ALL, of=_CONTEXT, over=_CONTEXT),
        *_OTHERS,
        row(
            "ensemble (3 nets)", "", {}, testing=_ALL, members=(_CONTEXT, *(other.label for other in _OTHERS)),
            note="59.0 and 37.4 on test-dev", over=_MULTI,
        ),
    ),
    band=DETECTION_BAND,
    task="detection",
    notes=(*TABLE_8.notes, "Each step stands on those before; which three nets the paper's ensemble has is not told."),
)  # fmt: skip
