"""Inference with the same weights: PyTorch, ONNX Runtime and OpenVINO called directly, and the library's engines.

A call passes every image once: 16 photographs, or CIFAR-10's test set. No published ImageNet weights are at hand: those
networks have He's initial weights and BN statistics of photographs; `cifar_resnet20` has akamaster's weights.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from resnets.bundle import Bundle
from resnets.data.preprocessing import Preprocessing
from resnets.deploy.engines import ENGINES, Prepared
from resnets.deploy.measured import race
from resnets.deploy.pictures import CALIBRATION, Pictures
from resnets.deploy.runtimes import needed
from resnets.models import create_model
from resnets.testing import ForeignModel

from .inputs import WEIGHTS, cifar, data, photographs
from .plain import PlainResNet

_CIFAR = "cifar_resnet20"
Call = Callable[[], dict[str, Any]]


def eager(network: str, batch: int) -> Call:
    """torchvision's network (of CIFAR the usual script's), eager fp32."""
    return _torch(_theirs(network), network, batch)


def timm_eager(network: str, batch: int) -> Call:
    """timm's network of the same name, which takes the same weights without a map, eager fp32."""
    timm = needed("timm", "dev")

    model = timm.create_model(network)
    model.load_state_dict(_bundle(network).tensors)
    return _torch(model.eval(), network, batch)


def float64(network: str, batch: int) -> Call:
    """The same in float64."""
    return _torch(_theirs(network).double(), network, batch, torch.float64)


def compiled(network: str, batch: int) -> Call:
    """The same, compiled by PyTorch with frozen weights."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    return _torch(torch.compile(_theirs(network)), network, batch)


def onnxruntime(network: str, batch: int) -> Call:
    """The same, exported and run by ONNX Runtime on all cores."""
    ort = needed("onnxruntime", "onnx")

    with tempfile.TemporaryDirectory() as folder:
        path, inputs = Path(folder, "model.onnx"), _inputs(network)[:batch]
        torch.onnx.export(_theirs(network), (torch.from_numpy(inputs),), path, dynamo=True, external_data=False)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return _timed(lambda x: session.run(None, {name: x})[0], network, batch)


def openvino(network: str, batch: int, precision: str) -> Call:
    """The same, converted and run by OpenVINO in "f32" or "bf16", for latency."""
    ov = needed("openvino", "openvino")

    example = torch.from_numpy(_inputs(network)[:batch])
    model = ov.convert_model(_theirs(network), example_input=example, input=list(example.shape))
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.compile_model(model, "CPU", hints).create_infer_request()
    return _timed(lambda x: request.infer([x], share_inputs=True)[0].copy(), network, batch)


def library(network: str, batch: int, precision: str) -> Call:
    """The library's fastest engine of those that have this precision, found on this machine; int8 is calibrated.

    What it loses is measured on published weights only: `start` would refuse int8 of initial weights.
    """
    prepared = Prepared(_bundle(network), _pictures(network))
    engines = [engine for engine in ENGINES if engine.precision == precision]
    runs = [engine.start(prepared, precision, batch) for engine in engines]
    times = race(runs, prepared.inputs(0, batch), 2.0)
    engine, run, _ = min(zip(engines, runs, times, strict=True), key=lambda row: statistics.median(row[2]))
    call = _timed(run, network, batch)
    return lambda: {**call(), "engine": str(engine)}


def _torch(model: Any, network: str, batch: int, kind: torch.dtype = torch.float32) -> Call:
    @torch.inference_mode()
    def predict(part: NDArray[Any]) -> NDArray[Any]:
        return model(torch.from_numpy(part).to(kind)).numpy()

    return _timed(predict, network, batch)


def _timed(predict: Callable[[NDArray[Any]], Any], network: str, batch: int) -> Call:
    inputs = _inputs(network)
    parts = [np.ascontiguousarray(inputs[i : i + batch]) for i in range(0, len(inputs), batch)]
    labels = _pictures(network).labels

    def call() -> dict[str, Any]:
        logits = [predict(part) for part in parts]
        figures: dict[str, Any] = {"output": lambda: np.concatenate(logits)}
        if labels is not None:
            figures["test_error"] = 100 * float((np.concatenate(logits).argmax(1) != labels).mean())
        return figures

    return call


def _theirs(network: str) -> nn.Module:
    model = PlainResNet(20) if network == _CIFAR else getattr(torchvision.models, network)()
    model.load_state_dict(_bundle(network).tensors)
    return model.eval()


@cache
def _bundle(network: str) -> Bundle:
    if network == _CIFAR:
        return ForeignModel(network, str(data(WEIGHTS))).bundle(tuple("0123456789"))
    torch.manual_seed(0)
    model = create_model(network)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics become those of the one batch it sees
    with torch.no_grad():
        model.train()(torch.from_numpy(Preprocessing().normalise(_pictures(network).calibration[:16])))
    classes = tuple(str(number) for number in range(1000))
    return Bundle(model.spec, dict(model.state_dict()), classes, Preprocessing())


def _inputs(network: str) -> NDArray[np.float32]:
    return _bundle(network).preprocessing.normalise(_pictures(network).views)


@cache
def _pictures(network: str) -> Pictures:
    """What is predicted, and other images to calibrate on."""
    if network == _CIFAR:
        images, labels = cifar("test")
        return Pictures("CIFAR-10", images, labels, cifar("train")[0][:CALIBRATION])
    shown = photographs()
    views = np.stack([Preprocessing().view(shown.picture(index)) for index in range(len(shown))])
    return Pictures("photographs", views[:16], None, views[16:])
