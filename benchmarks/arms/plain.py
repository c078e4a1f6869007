"""The CIFAR network as the usual script writes it, with torchvision's parameter names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.extra = (width - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """relu(F(x) + x)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        carried = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra)) if self.extra else x
        return F.relu(out + carried)


class PlainResNet(nn.Module):
    """The CIFAR network of so many layers, 6n + 2."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        units = (layers - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, units, 1)
        self.layer2 = _stage(16, 32, units, 2)
        self.layer3 = _stage(32, 64, units, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def _stage(inputs: int, width: int, units: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, width, stride), *(Block(width, width, 1) for _ in range(units - 1)))
