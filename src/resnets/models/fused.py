"""ReLU(BN(x) + shortcut) as one compiled kernel each way.

On a CPU the units of he2015 spend more time between their convolutions than in them. PyTorch's compiler makes these
kernels for any number of layers and images, once for narrow widths each and once for all others.
"""

import logging
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_Rows = tuple[Tensor, ...]
_NARROW = 32  # channels that fill a vector register


def normalised_relu(x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> _Rows:
    """ReLU(BN(x) + carried), (N, C, H, W), with the batch's own statistics; its mean and biased variance, (C,).

    Only x and the result wait for the backward pass. Images lie with their channels last.
    """
    return _NormalisedRelu.apply(x, carried, weight, bias, eps)


class _NormalisedRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, carried: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> _Rows:
        summands = [] if carried is None else [_rows(carried)]
        formula = _relu_of_sum if summands else _relu
        y, mean, variance, deviation = _computed(formula, eps, _rows(x), *summands, weight, bias)
        y = _images(y, x.shape)
        ctx.save_for_backward(x, y, mean, deviation, weight)
        ctx.adds = carried is not None
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *channels = ctx.saved_tensors
        formula = _gradients_of_sum if ctx.adds else _gradients
        dx, dweight, dbias, *rest = _computed(formula, 0.0, _rows(gradients[0]), _rows(x), _rows(y), *channels)
        dcarried = _images(rest[0], x.shape) if rest else None
        return _images(dx, x.shape), dcarried, dweight, dbias, None


def _rows(images: Tensor) -> Tensor:
    """(N, C, H, W) → (N·H·W, C), without a copy where the channels lie last."""
    return images.detach().permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _images(rows: Tensor, shape: torch.Size) -> Tensor:
    """(N·H·W, C) → (N, C, H, W)."""
    return rows.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)


def _computed(formula: Any, eps: float, rows: Tensor, *others: Tensor) -> _Rows:
    width = rows.shape[1]
    tensors = [tensor.detach() for tensor in (rows, *others)]
    for tensor in tensors:
        if tensor.dim() == 2:
            torch._dynamo.mark_dynamic(tensor, 0)
        if width >= _NARROW:
            torch._dynamo.mark_dynamic(tensor, -1 % tensor.dim())
    return _kernel(formula, width if width < _NARROW else 0)(eps, *tensors)


@cache
def _kernel(formula: Any, width: int) -> Any:
    """FORMULA, compiled for a narrow WIDTH alone or (0) for all others: which one computes must not depend on history.

    One kernel for narrow widths as well would take three times as long there.
    """
    code = formula.__code__.replace(co_name=f"{formula.__name__}_{width}")
    return compiled(FunctionType(code, formula.__globals__))


def compiled(function: Any, **options: Any) -> Any:
    """FUNCTION or module, compiled by PyTorch when it is first called."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA on machines without a GPU
    return torch.compile(function, **options)


def _relu(eps: float, x: Tensor, weight: Tensor, bias: Tensor) -> _Rows:
    scale, shift, *statistics = _normalisation(eps, x, weight, bias)
    return torch.relu(x.float() * scale + shift).to(x.dtype), *statistics


def _relu_of_sum(eps: float, x: Tensor, carried: Tensor, weight: Tensor, bias: Tensor) -> _Rows:
    scale, shift, *statistics = _normalisation(eps, x, weight, bias)
    return torch.relu(x.float() * scale + shift + carried.float()).to(x.dtype), *statistics


def _normalisation(eps: float, x: Tensor, weight: Tensor, bias: Tensor) -> _Rows:
    """Factor and summand of every channel; mean, biased variance, 1 / deviation (arXiv:1502.03167 algorithm 1)."""
    images = x.float()
    mean = images.sum(0) / x.shape[0]
    variance = (images - mean).square().sum(0) / x.shape[0]
    deviation = torch.rsqrt(variance + eps)
    scale = weight * deviation
    return scale, bias - mean * scale, mean, variance, deviation


def _gradients(eps: float, dy: Tensor, x: Tensor, y: Tensor, *channels: Tensor) -> _Rows:
    return _gradients_of_sum(eps, dy, x, y, *channels)[:3]


def _gradients_of_sum(eps: float, dy: Tensor, x: Tensor, y: Tensor, *channels: Tensor) -> _Rows:
    """Of x, weight, bias and the summand (arXiv:1502.03167 section 3)."""
    mean, deviation, weight = channels
    passed = torch.where(y > 0, dy, 0).float()
    normal = (x.float() - mean) * deviation
    dbias, dweight = passed.sum(0), (passed * normal).sum(0)
    dx = weight * deviation * (passed - dbias / x.shape[0] - normal * (dweight / x.shape[0]))
    return dx.to(x.dtype), dweight, dbias, passed.to(dy.dtype)


@cache
def works() -> bool:
    """Whether PyTorch can compile here: it needs a C++ compiler."""
    try:
        x = torch.randn(2, 4, 2, 2).to(memory_format=torch.channels_last)
        normalised_relu(x, None, torch.ones(4), torch.zeros(4), 1e-5)
    except Exception:  # whatever PyTorch, the compiler or the linker says: the other kernels are there
        return False
    return True
