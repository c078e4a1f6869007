"""He2016 table 5: ImageNet validation, single crop, 152 and 200 layers, original and pre-activation units."""

from .experiment import IMAGENET_BAND, Experiment, Row
from .published import table

_NETWORKS = {
    "ResNet-152 original": "resnet152_v1", "ResNet-152 pre-act": "preresnet152",
    "ResNet-200 original": "resnet200_v1", "ResNet-200 pre-act": "preresnet200",
}  # fmt: skip
_ASPECT = {"crop": "resized", "min_area": 0.08}  # windows of other aspect ratios, of at least 8 % of the picture


def _row(entry: dict[str, object]) -> Row:
    wide = entry["aug"] != "scale"
    return Row(
        f"{entry['net']}, {entry['aug']}, {entry['test_crop']} px",
        _NETWORKS.get(str(entry["net"]), ""),
        {"top1": float(str(entry["top1"])), "top5": float(str(entry["top5"]))},
        protocol="320-crop" if entry["test_crop"] == 320 else "1-crop",
        changes=_ASPECT if wide else {},
    )


EXPERIMENT = Experiment(
    "identity-table-5",
    "ImageNet, 152 and 200 layers (he2016 table 5)",
    ("he2016.T5",),
    data="imagenet",
    recipe="imagenet-2016",
    rows=tuple(map(_row, table("he2016.T5")["rows"])),
    band=IMAGENET_BAND,
)
