"""He2015 table 3: ImageNet validation, 10 crops."""

from .experiment import IMAGENET_BAND, Experiment
from .imagenet_rows import one_crop, row
from .published import table

EXPERIMENT = Experiment(
    "table-3",
    "ImageNet validation, 10 crops (he2015 table 3)",
    ("he2015.T3", "fb_torch.10crop", "kh_repo.10crop"),
    data="imagenet",
    recipe="imagenet-2015",
    rows=tuple(row(entry["model"], entry, "10-crop") for entry in table("he2015.T3")["rows"]),
    band=IMAGENET_BAND,
    study=one_crop,
    notes=(
        "kh_repo: the paper's own models. fb_torch trained on windows of other aspect ratios as well, which the paper "
        "did not, and that alone gave it 1.2 points with 34 layers: not comparable.",
    ),
)
