"""What modules put out while a network runs: the one place that registers hooks, and takes them out again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from ..errors import unknown
from ..models import ResidualNetwork, VGGNetwork
from ..models.layers import BatchNorm

T = TypeVar("T")


@contextmanager
def captured(model: nn.Module, names: Iterable[str], reduce: Callable[[Tensor], T]) -> Iterator[dict[str, list[T]]]:
    """REDUCE of every output of the modules called NAMES, call by call, while the block runs; no hook outlives it.

    Raises UsageError for a name that no module of MODEL has.
    """
    modules = dict(model.named_modules())
    found: dict[str, list[T]] = {name: [] for name in names}
    with ExitStack() as hooks:
        for name, values in found.items():
            if name not in modules:
                raise unknown("module", name, modules)
            hooks.callback(modules[name].register_forward_hook(_recorder(values, reduce)).remove)
        yield found


def _recorder(values: list[T], reduce: Callable[[Tensor], T]) -> Callable[[nn.Module, Any, Tensor], None]:
    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        values.append(reduce(output))

    return record


@dataclass(frozen=True)
class Layer:
    """A convolution of the main path by its name, the side of its kernel, and the module that puts out its response."""

    name: str
    kernel: int
    response: str

    @property
    def after_bn(self) -> bool:
        """Whether the response is that of the BN right after the convolution; else it is the convolution's own."""
        return self.response != self.name


def convolutions(model: ResidualNetwork | VGGNetwork) -> list[Layer]:
    """The convolutions of the main path in layer order; projections and gates are none of them (he2015 figure 7)."""
    if isinstance(model, VGGNetwork):
        layers = list(model.features)
        following = [*layers[1:], None]
        return [
            Layer(f"features.{i}", _kernel(layer), f"features.{i + isinstance(after, BatchNorm)}")
            for i, (layer, after) in enumerate(zip(layers, following, strict=True))
            if isinstance(layer, nn.Conv2d)
        ]
    found = [Layer("conv1", _kernel(model.conv1), "bn1")]
    for number, stage in enumerate(model.stages, 1):
        for i, unit in enumerate(stage):
            at = f"layer{number}.{i}"
            found += [
                Layer(f"{at}.{conv}", _kernel(getattr(unit, conv)), f"{at}.{response}")
                for conv, response in unit.responses.items()  # type: ignore[operator,union-attr]
            ]
    return found


def _kernel(conv: nn.Conv2d) -> int:
    return conv.kernel_size[0]
