"""ReLU(BN(x) + shortcut) as one kernel each way, and before a convolution without being kept.

On a CPU the units of he2015 spend more time between their convolutions than in them. The kernels are C++ (fused.cpp),
compiled within a second when a process first needs them.
"""

import ctypes
import os
import platform
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

_WHOLE_REGISTERS = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()
_FLAGS = ("-std=c++17", "-O3", "-march=native", *_WHOLE_REGISTERS, "-fopenmp", "-shared", "-fPIC", "-Wno-psabi")
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Normalised(NamedTuple):
    """A result (N, …), and the mean and biased variance of what was normalised, (C,)."""

    result: Tensor
    mean: Tensor
    variance: Tensor


def takes(x: Tensor) -> bool:
    """Whether the kernels compute with images such as x."""
    return x.device.type == "cpu" and x.dtype in _NAMES


def normalised_relu(x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> Normalised:
    """ReLU(BN(x) + carried), (N, C, H, W), with the batch's own statistics.

    float32 or bfloat16; weight and bias are float32. Only x and the result wait for the backward pass.
    """
    return Normalised(*_NormalisedRelu.apply(x, carried, weight, bias, eps))


def normalised_relu_conv(x: Tensor, weight: Tensor, bias: Tensor, eps: float, conv: nn.Conv2d) -> Normalised:
    """CONV of ReLU(BN(x)). Only x waits for the backward pass, which computes ReLU(BN(x)) again (arXiv:1712.02616)."""
    return Normalised(*_NormalisedReluConv.apply(x, weight, bias, conv.weight, (eps, conv.stride, conv.padding)))


class _NormalisedRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> Any:
        x, carried = _last(x), None if carried is None else _last(carried, x)
        mean, variance, deviation = _statistics(x, eps)
        y = _values(x, carried, weight, bias, mean, deviation)
        ctx.save_for_backward(x, y, weight, mean, deviation)
        ctx.adds = carried is not None
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dcarried = torch.empty_like(gradients[0], memory_format=torch.channels_last) if ctx.adds else None
        dx, dweight, dbias = _gradients(gradients[0], *ctx.saved_tensors, dcarried=dcarried)
        return dx, dcarried, dweight, dbias, None


class _NormalisedReluConv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor, how: Any) -> Any:
        x, (eps, *ctx.steps) = _last(x), how
        mean, variance, deviation = _statistics(x, eps)
        y = _values(x, None, weight, bias, mean, deviation)
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else y.dtype
        cast = kernel.detach().to(kind)
        ctx.save_for_backward(x, weight, bias, mean, deviation, cast)
        ctx.mark_non_differentiable(mean, variance)
        return torch.conv2d(y.to(kind), cast, None, *ctx.steps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, deviation, cast = ctx.saved_tensors
        y = _values(x, None, weight, bias, mean, deviation)
        dy, dkernel, _ = torch.ops.aten.convolution_backward(
            gradients[0], y.to(cast.dtype), cast, None, *ctx.steps, (1, 1), False, (0, 0), 1, (True, True, False)
        )
        dx, dweight, dbias = _gradients(dy, x, y, weight, mean, deviation)
        return dx, dweight, dbias, dkernel.to(weight.dtype), None


def _statistics(x: Tensor, eps: float) -> Tensor:
    """Mean, biased variance and 1 / deviation of every channel, (3, C)."""
    found = torch.empty((3, x.shape[1]), dtype=torch.float32)
    _kernel("statistics", x)(*_places(x), ctypes.c_double(eps), *_sizes(x), *_places(*found))
    return found


def _values(x: Tensor, *others: Tensor | None) -> Tensor:
    """ReLU(BN(x) + carried); OTHERS are carried, weight, bias, mean and 1 / deviation."""
    y = torch.empty_like(x)
    _kernel("values", x)(*_places(x, *others), *_sizes(x), *_places(y))
    return y


def _gradients(dy: Tensor, x: Tensor, *others: Tensor, dcarried: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Of x, weight and bias, and into DCARRIED; OTHERS are y, weight, mean and 1 / deviation."""
    dy, dx = _last(dy, x), torch.empty_like(x)
    dweight, dbias = torch.empty((2, x.shape[1]), dtype=torch.float32)
    passed = dx if dcarried is None else dcarried
    _kernel("gradients", x)(*_places(dy, x, *others), *_sizes(x), *_places(dx, passed, dweight, dbias))
    return dx, dweight, dbias


def _last(images: Tensor, like: Tensor | None = None) -> Tensor:
    """IMAGES with their channels last in memory, of LIKE's type."""
    images = images if like is None else images.to(like.dtype)
    return images.detach().contiguous(memory_format=torch.channels_last)


def _places(*tensors: Tensor | None) -> list[Any]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _sizes(images: Tensor) -> tuple[Any, ...]:
    """Rows, channels, threads."""
    channels = images.shape[1]
    return ctypes.c_long(images.numel() // channels), ctypes.c_int(channels), ctypes.c_int(torch.get_num_threads())


def _kernel(name: str, images: Tensor) -> Any:
    return getattr(_library(), f"{name}_{_NAMES[images.dtype]}")


@cache
def _library() -> ctypes.CDLL:
    """The kernels, compiled for this processor. Raises OSError or CalledProcessError where they cannot be."""
    source = Path(__file__).with_suffix(".cpp")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "fused.so")
        command = [*shlex.split(os.environ.get("CXX", "g++")), *_FLAGS, str(source), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own source, the compiler of the user
        return ctypes.CDLL(str(built))


@cache
def works() -> bool:
    """Whether the kernels can be compiled here: that takes a C++ compiler."""
    try:
        _library()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
