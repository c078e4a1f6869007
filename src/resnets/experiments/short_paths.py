"""Veit et al. 2016, section 4.3: 110 layers on CIFAR-10, 23 random ones of whose 54 units learn from a mini-batch."""

from .experiment import Experiment, Row
from .published import fact

_PAIR = fact("veit.retrain")
_ACTIVE = _PAIR["modules_sampled"]
EXPERIMENT = Experiment(
    "short-paths",
    "Training with the effective paths alone, 110 layers, CIFAR-10 (Veit et al. 2016, section 4.3)",
    ("veit.retrain",),
    data="cifar10",
    recipe="cifar-2015",
    rows=(
        Row("all 54 units", "cifar_resnet110", {"top1": _PAIR["error_full"]}),
        Row(
            f"{_ACTIVE} random units a mini-batch",
            "cifar_resnet110",
            {"top1": _PAIR["error_effective_only"]},
            changes={"active_units": _ACTIVE},
        ),
    ),
    draws="curves",
    notes=(
        "The paper calls the difference of its two errors not significant. Units and recipe are those of he2015; in "
        f"testing all units take part, F times {_ACTIVE}/54.",
    ),
)
