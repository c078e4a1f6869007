"""A detector's model folder: weights, value, class names, how pictures become its input."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import files
from ..errors import WeightsError, safe_text
from ..families import name_of
from ..models.folder import head, read_folder
from ..spec import Detector
from ..training.checkpoint import check_finite, pack
from .rcnn import DetectorNetwork
from .recipe import Inference, Regions


@dataclass(frozen=True, eq=False)
class DetectorBundle:
    """A detector as it is kept: its value, weights, what its classes are called, and how pictures become its input."""

    detector: Detector
    regions: Regions
    testing: Inference
    normalize: str
    tensors: dict[str, Tensor]
    classes: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def model(self) -> DetectorNetwork:
        """The module with the weights, in eval mode."""
        model = DetectorNetwork(self.detector, self.regions, self.normalize)
        model.load_state_dict(self.tensors, strict=True)
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@dataclass(frozen=True)
class _Section:
    """Our own section of a detector's config.json, format 1."""

    format: int
    version: str
    detector: Detector
    regions: Regions
    testing: Inference
    normalize: str
    facts: dict[str, Any]


def save(bundle: DetectorBundle, folder: Path) -> None:
    """Write BUNDLE as FOLDER, all or nothing, replacing an older one. Raises NumericError for weights not finite."""
    check_finite(bundle.tensors, safe_text(folder.name))
    network = bundle.detector.network
    own = {name: asdict(getattr(bundle, name)) for name in ("detector", "regions", "testing")}
    config = {
        "architecture": f"{name_of(network)}-{bundle.detector.design.lower()}",
        "num_classes": bundle.detector.classes,
        "label_names": list(bundle.classes),
        "resnets": {**head(), **own, "normalize": bundle.normalize, "facts": bundle.facts},
    }
    contents = {
        "model.safetensors": pack(bundle.tensors, {"format": "pt"}),
        "config.json": (json.dumps(config, indent=2, allow_nan=False) + "\n").encode(),
        "README.md": card(bundle).encode(),
    }
    files.write_folder(folder, contents, {})


def load(folder: Path) -> DetectorBundle:
    """The detector in FOLDER. Raises WeightsError for one that is damaged, or holds a classifier."""
    own, classes, tensors = read_folder(
        folder, _Section, "detector", lambda found: DetectorNetwork(found.detector, found.regions, found.normalize)
    )
    if len(classes) != own.detector.classes:
        raise WeightsError(
            f"{safe_text(str(folder))}: config.json names {len(classes)} of {own.detector.classes} classes"
        )
    return DetectorBundle(own.detector, own.regions, own.testing, own.normalize, tensors, classes, own.facts)


def card(bundle: DetectorBundle) -> str:
    """The model card: the hub's YAML head, then use, data, figures and limits, from the run record."""
    facts = bundle.facts
    figures = [f"* {key}: {facts[key]:.3f}" for key in ("val_ap", "test_ap") if facts.get(key) is not None]
    told = [f"* {key}: {safe_text(str(facts[key]))}" for key in ("metric", "seed", "epoch", "recipe") if key in facts]
    lines = [
        "---",
        "library_name: resnets",
        "pipeline_tag: object-detection",
        "---",
        f"# {name_of(bundle.detector.network)} {bundle.detector.design} for {safe_text(str(facts.get('data', '')))}",
        "",
        f"{len(bundle.classes)} classes: {', '.join(map(safe_text, bundle.classes[:20]))}.",
        "",
        "## Use",
        "",
        "```bash",
        "resnets detect predict FOLDER picture.jpg --draw out/",
        "```",
        "",
        "## Data and figures",
        "",
        *figures,
        *told,
        "",
        "## Limits",
        "",
        "The figures hold for pictures like those it was tested on. It names nothing but its classes.",
        "",
    ]
    return "\n".join(lines)
