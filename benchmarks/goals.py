"""The goals as rows of data: what runs beside what, and the bars."""

from typing import Any

from .case import Arm, Case, Comparison

_EXACT, _HALF, _DEEP = 1e-4, 5e-2, 0.1  # fp32 in another order, bf16, gradients through 1202 layers (seen: 0.03)
_EAGER, _TIMM, _OPENVINO = "torchvision eager", "timm eager", "OpenVINO fp32"


def _inference(network: str, batch: int) -> Case:
    given = {"network": network, "batch": batch}
    return Case(
        f"{network}, batch {batch}",
        {
            _EAGER: Arm("inference:eager", given, "torchvision", _EXACT),
            _TIMM: Arm("inference:timm_eager", given, "timm", _EXACT),
            "PyTorch compiled": Arm("inference:compiled", given, "torch", _EXACT),
            "ONNX Runtime": Arm("inference:onnxruntime", given, "onnxruntime", _EXACT),
            _OPENVINO: Arm("inference:openvino", {**given, "precision": "f32"}, "openvino", _EXACT),
            "OpenVINO bf16": Arm("inference:openvino", {**given, "precision": "bf16"}, "openvino", _HALF),
            **{
                f"ours {precision}": Arm("inference:library", {**given, "precision": precision}, "resnets", tolerance)
                for precision, tolerance in (("fp32", _EXACT), ("bf16", _HALF), ("int8", None))
            },
        },
        (
            Comparison("P3", "ours fp32", ("PyTorch compiled", "ONNX Runtime", _OPENVINO), "speed", 0.97, 1.02),
            Comparison("P3", "ours fp32", (_EAGER,), "speed", 1.3, 1.6),
            Comparison("P3", "ours fp32", (_TIMM,)),
            Comparison("P4", "ours bf16", (_EAGER,), "speed", 2.5, 2.8),
            Comparison("P4", "ours bf16", ("OpenVINO bf16",)),
            Comparison("P5", "ours int8", (_EAGER,), "speed", 4.0, 5.5),
        ),
        amount=16,
        reference=Arm("inference:float64", given),
        quick={} if (network, batch) == ("resnet18", 1) else None,
    )


_PUBLISHED = {"network": "cifar_resnet20", "batch": 100}
_STEP = {"layers": 1202, "batch": 128}
_CIFAR = {"layers": 20, "batch": 128, "updates": 100}
_KEPT, _SCRIPT, _CHAIN = "all activations kept", "the usual script", "torchvision v1 transforms"


def _points(name: str, *values: int, **others: int) -> tuple[dict[str, int], ...]:
    return tuple({name: value, **others} for value in values)


def _grows(title: str, make: str, points: tuple[dict[str, int], ...], **more: Any) -> Case:
    """How time and memory grow from the first of the POINTS to the others; the last is judged."""
    arms = {", ".join(f"{v} {k}" for k, v in point.items()): Arm(make, point, "resnets") for point in points}
    bars, (first, *others) = {"exponent of the time": 1.1, "memory": more.pop("memory", None)}, arms
    rows = [(name, measure, bar if name == others[-1] else None) for name in others for measure, bar in bars.items()]
    compared = tuple(Comparison("P15", name, (first,), measure, bar) for name, measure, bar in rows)
    return Case(title, arms, compared, unit="call", **{"seconds": 4.0, **more})


