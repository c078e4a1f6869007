"""He2015 table 2: top-1 error on ImageNet of plain and residual nets (option A: no parameter more), 10 crops."""

from .experiment import IMAGENET_BAND, Experiment
from .imagenet_rows import row
from .published import table

_NAMES = {"plain": "plain-{}", "resnet": "ResNet-{} A"}
EXPERIMENT = Experiment(
    "table-2",
    "Plain against residual on ImageNet (he2015 table 2)",
    ("he2015.T2",),
    data="imagenet",
    recipe="imagenet-2015",
    rows=tuple(
        row(name.format(entry["depth"]), {"top1": entry[kind]}, "10-crop")
        for kind, name in _NAMES.items()
        for entry in table("he2015.T2")["rows"]
    ),
    band=IMAGENET_BAND,
    draws="curves",
)
