"""He2015 table 4: ImageNet validation, single models, fully convolutional at five scales."""

from .experiment import IMAGENET_BAND, Experiment
from .imagenet_rows import row
from .published import table

EXPERIMENT = Experiment(
    "table-4",
    "ImageNet validation, single models at five scales (he2015 table 4)",
    ("he2015.T4",),
    data="imagenet",
    recipe="imagenet-2015",
    rows=tuple(row(entry["model"], entry, "multi-scale") for entry in table("he2015.T4")["rows"]),
    band=IMAGENET_BAND,
)
