"""Weights of other publishers: their names, where their stride stands, and what fits which network."""

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UsageError, WeightsError, safe_text, unknown
from ..families import name_of
from ..spec import BOTTLENECK, AnyNetwork, Network
from .foreign import read_tensors
from .network import ResidualNetwork
from .pickles import short
from .vgg import VGGNetwork

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publisher:
    """Where a publisher's files differ: which convolution of a bottleneck is strided, and (their, our) prefixes."""

    strided: int | None = None
    prefixes: tuple[tuple[str, str], ...] = ()


# Decision 3: tensors of both strides have the same names and shapes, so only the publisher tells them apart.
PUBLISHERS = {
    "torchvision": Publisher(strided=1),
    "timm": Publisher(
        strided=1,
        prefixes=(
            ("pre_logits.fc1.", "classifier.0."),
            ("pre_logits.fc2.", "classifier.3."),
            ("head.fc.", "classifier.6."),
        ),
    ),
    "fb.resnet.torch": Publisher(strided=1),
    "msra": Publisher(strided=0),
    "detectron2": Publisher(strided=0),
    "mmpretrain-caffe": Publisher(strided=0),
    "keras": Publisher(strided=0),
    "akamaster": Publisher(prefixes=(("linear.", "fc."),)),
}


@dataclass(frozen=True)
class Loaded:
    """What `load_weights` did beyond copying: a line for every layer that it started anew or adapted."""

    notes: tuple[str, ...] = ()

    @property
    def new_classifier(self) -> bool:
        """Whether the classifier kept its initial weights because the class count differs."""
        return any(note.startswith("new classifier") for note in self.notes)


def load_weights(
    model: ResidualNetwork | VGGNetwork, source: str | Path | Mapping[str, Tensor], origin: str | None = None
) -> Loaded:
    """Copy the weights of a file or state dict into MODEL; all or nothing.

    origin: a key of PUBLISHERS. It is required for ImageNet bottleneck nets, whose two stride placements have equal
    tensors, unless a torchvision file name carries its own hash. Another class count keeps the body and starts a new
    classifier; another channel count sums or repeats the first convolution. Raises WeightsError with the first
    differences, and UsageError for an unknown origin.
    """
    if origin is not None and origin not in PUBLISHERS:
        raise unknown("origin of weights", origin, PUBLISHERS)
    if isinstance(source, Mapping):
        tensors, where = dict(source), "the state dict"
    else:
        tensors, where = read_tensors(Path(source)), safe_text(Path(source).name)
        origin = origin or _torchvision_file(Path(source))
    check_origin(model.spec, origin, where)
    return fit_weights(model, tensors, where)


def fit_weights(
    model: ResidualNetwork | VGGNetwork,
    source: Mapping[str, Tensor],
    where: str,
    network: AnyNetwork | None = None,
) -> Loaded:
    """Copy a state dict of any publisher into MODEL; all or nothing. NETWORK is what it was made for, where known."""
    if network and _levelled(network) != _levelled(model.spec):
        raise WeightsError(f"{where} is a {name_of(network)}, not a {name_of(model.spec)}")
    tensors = our_names(source)
    own = model.state_dict()
    notes = [*_fit_classifier(model, tensors, own), *_fit_channels(tensors, own)]
    for name, tensor in own.items():  # files made before PyTorch 0.4.1 do not count batches
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, tensor)
    _check_equal_shapes(tensors, own, where, name_of(model.spec))
    model.load_state_dict(tensors, strict=True)
    for note in notes:
        log.warning("%s: %s", where, note)
    return Loaded(tuple(notes))


def _levelled(network: AnyNetwork) -> AnyNetwork:
    """The network without what a new classifier, other channels or another image size change."""
    return replace(network, classes=1, channels=1, size=1)


