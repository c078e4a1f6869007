"""VGG-16 and VGG-19 with torchvision's parameter names: features.N, classifier.N."""

import torch
from torch import Tensor, nn

from ..spec import VGG
from .layers import BatchNorm


class VGGNetwork(nn.Module):
    """Groups of 3×3 convolutions, each ended by 2×2 max pooling, then three linear layers (arXiv:1409.1556).

    (N, channels, H, W) → logits (N, classes); maps other than 7×7 are average-pooled to 7×7 as torchvision does.
    """

    def __init__(self, spec: VGG) -> None:
        super().__init__()
        self.spec = spec
        layers: list[nn.Module] = []
        channels = spec.channels
        for convs, width in zip(spec.convs, spec.widths, strict=True):
            for _ in range(convs):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [BatchNorm(width)] if spec.bn else []
                layers.append(nn.ReLU())
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 49, spec.hidden),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.hidden, spec.hidden),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.hidden, spec.classes),
        )

    @property
    def classifier_name(self) -> str:
        """The name of the linear layer that gives the logits."""
        return "classifier.6"

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, (N, 512, h, w)."""
        return self.features(x)

    def forward_head(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of a feature map."""
        return self.classifier(torch.flatten(self.avgpool(x), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.forward_head(self.forward_features(x))
