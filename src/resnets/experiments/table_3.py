"""He2015 table 3: ImageNet validation, 10 crops."""

from .experiment import IMAGENET_BAND, Experiment
from .imagenet_rows import row
from .published import table

EXPERIMENT = Experiment(
    "table-3",
    "ImageNet validation, 10 crops (he2015 table 3)",
    ("he2015.T3", "fb_torch.10crop"),
    data="imagenet",
    recipe="imagenet-2015",
    rows=tuple(row(entry["model"], entry, "10-crop", "fb_torch.10crop") for entry in table("he2015.T3")["rows"]),
    band=IMAGENET_BAND,
)