def our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of another publisher under our names (timm's VGG, the published CIFAR networks)."""
    prefixes = [pair for publisher in PUBLISHERS.values() for pair in publisher.prefixes]
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = _renamed(name, prefixes)
        if ours in renamed:
            raise WeightsError(f"'{short(ours)}' stands in it twice, under two publishers' names")
        renamed[ours] = _flat(name, tensor)
    return renamed


def timm_vgg_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of one of our VGGs under timm's names, its first two linear layers as convolutions."""
    back = [(ours, theirs) for theirs, ours in PUBLISHERS["timm"].prefixes]
    shapes = {"classifier.0.weight": (7, 7), "classifier.3.weight": (1, 1)}
    return {
        _renamed(name, back): t.reshape(len(t), -1, *shapes[name]) if name in shapes else t
        for name, t in tensors.items()
    }


def _renamed(name: str, prefixes: list[tuple[str, str]]) -> str:
    for theirs, ours in prefixes:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def _flat(name: str, tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if name.startswith("pre_logits.") and tensor.dim() == 4 else tensor


def check_origin(spec: AnyNetwork, origin: str | None, where: str) -> None:
    """Raise WeightsError where weights of ORIGIN would load into SPEC without fitting it (decision 3)."""
    if not isinstance(spec, Network) or spec.unit.convs != BOTTLENECK or not spec.stem.pool:
        return
    strided = PUBLISHERS[origin].strided if origin else None
    if strided is None:
        choices = ", ".join(name for name, publisher in PUBLISHERS.items() if publisher.strided is not None)
        raise WeightsError(
            f"{where}: cannot tell whether its stride stands in the 3x3 or in the first 1x1 convolution; "
            f"say where it comes from with --origin ({choices})"
        )
    if strided != spec.unit.strided:
        right = name_of(replace(spec, unit=replace(spec.unit, strided=strided)))
        right = "a network that has it there too" if right == "custom" else right
        place = "3x3" if strided else "first 1x1"
        raise WeightsError(
            f"{where}: weights of {origin} have their stride in the {place} convolution; load them into {right}, "
            f"not {name_of(spec)}"
        )


def _torchvision_file(path: Path) -> str | None:
    """ "torchvision" for a file such as resnet50-0676ba61.pth whose name carries the start of its own sha256."""
    match = re.fullmatch(r"resnet\d+-([0-9a-f]{8})\.pth", path.name)
    if match and hashlib.sha256(path.read_bytes()).hexdigest().startswith(match[1]):
        return "torchvision"
    return None


def _fit_classifier(
    model: ResidualNetwork | VGGNetwork, tensors: dict[str, Tensor], own: Mapping[str, Tensor]
) -> list[str]:
    weight, bias = f"{model.classifier_name}.weight", f"{model.classifier_name}.bias"
    found = tensors.get(weight)
    if found is None or found.dim() != 2 or found.shape[0] == own[weight].shape[0]:
        return []
    if found.shape[1] != own[weight].shape[1]:
        return []
    tensors |= {weight: own[weight], bias: own[bias]}
    return [
        f"new classifier for {own[weight].shape[0]} classes; the body is kept, the file has {found.shape[0]} classes"
    ]


def _fit_channels(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    first = next(iter(own))
    found, wanted = tensors.get(first), own[first]
    if found is None or found.dim() != 4 or found.shape[1] == wanted.shape[1]:
        return []
    if found.shape[0] != wanted.shape[0] or found.shape[2:] != wanted.shape[2:]:
        return []
    have, want = found.shape[1], wanted.shape[1]
    if want == 1:
        tensors[first] = found.sum(1, keepdim=True)
        return [f"{first}: {have} input channels summed into one"]
    tensors[first] = found[:, torch.arange(want) % have] * (have / want)
    return [f"{first}: {have} input channels repeated to {want} and scaled by {have}/{want}"]


def _check_equal_shapes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str, network: str) -> None:
    differences = [f"missing {name}" for name in own if name not in tensors]
    differences += [f"unexpected {short(name)}" for name in tensors if name not in own]
    differences += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if differences:
        more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
        raise WeightsError(f"{where} does not fit {network}: {'; '.join(differences[:10])}{more}")


def class_count(tensors: Mapping[str, Tensor]) -> int:
    """How many classes the classifier of a state dict has, under any publisher's names."""
    for name in ("fc.weight", "classifier.6.weight"):
        if name in (renamed := our_names(tensors)):
            return renamed[name].shape[0]
    raise UsageError("the file has no classifier; give the number of classes")
