"""Several processes train one model: the same global batch, the same order, one sum per update.

`torchrun --nproc-per-node=N -m resnets train …` starts them. Each computes its contiguous part of every batch; one flat
buffer with gradients and BN statistics is added up in fixed order, so that every process holds the same model after
every update, and a resumed run does not depend on how a wrapper would have filled its buckets.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn

from ..errors import EnvironmentProblem

log = logging.getLogger(__name__)
PATIENCE = 300.0  # seconds after which a silent process ends the run


@dataclass(frozen=True)
class Processes:
    """This process among those that work together; alone, every method gives back what it is given.

    Where another process has ended or is silent, every method raises EnvironmentProblem.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def add_up(self, model: nn.Module, images: int, figures: Sequence[float]) -> list[float]:
        """Make gradients the mean over all images, BN statistics over processes with images; sum FIGURES."""
        if self.size == 1:
            return list(figures)
        total, busy, *sums = self.sum(torch.tensor([images, images > 0, *figures], dtype=torch.float64)).tolist()
        learning = [p for p in model.parameters() if p.requires_grad]
        weight = images / total
        parts = [p.grad * weight if p.grad is not None else torch.zeros_like(p) for p in learning]
        statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        parts += [buffer * (images > 0) / busy for buffer in statistics]
        flat = self.sum(torch.cat([part.flatten() for part in parts]))
        pieces = flat.split([part.numel() for part in parts])
        for parameter, piece in zip(learning, pieces, strict=False):
            parameter.grad = torch.empty_like(parameter).copy_(piece.view(parameter.shape))
        for buffer, piece in zip(statistics, pieces[len(learning) :], strict=True):
            buffer.copy_(piece.view(buffer.shape))
        self._count_alike([buffer for buffer in model.buffers() if not buffer.is_floating_point()])
        return sums

    def _count_alike(self, counters: list[Tensor]) -> None:
        """Give COUNTERS (of BN's batches) the values of the first process, which sees images in every update."""
        if counters:
            first = self.sum(torch.stack(counters) * int(self.first))
            for counter, value in zip(counters, first, strict=True):
                counter.copy_(value)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of everyone's TENSOR, in place."""
        if self.size > 1:
            with _spoken():
                group.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Everyone's rows, those of process 0 first; how many rows each has may differ."""
        if self.size == 1:
            return tensor
        counts = self.sum(torch.eye(self.size, dtype=torch.int64)[self.rank] * len(tensor)).tolist()
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        everyone = [torch.empty_like(padded) for _ in counts]
        with _spoken():
            group.all_gather(everyone, padded)
        return torch.cat([rows[:count] for rows, count in zip(everyone, counts, strict=True)])

    def gather_json(self, values: list[Any]) -> list[Any]:
        """Everyone's list of plain values, one after the other."""
        if self.size == 1:
            return values
        lines = "".join(json.dumps(value) + "\n" for value in values).encode()
        found = self.gather(torch.frombuffer(bytearray(lines), dtype=torch.uint8) if lines else torch.zeros(0).byte())
        return [json.loads(line) for line in found.numpy().tobytes().splitlines()]

    def share(self, value: Any) -> Any:
        """The plain value that process 0 gives."""
        return self.gather_json([value])[0] if self.size > 1 else value

    def agree(self, due: bool, number: int) -> tuple[bool, int]:
        """Whether the first process says so, and the largest number that any gives."""
        found = self.gather(torch.tensor([[due and self.first, number]], dtype=torch.int64))
        return bool(found[0, 0]), int(found[:, 1].max())

    def first_difference(self, tensors: dict[str, Tensor]) -> str | None:
        """The name of the first tensor that is not the same, bit for bit, in every process."""
        if self.size == 1:
            return None
        for name, tensor in tensors.items():
            digest = hashlib.sha256(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()).digest()
            rows = self.gather(torch.frombuffer(bytearray(digest), dtype=torch.uint8)[None])
            if not bool((rows == rows[0]).all()):
                return name
        return None

    def wait(self) -> None:
        """Go on when everyone is here."""
        self.sum(torch.zeros(1))


@cache
def processes() -> Processes:
    """The processes that torchrun has started, joined when first asked for; else this one alone.

    gloo, over the loopback interface where all of them are on one machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return Processes()
    if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    elif os.environ["RANK"] == "0":
        log.warning(
            "processes on several machines trust each other and their network; keep their ports closed to others"
        )
    patience = float(os.environ.get("RESNETS_PATIENCE", PATIENCE))
    with _spoken():
        group.init_process_group("gloo", timeout=timedelta(seconds=patience))
    return Processes(group.get_rank(), group.get_world_size())


@contextmanager
def _spoken() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        rank = os.environ.get("RANK", "?")
        raise EnvironmentProblem(
            f"process {rank} lost the others: one has ended or is silent, see its own message; "
            "go on with the same command"
        ) from error
