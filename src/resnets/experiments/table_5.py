"""He2015 table 5: ensembles on ImageNet. The paper names six models of different depth, two of 152 layers."""

from dataclasses import replace

from .experiment import IMAGENET_BAND, Experiment, Row
from .imagenet_rows import row
from .published import table

_MEMBERS = ("ResNet-34 B", "ResNet-34 C", "ResNet-50", "ResNet-101", "ResNet-152")
_SINGLE = tuple(row(label, {}, "multi-scale") for label in _MEMBERS)
_SECOND = replace(_SINGLE[-1], label="ResNet-152, second", changes={"seed": 1})
_PUBLISHED = tuple(Row(entry["model"], published={"top5": entry["top5"]}) for entry in table("he2015.T5")["rows"][:-1])
_OURS = Row(
    "ResNet (ILSVRC15)",
    published={"top5": table("he2015.T5")["rows"][-1]["top5"]},
    protocol="multi-scale",
    members=(*_MEMBERS, _SECOND.label),
    apart="published on the test server, here on the validation images",
)
EXPERIMENT = Experiment(
    "table-5",
    "Ensembles on ImageNet (he2015 table 5)",
    ("he2015.T5",),
    data="imagenet",
    recipe="imagenet-2015",
    rows=(*_PUBLISHED, *_SINGLE, _SECOND, _OURS),
    band=IMAGENET_BAND,
    notes=("Which six models the paper took is not published; these are six of different depth, two of 152 layers.",),
)
