"""Ensembles of any models by averaged scores, with a cache so that each model passes over the data once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from .. import __version__, files
from ..data.preprocessing import Preprocessing
from ..data.sources import Files, Source
from ..errors import DataError, WeightsError
from ..models import ResidualNetwork, VGGNetwork
from .metrics import Counts
from .protocol import Protocol
from .scoring import Scores, averaged


@dataclass(frozen=True, eq=False)
class Member:
    """A model and how it sees pictures."""

    model: ResidualNetwork | VGGNetwork
    preprocessing: Preprocessing


def together(members: Sequence[Scores], average: str = "softmax") -> Scores:
    """The averaged scores of several models for the images that all of them could read.

    Raises DataError where their labels or their numbers of classes are not the same.
    """
    if len({scores.scores.shape[1] for scores in members}) > 1:
        raise DataError("the models do not have the same number of classes")
    shared = sorted(set.intersection(*(set(scores.indices.tolist()) for scores in members)))
    indices = torch.tensor(shared, dtype=torch.int64)
    rows = [torch.isin(scores.indices, indices) for scores in members]
    labels = [scores.labels[keep] for scores, keep in zip(members, rows, strict=True)]
    if any(not torch.equal(labels[0], other) for other in labels):
        raise DataError("the models were tested on other labels")
    found = averaged([scores.scores[keep] for scores, keep in zip(members, rows, strict=True)], average)
    bad = {name: reason for scores in reversed(members) for name, reason in scores.bad}
    return Scores(indices, labels[0], found, tuple(sorted(bad.items())))


@dataclass(frozen=True)
class Subset:
    """Some of the models, by their place, and the wrong answers of their averaged scores."""

    members: tuple[int, ...]
    images: int
    top1_mistakes: int
    top5_mistakes: int

    def as_dict(self) -> dict[str, Any]:
        """Images, mistakes, and errors in percent."""
        return {
            "images": self.images,
            "top1_mistakes": self.top1_mistakes,
            "top5_mistakes": self.top5_mistakes,
            "top1_error": 100 * self.top1_mistakes / self.images,
            "top5_error": 100 * self.top5_mistakes / self.images,
        }


def search(members: Sequence[Scores], size: int, average: str = "softmax") -> list[Subset]:
    """Every subset of SIZE models, the fewest top-5 mistakes first, then top-1, then by place (he2015 table 5)."""
    found = []
    for chosen in combinations(range(len(members)), size):
        scores = together([members[i] for i in chosen], average)
        counts = Counts.of(scores.scores, scores.labels)
        found.append(Subset(chosen, counts.images, counts.mistakes, counts.images - counts.top5_hits))
    return sorted(found, key=lambda subset: (subset.top5_mistakes, subset.top1_mistakes, subset.members))


@dataclass(frozen=True)
class ScoreCache:
    """Scores of models in folders below `folder`, by the hash of weights, preprocessing, images and protocol."""

    folder: Path

    def key(self, member: Member, source: Source, protocol: Protocol) -> dict[str, Any]:
        """What decides the scores."""
        seen = json.dumps(asdict(member.preprocessing), sort_keys=True)
        files_of = [source.root / name for name in source.names] if isinstance(source, Files) else []
        stamps = [path.stat().st_mtime_ns if path.exists() else 0 for path in files_of]
        names = hashlib.sha256("\0".join(map(source.name, range(len(source)))).encode(errors="surrogatepass"))
        return {
            "version": __version__,
            "weights": weights_hash(member.model.state_dict()),
            "network": asdict(member.model.spec),
            "preprocessing": hashlib.sha256(seen.encode()).hexdigest(),
            "data": source.fingerprint(),
            "order": names.hexdigest(),
            "written": hashlib.sha256(repr(stamps).encode()).hexdigest(),
            "protocol": protocol.as_dict(),
        }

    def read(self, key: dict[str, Any]) -> Scores | None:
        """The scores kept under KEY; None where there are none or they are damaged."""
        try:
            manifest, contents = files.read_verified(self._place(key))
        except WeightsError:
            return None
        tensors, facts = parse(contents["scores.safetensors"]), cast("dict[str, Any]", manifest["facts"])
        bad = tuple((str(name), str(reason)) for name, reason in facts["bad"])
        return Scores(tensors["indices"], tensors["labels"], tensors["scores"], bad)

    def write(self, key: dict[str, Any], scores: Scores) -> None:
        """Keep the scores of a whole test under KEY."""
        tensors = {name: getattr(scores, name).contiguous() for name in ("indices", "labels", "scores")}
        facts = {"key": key, "bad": [list(pair) for pair in scores.bad]}
        files.write_folder(self._place(key), {"scores.safetensors": serialise(tensors)}, facts)

    def _place(self, key: dict[str, Any]) -> Path:
        return self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """A sha256 of every one of TENSORS with its name, type and shape."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
