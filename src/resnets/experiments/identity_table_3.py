"""He2016 table 3: original against pre-activation units on CIFAR-10 and CIFAR-100, one-layer units included."""

from .experiment import MEDIAN, Experiment, Row
from .published import table

_NETWORKS = {
    "ResNet-110 (1-layer skip)": ("cifar_resnet110_one_layer", "cifar_preresnet110_one_layer"),
    "ResNet-110": ("cifar_resnet110", "cifar_preresnet110"),
    "ResNet-164": ("cifar_resnet164", "cifar_preresnet164"),
    "ResNet-1001": ("cifar_resnet1001", "cifar_preresnet1001"),
}


def rows(data: str = "") -> tuple[Row, ...]:
    """The rows of the data set called DATA as printed, of all where it is empty."""
    return tuple(
        Row(
            f"{entry['dataset']} {entry['net']}, {unit}",
            network,
            {"top1": entry[column]},
            data=entry["dataset"].replace("-", "").lower(),
        )
        for entry in table("he2016.T3")["rows"]
        if data in ("", entry["dataset"])
        for network, unit, column in zip(
            _NETWORKS[entry["net"]], ("original", "pre-activation"), ("baseline", "preact"), strict=True
        )
    )


EXPERIMENT = Experiment(
    "identity-table-3",
    "Original against pre-activation units (he2016 table 3)",
    ("he2016.T3",),
    data="cifar10",
    recipe="cifar-2016",
    rows=rows(),
    seeds=5,
    draws="curves",
    notes=(MEDIAN,),
)
