"""Which model a verb works on: that of a run or model folder, or a weights file of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import arg

from ..errors import UsageError
from .verb import Verb

T = TypeVar("T", Path, str)


@dataclass(frozen=True, kw_only=True)
class ModelSource(Verb):
    """The options that stand in the place of MODEL: a network and a file of its weights."""

    network: Annotated[str, arg(help="instead of MODEL: the network of a weights file")] = ""
    weights: Annotated[str, arg(help="instead of MODEL: a weights file of others")] = ""
    normalize: Annotated[str, arg(help="how its inputs were normalized: imagenet, cifar10 or none")] = "imagenet"
    origin: Annotated[str, arg(help="who published it: torchvision, timm, msra …; only bottleneck nets ask")] = ""

    def foreign(self) -> Any:
        """The ForeignModel that the options name, None where they name none. Raises UsageError for half a name."""
        if bool(self.network) != bool(self.weights):
            raise UsageError("--network and --weights belong together")
        if not self.weights:
            return None
        from ..testing import ForeignModel

        return ForeignModel(self.network, self.weights, self.normalize, self.origin or None)

    def divided(self, given: Sequence[T], rest: str, count: int = 1) -> tuple[Any, tuple[T, ...]]:
        """The model, a folder or a ForeignModel, and what else was GIVEN: so many of what REST says, 0 for any number.

        Raises UsageError.
        """
        model, others = self.foreign(), tuple(given)
        first = "" if model else "MODEL (or --network and --weights) and "
        if not model and others:
            model, *others = others
        if not model or (count and len(others) != count):
            raise UsageError(f"give {first}{rest}")
        return model, tuple(others)
