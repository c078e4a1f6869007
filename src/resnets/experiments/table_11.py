"""He2015 table 11: PASCAL VOC 2012, class by class, as its server tested it; ours are tested on VOC 2007."""

from dataclasses import replace

from .experiment import DETECTION_BAND, Experiment
from .published import table
from .table_10 import EXPERIMENT as TABLE_10
from .table_10 import row

_NOTE = "tested by VOC's server"
_HERE = [replace(one, changes={**one.changes, "metric": "area"}) for one in TABLE_10.rows]
_PUBLISHED = tuple(
    replace(
        here,
        **{name: getattr(row(entry, "area", ""), name) for name in ("label", "published")},
        note=_NOTE,
        server=True,
    )
    for here, entry in zip(_HERE, table("he2015.T11")["rows"], strict=True)
)
_OURS = tuple(replace(one, label=f"{one.label}, area rule on VOC 2007", published={}) for one in _HERE)
EXPERIMENT = Experiment(
    "table-11",
    "PASCAL VOC 2012, class by class (he2015 table 11)",
    ("he2015.T11",),
    data="VOCdevkit:07+12",
    recipe="voc-2015",
    rows=(*_PUBLISHED, *_OURS),
    band=DETECTION_BAND,
    task="detection",
    notes=("The annotations of the VOC 2012 test part are with its server, so ours stand on VOC 2007's.",),
)
