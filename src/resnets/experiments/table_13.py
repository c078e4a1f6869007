"""He2015 table 13: localization error on ImageNet's validation images."""

from .experiment import IMAGENET_BAND, Experiment, LocalizationRow
from .published import table

NETWORK = "resnet101_v1"
_GT, _TOP = "GT class", "top-5 predicted"


def _row(entry: dict[str, str | float]) -> LocalizationRow:
    """A row of the paper; VGG's and the ensemble's are told, not run."""
    method, testing = str(entry["method"]), str(entry["testing"])
    column, key, guesses = (_GT, "gt_class", "GT class") if "gt_class" in entry else (_TOP, "top5_predicted", "top 5")
    here = entry["net"] == "ResNet-101"
    label = f"{method}, {entry['net']}, {testing}, {guesses}"
    figures = {column: f"{method}, {testing}, {guesses}"} if here else {}
    note = (
        "" if here else "not run: another system" if method == "VGG" else "not run: the paper does not say which nets"
    )
    return LocalizationRow(label, NETWORK if here else "", {column: float(entry[key])}, note=note, figures=figures)


EXPERIMENT = Experiment(
    "table-13",
    "Localization error on ImageNet (he2015 table 13)",
    ("he2015.T13",),
    data="imagenet-localization",
    recipe="imagenet-2015",
    rows=tuple(map(_row, table("he2015.T13")["rows"])),
    band=IMAGENET_BAND,
    task="localization",
    notes=("GT class: the right class is given; top-5 predicted: the best of five guesses. Errors in percent.",),
)
