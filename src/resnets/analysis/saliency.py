"""Where on a picture a network sees a class: class activation maps, and Grad-CAM where they do not exist."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..evaluation.scoring import evaluating
from ..models import ResidualNetwork, VGGNetwork
from ..models.device import device_of, moved

_SIDE = 320  # pixels of an overlay, at least
_COLOURS = "inferno"
_OPACITY = 0.55


@dataclass(frozen=True, eq=False)
class Saliency:
    """A map float32 (h, w): what every place of the last feature map adds to the class LABEL.

    method: "CAM" (arXiv:1512.04150) for global average pooling and a linear classifier: the mean of the map plus the
    classifier's bias is exactly the class's logit. "Grad-CAM" (arXiv:1610.02391) for others: the positive part of the
    channels, weighted by their mean gradient.
    """

    method: Literal["CAM", "Grad-CAM"]
    label: int
    probability: float
    values: NDArray[np.float32]

    def as_dict(self) -> dict[str, Any]:
        """The keys that `resnets explain --json` documents, beside the class's name."""
        values = [[round(float(value), 6) for value in row] for row in self.values]
        return {"method": self.method, "probability": round(self.probability, 6), "map": values}


def saliency(
    model: ResidualNetwork | VGGNetwork, image: NDArray[np.float32], label: int | None = None, temperature: float = 1.0
) -> Saliency:
    """The map of an input (channels, size, size) for class LABEL, default the model's own answer."""
    inputs = moved(torch.from_numpy(image)[None], device_of(model))
    explain = _class_activation if isinstance(model, ResidualNetwork) else _gradient_weighted
    with evaluating([model]), torch.enable_grad():
        logits, features = _passed(model, inputs)
        label = int(logits.argmax(1)) if label is None else label
        values = explain(model, features, logits[0, label], label)  # type: ignore[arg-type]
    method = "CAM" if isinstance(model, ResidualNetwork) else "Grad-CAM"
    probability = float((logits[0].detach().float() / temperature).softmax(0)[label])
    return Saliency(method, label, probability, values.detach().float().cpu().numpy())


def _passed(model: ResidualNetwork | VGGNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (1, classes) and the feature maps (1, C, h, w) that are weighted; of a VGG those before its last pool."""
    if isinstance(model, VGGNetwork):
        features = model.features[:-1](inputs)
        return model.forward_head(model.features[-1](features)), features
    features = model.forward_features(inputs)
    return model.forward_head(features), features


def _class_activation(model: ResidualNetwork, features: Tensor, logit: Tensor, label: int) -> Tensor:
    return torch.einsum("c,chw->hw", model.fc.weight[label], features[0])


def _gradient_weighted(model: VGGNetwork, features: Tensor, logit: Tensor, label: int) -> Tensor:
    (slopes,) = torch.autograd.grad(logit, features)
    return torch.einsum("c,chw->hw", slopes[0].mean((1, 2)), features[0]).relu()


def overlay(pixels: NDArray[np.uint8], found: Saliency) -> bytes:
    """The map over what the network saw, uint8 (size, size, channels), as a PNG: bright is for the class."""
    from matplotlib import colormaps

    side = max(_SIDE, pixels.shape[0])
    seen = pixels if pixels.shape[2] == 3 else pixels.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8)
    picture = Image.fromarray(seen).resize((side, side), Image.Resampling.BICUBIC)
    low, high = float(found.values.min()), float(found.values.max())
    scaled = (found.values - low) / (high - low or 1.0)
    smooth = np.asarray(Image.fromarray(scaled.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
    heat = Image.fromarray((colormaps[_COLOURS](smooth)[..., :3] * 255).astype(np.uint8))
    out = io.BytesIO()
    Image.blend(picture, heat, _OPACITY).save(out, "PNG")
    return out.getvalue()
