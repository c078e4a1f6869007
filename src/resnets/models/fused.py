"""ReLU(BN(x) + shortcut) as one kernel each way.

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
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_Rows = tuple[Tensor, ...]
_WHOLE_REGISTERS = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()
_FLAGS = ("-std=c++17", "-O3", "-march=native", *_WHOLE_REGISTERS, "-fopenmp", "-shared", "-fPIC", "-Wno-psabi")
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def takes(x: Tensor) -> bool:
    """Whether the kernels compute with images such as x."""
    return x.device.type == "cpu" and x.dtype in _NAMES


def normalised_relu(x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> _Rows:
    """ReLU(BN(x) + carried), (N, C, H, W), with the batch's own statistics; its mean and biased variance, (C,).

    float32 or bfloat16; weight and bias are float32. Only x and the result wait for the backward pass.
    """
    return _NormalisedRelu.apply(x, carried, weight, bias, eps)


class _NormalisedRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> _Rows:
        x, carried = _last(x), None if carried is None else _last(carried, x)
        y, (mean, variance, deviation) = torch.empty_like(x), torch.empty((3, x.shape[1]), dtype=torch.float32)
        _kernel("forward", x)(
            *_places(x, carried, weight, bias), ctypes.c_double(eps), *_sizes(x), *_places(y, mean, variance, deviation)
        )
        ctx.save_for_backward(x, y, mean, deviation, weight)
        ctx.adds = carried is not None
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, mean, deviation, weight = ctx.saved_tensors
        dy, dx = _last(gradients[0], x), torch.empty_like(x)
        dcarried = torch.empty_like(x) if ctx.adds else None
        dweight, dbias = torch.empty((2, x.shape[1]), dtype=torch.float32)
        passed = dx if dcarried is None else dcarried
        _kernel("backward", x)(
            *_places(dy, x, y, mean, deviation, weight), *_sizes(x), *_places(dx, passed, dweight, dbias)
        )
        return dx, dcarried, dweight, dbias, None


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
