"""He2016 table 2: where BN and ReLU stand, units a to e, 110 and 164 layers on CIFAR-10."""

from .experiment import MEDIAN, Experiment, Row
from .published import lookup, table

_UNITS = {
    "a": "cifar_resnet{}",
    "b": "cifar_resnet{}_bn_after_addition",
    "c": "cifar_resnet{}_relu_before_addition",
    "d": "cifar_resnet{}_relu_pre_activation",
    "e": "cifar_preresnet{}",
}
_OTHERS = {
    "a original, 110": lookup("gcr.cifar", "model", "ResNet110 reference"),
    "b BN after addition, 110": lookup("gcr.cifar", "model", "ResNet110 BN after add"),
}
EXPERIMENT = Experiment(
    "identity-table-2",
    "Units a to e, CIFAR-10 (he2016 table 2)",
    ("he2016.T2", "gcr.cifar"),
    data="cifar10",
    recipe="cifar-2016",
    rows=tuple(
        Row(
            label := f"{entry['unit']}, {layers}",
            _UNITS[entry["unit"][0]].format(layers),
            {"top1": entry[f"resnet{layers}"]},
            _OTHERS.get(label, {}),
        )
        for layers in (110, 164)
        for entry in table("he2016.T2")["rows"]
    ),
    seeds=5,
    draws="curves",
    notes=(MEDIAN,),
)
