"""Several processes train one model: the same global batch, the same order, one sum per update.

`torchrun --nproc-per-node=N -m resnets train …` starts them. Each computes its contiguous part of every batch; one flat
buffer with gradients and BN statistics is added up in fixed order, so that every process holds the same model after
every update, and a resumed run does not depend on how a wrapper would have filled its buckets.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
_ANSWER = 3.0  # seconds in which who is alive says so, once something is wrong
_CLOSING = 0.1  # seconds in which all connections of a process that has ended are closed


class Lost(EnvironmentProblem):
    """Another process has ended, has failed or is silent; the message says which."""


@dataclass(frozen=True)
class Processes:
    """This process among those that work together; alone, every method gives back what it is given.

    Where another process has ended or is silent, every method raises Lost. spare: connections that nothing is sent
    over until then; over these the others are asked which it is.
    """

    rank: int = 0
    size: int = 1
    spare: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def add_up(self, model: nn.Module, images: int, figures: Sequence[float]) -> list[float]:
        """Make gradients the mean over all images, BN statistics over processes with images; sum FIGURES.

        Where another process calls `fail` instead, nothing is changed and Lost raised.
        """
        if self.size == 1:
            return list(figures)
        total, busy, *sums = self._totals([images, images > 0, *figures])
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

    def fail(self, error: Exception, figures: int) -> None:
        """Take part in the others' `add_up` of so many FIGURES with nothing but ERROR, of which they raise Lost."""
        if self.size > 1:
            with suppress(Lost):
                self._totals([0.0] * (figures + 2), f"{type(error).__name__}: {error}".splitlines()[0].strip(" :"))

    def _totals(self, numbers: Sequence[float], failure: str = "") -> list[float]:
        """The sums of NUMBERS over processes. Raises Lost where one comes with a FAILURE instead."""
        failed, *sums = self.sum(torch.tensor([bool(failure), *numbers], dtype=torch.float64)).tolist()
        if failed:
            told = self.gather_json([f"process {self.rank} failed: {failure}"] if failure else [])
            raise Lost("; ".join(told))
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
            with self._heard():
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
        with self._heard():
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
        raw = (tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors.values())
        digests = b"".join(hashlib.sha256(data).digest() for data in raw)
        everyone = self.gather(torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(1, len(tensors), -1))
        same = (everyone == everyone[0]).all(2).all(0).tolist()
        return next((name for name, alike in zip(tensors, same, strict=True) if not alike), None)

    def wait(self) -> None:
        """Go on when everyone is here."""
        self.sum(torch.zeros(1))

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise Lost(f"process {self.rank} lost {self._missing()}") from error

    def _missing(self) -> str:
        """Which processes have ended; where none has, which do not answer for themselves."""
        time.sleep(_CLOSING)
        asked: dict[int, list[Any]] = {}
        ended: list[int] = []
        for other in set(range(self.size)) - {self.rank}:
            try:
                asked[other] = [act(torch.zeros(1), other, self.spare) for act in (group.isend, group.irecv)]
            except RuntimeError:
                ended.append(other)
        deadline = time.monotonic() + _ANSWER
        silent = [other for other, words in asked.items() if not ended and not _spoken(words, deadline)]
        fate = "has ended, see its own message" if ended else "is silent"
        return ", ".join(f"process {other}, which {fate}" for other in ended or silent) or "the others"


def _spoken(words: Iterable[Any], deadline: float) -> bool:
    """Whether all WORDS have arrived by DEADLINE."""
    with suppress(RuntimeError):
        for word in words:
            word.wait(timedelta(seconds=max(deadline - time.monotonic(), 0.01)))
        return True
    return False


@cache
def processes() -> Processes:
    """The processes that torchrun has started, joined when first asked for; else this one alone.

    gloo for what is on the CPU, over the loopback interface where all of them are on one machine; NCCL for what is on
    cards. Between cards, too, this process waits for the others, and an exchange that does not end is an error: by
    itself NCCL would end the process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return Processes()
    local = os.environ.get("LOCAL_WORLD_SIZE") == str(size)
    if local:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    elif os.environ["RANK"] == "0":
        log.warning(
            "processes on several machines trust each other and their network; keep their ports closed to others"
        )
    limit = timedelta(seconds=float(os.environ.get("RESNETS_PATIENCE", PATIENCE)))
    # on one machine torchrun keeps its store after a restart, with the addresses of the processes that have ended
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if local else "0"
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    try:
        store, rank, size = next(group.rendezvous("env://", timeout=limit))  # type: ignore[attr-defined]
        store = group.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]
        group.init_process_group(_backends(), store=store, rank=rank, world_size=size, timeout=limit)
        return Processes(rank, size, group.new_group(timeout=limit, backend="gloo"))
    except RuntimeError as error:
        raise Lost(f"process {os.environ['RANK']} does not find the others; see their own messages") from error


def _backends() -> str:
    """What carries tensors between processes: PyTorch chooses by the device that a tensor is on."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and group.is_nccl_available() else "gloo"
