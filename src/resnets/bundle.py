"""A model folder: weights, network, class names and preprocessing, in the layout that timm reads too."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from . import files
from .data.images import ImageError, Limits, decode_any, read_any
from .data.modes import flatten
from .data.preprocessing import Picture, Preprocessing
from .errors import WeightsError, safe_text
from .families import name_of
from .models import build
from .models.device import device_called, device_of, moved
from .models.folder import head, read_folder
from .models.network import ResidualNetwork
from .models.vgg import VGGNetwork
from .spec import AnyNetwork
from .training.checkpoint import check_finite, pack


@dataclass(frozen=True)
class Prediction:
    """A class name and its probability."""

    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Bundle:
    """A network with its weights, what its classes are called, and how pictures become its input.

    facts: what the run says of the model (data, errors, seed); shown in the model card. temperature: what logits are
    divided by before the softmax, fitted on validation data (arXiv:1706.04599). reject_below: an answer of less
    probability is "not sure"; 95 % of the validation images have more (arXiv:1610.02136), 0 where nothing is known.
    """

    network: AnyNetwork
    tensors: dict[str, Tensor]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    facts: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    reject_below: float = 0.0

    def model(self) -> ResidualNetwork | VGGNetwork:
        """The module with the weights, in eval mode; its bits do not depend on the memory format of `tensors`."""
        with torch.device("meta"):
            module = build(self.network)
        plain = {name: tensor.contiguous().view(-1).view(tensor.shape) for name, tensor in self.tensors.items()}
        module.load_state_dict(plain, strict=True, assign=True)
        return module.eval()

    def seen(self, image: Any) -> NDArray[np.float32]:
        """The network's input, (channels, size, size), of a path, bytes, a PIL image or pixels. Raises ImageError.

        Large JPEGs are decoded at a half, a quarter or an eighth, as long as twice the pixels that are needed remain.
        """
        return self.preprocessing(as_picture(image, self.preprocessing.enough))


def save(bundle: Bundle, folder: Path) -> None:
    """Write BUNDLE as FOLDER, all or nothing, replacing an older one. Raises NumericError for weights not finite."""
    check_finite(bundle.tensors, safe_text(folder.name))
    contents = {
        "model.safetensors": pack(bundle.tensors, {"format": "pt"}),
        "config.json": (json.dumps(config(bundle), indent=2, allow_nan=False) + "\n").encode(),
        "README.md": card(bundle).encode(),
    }
    files.write_folder(folder, contents, {})


def config(bundle: Bundle) -> dict[str, Any]:
    """The hub's config.json, with a section of our own that says everything `load` needs."""
    network, preprocessing = bundle.network, bundle.preprocessing
    channels, size = network.channels, preprocessing.size
    return {
        "architecture": name_of(network),
        "num_classes": network.classes,
        "num_features": network.features,
        "label_names": list(bundle.classes),
        "model_args": {"in_chans": channels} if channels != 3 else {},
        "pretrained_cfg": {
            "input_size": [channels, size, size],
            "fixed_input_size": False,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_pct,
            "crop_mode": {"crop": "center", "pad": "border", "squash": "squash"}[preprocessing.fit],
            "num_classes": network.classes,
            # timm's names: it renames torchvision's classifier.6 to head.fc before it looks for these two
            "first_conv": "features.0" if name_of(network).startswith("vgg") else "conv1",
            "classifier": "head.fc" if name_of(network).startswith("vgg") else "fc",
        },
        "resnets": {
            **head(),
            "network": asdict(network),
            "preprocessing": asdict(preprocessing),
            "facts": bundle.facts,
            "temperature": bundle.temperature,
            "reject_below": bundle.reject_below,
        },
    }


@dataclass(frozen=True)
class _Section:
    """Our own section of config.json, format 1."""

    format: int
    version: str
    network: AnyNetwork
    preprocessing: Preprocessing
    facts: dict[str, Any]
    temperature: float = 1.0
    reject_below: float = 0.0


def load(folder: Path) -> Bundle:
    """The bundle in FOLDER. Raises WeightsError for a folder that is none, is damaged, or is of a newer format."""
    own, classes, tensors = read_folder(folder, _Section, "classifier", lambda section: build(section.network))
    if len(classes) != own.network.classes:
        where = safe_text(str(folder))
        raise WeightsError(f"{where}: config.json names {len(classes)} classes, the network has {own.network.classes}")
    known = (own.facts, own.temperature, own.reject_below)
    return Bundle(own.network, tensors, classes, own.preprocessing, *known)


