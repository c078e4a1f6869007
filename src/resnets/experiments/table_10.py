"""He2015 table 10: PASCAL VOC 2007, class by class."""

from typing import Any

from .experiment import DETECTION_BAND, DetectorRow, Experiment
from .published import table
from .table_7 import NETWORKS
from .table_9 import SCALES

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def row(entry: dict[str, Any], figure: str, network: str, **more: Any) -> DetectorRow:
    """A row with the mean as FIGURE and the AP of every class."""
    published = {figure: entry["map"], **dict(zip(CLASSES, entry["ap"], strict=True))}
    return DetectorRow(f"{entry['system']} {entry['net']}, {entry['data']}", network, published, **more)


_VGG, _BASE, _BEST = table("he2015.T10")["rows"]
_CHANGES = {"context": True}
EXPERIMENT = Experiment(
    "table-10",
    "PASCAL VOC 2007, class by class (he2015 table 10)",
    ("he2015.T10",),
    data="VOCdevkit:07+12",
    recipe="voc-2015",
    rows=(
        row(_VGG, "voc07", NETWORKS["VGG-16"]),
        row(_BASE, "voc07", NETWORKS["ResNet-101"]),
        row(
            _BEST, "voc07", NETWORKS["ResNet-101"], changes=_CHANGES, testing={"refine": True, "scales": SCALES},
            note="trained on COCO first; here without",
        ),
    ),
    band=DETECTION_BAND,
    task="detection",
    notes=("baseline+++ is box refinement, context and multi-scale testing.",),
)  # fmt: skip
