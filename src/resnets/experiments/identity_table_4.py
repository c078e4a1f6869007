"""He2016 table 4: state of the art on CIFAR-10 and CIFAR-100 with shifts and flips."""

from .experiment import MEDIAN, Experiment, Row
from .published import table

_NETWORKS = {
    "ResNet-110": "cifar_resnet110", "ResNet-1202": "cifar_resnet1202", "ResNet-164": "cifar_resnet164",
    "ResNet-1001": "cifar_resnet1001", "pre-act ResNet-164": "cifar_preresnet164",
    "pre-act ResNet-1001": "cifar_preresnet1001",
}  # fmt: skip
_HALF = ", batch 64"


def _row(entry: dict[str, object]) -> Row:
    net = str(entry["net"])
    spread = f"{entry['mean']} ± {entry['std']}" if "mean" in entry else ""
    return Row(
        f"{entry['dataset']} {net}",
        _NETWORKS.get(net.removesuffix(_HALF), ""),
        {"top1": float(str(entry["error"]))},
        data=str(entry["dataset"]).replace("-", "").lower(),
        changes={"batch_size": 64} if net.endswith(_HALF) else {},
        note=spread,
        means={"top1": float(str(entry["mean"]))} if "mean" in entry else {},
    )


EXPERIMENT = Experiment(
    "identity-table-4",
    "State of the art on CIFAR in 2016 (he2016 table 4)",
    ("he2016.T4",),
    data="cifar10",
    recipe="cifar-2016",
    rows=tuple(map(_row, table("he2016.T4")["rows"])),
    seeds=5,
    notes=(MEDIAN, "Where it prints a mean too, ours is set against that."),
)
