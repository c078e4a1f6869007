"""He2015 table 6: test error on CIFAR-10 of 20 to 1202 layers, and the gap between training and test error."""

from .experiment import Experiment, Row
from .published import lookup, table


def _row(row: dict[str, object]) -> Row:
    own, layers = row["model"] == "ResNet", row.get("layers", "")
    others = lookup("akamaster.cifar", "model", f"ResNet{layers}")
    for kind in ("", " (lr 0.001 for 400 iterations)"):  # that of 110 layers
        others |= lookup("gcr.cifar", "model", f"ResNet{layers}{kind}")
    others |= lookup("amartyn.resnet", "model", f"ResNet-{layers}")
    spread = f"best of {row.get('runs', 'several')}; mean {row['mean']} ± {row['std']}" if "mean" in row else ""
    told = filter(None, (f"{row['params']} parameters" if "params" in row else "", spread))
    return Row(
        f"{row['model']} {layers}".strip(),
        f"cifar_resnet{layers}" if own else "",
        {"top1": float(str(row["error"]))},
        others if own else {},
        note="; ".join(told),
        means={"top1": float(str(row["mean"]))} if "mean" in row else {},
        seeds=int(str(row.get("runs", 0))),
    )


_DROPPED = tuple(
    Row(f"ResNet {layers}, stochastic depth", f"cifar_resnet{layers}_stochastic_depth", published, apart=apart)
    for layers, published, apart in ((110, {}, ""), (1202, {"top1": 4.91}, "arXiv:1603.09382 has its own recipe"))
)
EXPERIMENT = Experiment(
    "table-6",
    "CIFAR-10, 20 to 1202 layers (he2015 table 6)",
    ("he2015.T6", "akamaster.cifar", "gcr.cifar", "amartyn.resnet", "stochastic_depth"),
    data="cifar10",
    recipe="cifar-2015",
    rows=(*map(_row, table("he2015.T6")["rows"]), *_DROPPED),
    draws="curves",
    notes=("akamaster and amartyn give the best epoch on the test set; akamaster and gcr trained for 200 epochs.",),
)
