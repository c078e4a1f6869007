"""He2015 table 12: ImageNet detection, 200 classes."""

from .experiment import DETECTION_BAND, DetectorRow, Experiment
from .published import table
from .table_7 import NETWORKS
from .table_9 import SCALES

_OLD, _SINGLE, _ENSEMBLE = table("he2015.T12")["rows"]
_ALL = {"refine": True, "scales": SCALES}
_MEMBERS = tuple(
    DetectorRow(f"member {number} of the ensemble", NETWORKS["ResNet-101"], changes={"context": True, "seed": number})
    for number in (1, 2)
)
EXPERIMENT = Experiment(
    "table-12",
    "ImageNet detection (he2015 table 12)",
    ("he2015.T12",),
    data="imagenet-det",
    recipe="coco-2015",
    rows=(
        DetectorRow(_OLD["system"], published={"area": _OLD["test"]}, note="test server"),
        DetectorRow(
            _SINGLE["system"], NETWORKS["ResNet-101"], {"area": _SINGLE["val2"]}, testing=_ALL,
            changes={"context": True, "metric": "area"}, note="val2",
        ),
        *_MEMBERS,
        DetectorRow(
            _ENSEMBLE["system"], "", {"area": _ENSEMBLE["val2"]}, testing=_ALL,
            members=(_SINGLE["system"], *(one.label for one in _MEMBERS)), note="val2",
        ),
    ),
    band=DETECTION_BAND,
    task="detection",
    notes=("The data is a folder in VOC's or COCO's layout: ILSVRC DET's train and val1 for training, val2 as test.",),
)  # fmt: skip
