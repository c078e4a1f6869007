"""He2016 table 1: variants of the shortcut in the 110-layer net on CIFAR-10."""

from .experiment import MEDIAN, Experiment, Row
from .published import table

_ROWS = table("he2016.T1")["rows"]
_FAIL = 20.0  # percent above which the paper calls a run a failure
# (variant, shortcut, residual, gate bias) as printed → network; gates whose bias differs are changed in the row.
_NETWORKS = {
    ("original", "1", "1"): "cifar_resnet110",
    ("constant scaling", "0", "1"): "cifar_plain110",
    ("constant scaling", "0.5", "1"): "cifar_resnet110_shortcut_scaled",
    ("constant scaling", "0.5", "0.5"): "cifar_resnet110_scaled",
    ("exclusive gating", "1-g(x)", "g(x)"): "cifar_highway110",
    ("shortcut-only gating", "1-g(x)", "1"): "cifar_resnet110_shortcut_gate",
    ("1x1 conv shortcut", "1x1 conv", "1"): "cifar_resnet110_c",
    ("dropout shortcut", "dropout 0.5", "1"): "cifar_resnet110_shortcut_dropout",
}


def _row(entry: dict[str, object]) -> Row:
    bias = str(entry.get("gate_bias", ""))
    kind = (str(entry["variant"]), str(entry["shortcut"]), str(entry["residual"]))
    name = f"{kind[0]}, shortcut {kind[1]}, residual {kind[2]}" + (f", bias {bias}" if bias else "")
    single = bias.lstrip("-").isdigit() or not bias
    published = {"top1": float(str(entry["error"]))} if "error" in entry else {}
    unit = {"gate_bias": float(bias)} if bias and single else {}
    note = str(entry.get("remark", "")) if single else "a range of biases, all of which failed; not run"
    return Row(
        name, _NETWORKS[kind] if single else "", published, unit=unit, failed=_FAIL * ("fail" in entry), note=note
    )  # fmt: skip


EXPERIMENT = Experiment(
    "identity-table-1",
    "Variants of the shortcut, 110 layers, CIFAR-10 (he2016 table 1)",
    ("he2016.T1",),
    data="cifar10",
    recipe="cifar-2016",
    rows=tuple(map(_row, _ROWS)),
    seeds=5,
    draws="curves",
    notes=(MEDIAN, f"'fail' is an error above {_FAIL:g} %."),
)
