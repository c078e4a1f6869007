"""Highway nets on CIFAR-10, beside residual nets of the same size (Srivastava et al. 2015, tables 2 and 3).

The paper's nets are made like FitNets; here the gates stand in the residual networks of he2015, so that nothing but the
shortcut differs. Its accuracies are printed as errors.
"""

from .experiment import Experiment, Row
from .published import table

_PRINTED = tuple(
    Row(f"{entry['net']}, {entry['layers']} layers", published={"top1": round(100 - entry["acc"], 2)})
    for entry in table("highway.T2")["rows"]
)
_BEST = tuple(
    Row(f"{entry['net']}, {data} (table 3)", published={"top1": round(100 - entry[key], 2)})
    for data, key in (("CIFAR-10", "cifar10"), ("CIFAR-100", "cifar100"))
    for entry in table("highway.T3")["rows"]
)
_RUN = tuple(
    Row(f"{kind} {layers}", network.format(layers))
    for layers in (20, 32)
    for kind, network in (("highway gates", "cifar_highway{}"), ("residual", "cifar_resnet{}"))
)
EXPERIMENT = Experiment(
    "highway",
    "Highway nets on CIFAR-10 (Srivastava et al. 2015 tables 2 and 3)",
    ("highway.T2", "highway.T3"),
    data="cifar10",
    recipe="cifar-2016",
    rows=(*_PRINTED, *_RUN, *_BEST),
    draws="curves",
)
