"""He2015 table 14: localization in the ILSVRC challenges."""

from dataclasses import replace

from .experiment import LocalizationRow
from .published import table
from .table_13 import EXPERIMENT as TABLE_13

_PUBLISHED = tuple(
    LocalizationRow(entry["method"], published={k: entry[k] for k in ("val", "test") if k in entry}, note="published")
    for entry in table("he2015.T14")["rows"]
)
_SINGLE = next(row for row in TABLE_13.rows if row.label.startswith("RPN+RCNN, ResNet-101"))
assert isinstance(_SINGLE, LocalizationRow)
_OURS = replace(
    _SINGLE, label="ours, one ResNet-101", published={}, figures={"val": next(iter(_SINGLE.figures.values()))}
)
EXPERIMENT = replace(
    TABLE_13,
    name="table-14",
    title="Localization in the ILSVRC challenges (he2015 table 14)",
    sources=("he2015.T14",),
    rows=(*_PUBLISHED, _OURS),
    notes=("The paper's 8.9 % is an ensemble's.",),
)