CASES = (
    Case(
        "{updates} CIFAR-10 updates with their input, cifar_resnet{layers}, batch {batch}",
        {_SCRIPT: Arm("training:script", _CIFAR), "ours": Arm("training:run", _CIFAR, "resnets")},
        (Comparison("P1", "ours", (_SCRIPT,), "speed", 2.5, 3.5),),
        unit="update",
        amount="updates",
        quick={"updates": 10},
        seconds=0,
    ),
    *(_inference(network, batch) for network in ("resnet18", "resnet50") for batch in (1, 16)),
    Case(
        "CIFAR-10 test set, published {network}, batch {batch}",
        {
            "eager": Arm("inference:eager", _PUBLISHED, "torch", _EXACT),
            "ours int8": Arm("inference:library", {**_PUBLISHED, "precision": "int8"}, "resnets"),
        },
        (
            Comparison("P5", "ours int8", ("eager",), "points lost", 0.3),
            Comparison("P5", "ours int8", ("eager",), "top-1 agreement", 97.0),
            Comparison("P5", "ours int8", ("eager",)),
        ),
        amount=10_000,
        seconds=0,
    ),
    Case(
        "224 px training crops of photographs, one core",
        {
            _CHAIN: Arm("input:torchvision_crops", {"images": 200}, "torchvision", 0.2),
            "ours": Arm("input:library_crops", {"images": 200}, "resnets", 0.2),
        },
        (Comparison("P6", "ours", (_CHAIN,), "speed", 1.8, 2.3),),
        amount="images",
        cores=1,
        quick={},
    ),
    Case(
        "224 px training crops of photographs by decode workers",
        {
            f"{workers} workers": Arm(
                "input:library_crops", {"images": 1600, "batch": 50, "workers": workers}, "resnets"
            )
            for workers in (0, 1, 2)
        },
        (Comparison("P6", "1 workers", ("0 workers",)), Comparison("P6", "2 workers", ("0 workers",))),
        amount="images",
    ),
    Case(
        "CIFAR-10 crops and flips, one core",
        {
            _CHAIN: Arm("input:torchvision_cifar", {"images": 6400}, "torchvision", 0.2),
            "ours": Arm("input:library_cifar", {"images": 6400}, "resnets", 0.2),
        },
        (Comparison("P7", "ours", (_CHAIN,), "speed", 25.0, 60.0),),
        amount="images",
        cores=1,
        quick={},
    ),
    Case(
        "training step of cifar_resnet{layers}, batch {batch}",
        {
            _KEPT: Arm("memory:kept", _STEP, "torch", _DEEP),
            "ours": Arm("memory:recomputed", {**_STEP, "segments": 24}, "resnets", _DEEP),
            "ours bf16": Arm("memory:recomputed", {**_STEP, "segments": 24, "precision": "bf16"}, "resnets"),
        },
        (
            Comparison("P8", "ours", (_KEPT,), "memory", 0.10, 0.05),
            Comparison("P8", "ours", (_KEPT,), "time", 1.35),
            Comparison("P8", "ours bf16", (_KEPT,), "memory", 0.10, 0.05),
            Comparison("P8", "ours bf16", (_KEPT,), "time", 1.35),
        ),
        amount="batch",
        quick={"layers": 110, "batch": 32},
        needs=18 << 30,
        smaller={"batch": 32},
    ),
    _grows("training step against depth", "growth:step", _points("layers", 20, 56, 110, 1202, batch=32)),
    _grows("training step against batch", "growth:step", _points("batch", 32, 128, 512, layers=20)),
    _grows("prediction against pixels a side", "growth:pixels", _points("side", 112, 224, 448), quick={}),
    _grows("prediction against images", "growth:prediction", _points("images", 100, 300, 1000), memory=1.1, seconds=0),
    Case(
        "{updates} CIFAR-10 updates in processes on the same cores",
        {f"{n} processes": Arm("growth:processes", {"count": n, "updates": 40}, "resnets") for n in (1, 2)},
        (Comparison("P15", "2 processes", ("1 processes",)),),
        unit="update",
        amount="updates",
        seconds=0,
    ),
)

# What no case here measures: case, peer, bar, stretch, why.
NOT_MEASURED = {
    "P2": (
        "CPU: images to 8.75 % test error, cifar_resnet20",
        "the paper's 8.19 M images",
        "5× in 30 min",
        "8× in 20 min",
        "a training",
    ),
    "P9": ("GPU: CIFAR training step, batch 128", "eager bf16 channels_last", "2.5×", "4×", "no GPU"),
    "P10": ("GPU: table 6 by the paper's schedule", "–", "3 seeds in 30 min", "5 seeds", "no GPU"),
    "P11": ("GPU: seconds to 8.75 %, ResNet-20", "cifar10-airbench to 94 %", "≤ 6×", "≤ 3×", "no GPU"),
    "P12": ("GPU: ResNet-50 training, batch 256", "torchvision eager AMP channels_last", "1.3×", "1.6×", "no GPU"),
    "P13": ("GPU: ResNet-50 inference", "torchvision eager bf16 channels_last", "1.5× / 4×", "1.8× / 8×", "no GPU"),
    "P14": (
        "server at saturation",
        "our own offline loop",
        "≥ 0.90×",
        "0.95×",
        "it has a command of its own, python -m benchmarks.serving MODEL --data DIR",
    ),
}