def card(bundle: Bundle) -> str:
    """The model card: the hub's YAML head, then use, data, figures and limits, from the run record."""
    facts = bundle.facts
    figures = {k: v for k, v in facts.items() if k.endswith("_error") and v is not None}
    lines = [
        "---",
        "library_name: resnets",
        "pipeline_tag: image-classification",
        "tags: [image-classification, resnet]",
        "---",
        f"# {name_of(bundle.network)} for {safe_text(str(facts.get('data', 'images')))}",
        "",
        f"{len(bundle.classes)} classes: {', '.join(safe_text(c) for c in bundle.classes[:20])}"
        + (" …" if len(bundle.classes) > 20 else "")
        + ".",
        "",
        "## Use",
        "",
        "```python",
        "import resnets",
        "",
        'print(resnets.load("FOLDER").predict("picture.jpg"))',
        "```",
        "",
        "## Data and figures",
        "",
        *(f"* {key}: {value if not isinstance(value, float) else f'{value:.2f} %'}" for key, value in figures.items()),
        *(f"* {key}: {safe_text(str(facts[key]))}" for key in ("split", "seed", "epoch", "recipe") if key in facts),
        "",
        "## Limits",
        "",
        "The figures hold for pictures like those it was tested on. It always answers with one of its classes,",
        "also for a picture of something else" + (_REJECTS.format(bundle.reject_below) if bundle.reject_below else "."),
        "",
    ]
    return "\n".join(lines)


_REJECTS = (
    "; an answer of probability below {:.2f}, as 5 % of its\nvalidation images get, is better read as 'not sure'."
)


class Classifier:
    """A loaded model that answers with names: `resnets.load(path).predict(image)`; device: for `device_called`."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.model: nn.Module = bundle.model().to(device_called(device))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.bundle.classes

    def predict(self, image: Any, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a picture, most probable first.

        image: a path, the bytes of a file, a PIL image, or uint8 or uint16 pixels
        (H, W) or (H, W, channels), where a second or fourth channel is alpha. Raises ImageError.
        """
        return self.predict_inputs([self.bundle.seen(image)], top)[0]

    @torch.inference_mode()
    def predict_inputs(self, inputs: list[Any], top: int = 5) -> list[list[Prediction]]:
        """The same for inputs that preprocessing has made, float32 (channels, size, size), in one batch."""
        batch = moved(torch.stack([torch.from_numpy(value) for value in inputs]), device_of(self.model))
        probabilities = (self.model(batch).float().cpu() / self.bundle.temperature).softmax(1)
        best = probabilities.topk(min(top, len(self.classes)), dim=1)
        return [
            [Prediction(self.classes[i], p) for i, p in zip(indices, values, strict=True)]
            for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def as_picture(image: Any, enough: int = 0) -> Picture:
    """A path, bytes, PIL image or pixels as a picture, by the rules of `data.images`. Raises ImageError.

    enough: as in its `Limits`.
    """
    limits = Limits(enough=enough)
    readers: list[tuple[tuple[type, ...], Callable[[Any], Picture]]] = [
        ((str, Path), partial(read_any, limits=limits)),
        ((bytes,), partial(decode_any, limits=limits)),
        ((Image.Image,), _plain),
    ]
    for kinds, read in readers:
        if isinstance(image, kinds):
            return read(image)
    if getattr(image, "dtype", None) in ("uint8", "uint16") and image.ndim in (2, 3):
        return _plain(image)
    raise ImageError(
        f"cannot read a picture from {type(image).__name__}; give a path, bytes, a PIL image or uint8 pixels"
    )


def _plain(image: Any) -> Image.Image:
    """A PIL image or an array of pixels as the same picture would come from a file."""
    try:
        if not isinstance(image, Image.Image):
            pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
            if pixels.ndim == 3 and pixels.dtype == "uint16":
                pixels = (pixels >> 8).astype("uint8")  # as Pillow reads 16-bit colours
            image = Image.fromarray(pixels)
        return flatten(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Exception as error:  # Pillow raises whatever the damage leads to
        raise ImageError(f"not a picture: {safe_text(' '.join(str(error).split()))[:100]}") from error
