"""He2015 table 8: baseline Faster R-CNN on COCO."""

from .experiment import DETECTION_BAND, DetectorRow, Experiment
from .published import table
from .table_7 import NETWORKS


def row(label: str, net: str, entry: dict[str, float], **more: object) -> DetectorRow:
    """A row on COCO's validation part: AP50 and AP, as published."""
    names = {"bbox AP50": ("map50", "val_map50"), "bbox AP": ("map", "val_map")}
    published = {name: entry[key] for name, keys in names.items() for key in keys if key in entry}
    return DetectorRow(label, NETWORKS.get(net, ""), published, **more)  # type: ignore[arg-type]


EXPERIMENT = Experiment(
    "table-8",
    "Faster R-CNN on COCO (he2015 table 8)",
    ("he2015.T8",),
    data="coco",
    recipe="coco-2015",
    rows=tuple(row(entry["net"], entry["net"], entry) for entry in table("he2015.T8")["rows"]),
    band=DETECTION_BAND,
    task="detection",
    notes=("COCO 2014: train (80k) for training, val (40k) for testing. The paper trains in alternating steps.",),
)
