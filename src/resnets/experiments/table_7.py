"""He2015 table 7: baseline Faster R-CNN on PASCAL VOC."""

from .experiment import DETECTION_BAND, DetectorRow, Experiment
from .published import table

NETWORKS = {"VGG-16": "vgg16", "ResNet-101": "resnet101_v1"}


def _row(entry: dict[str, str | float]) -> DetectorRow:
    """VOC 2007 is tested here; the annotations of the VOC 2012 test are with its server."""
    here = entry["test"] == "VOC07 test"
    label, figure = f"{entry['net']}, {entry['train']}", "voc07" if here else "area"
    changes = {} if here else {"metric": "area"}
    note = "" if here else "tested by VOC's server"
    network = NETWORKS[str(entry["net"])]
    return DetectorRow(label, network, {figure: float(entry["map"])}, note=note, changes=changes, server=not here)


EXPERIMENT = Experiment(
    "table-7",
    "Faster R-CNN on PASCAL VOC (he2015 table 7)",
    ("he2015.T7",),
    data="VOCdevkit:07+12",
    recipe="voc-2015",
    rows=tuple(map(_row, table("he2015.T7")["rows"])),
    band=DETECTION_BAND,
    task="detection",
    notes=("The paper trains in four alternating steps, this jointly; voc07 is the mean AP of 11 points in percent.",),
)
