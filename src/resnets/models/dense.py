"""A network as a fully convolutional one: its classifier at every window of the last feature map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import ResidualNetwork
from .vgg import VGGNetwork


class FullyConvolutional(nn.Module):
    """NETWORK at every window×window of its last feature map, stride 1: logits (N, classes, h, w).

    A residual network averages the window and its fc becomes a 1×1 convolution; of a VGG the first linear layer, with
    the pooling before it, becomes a convolution of the window's size, the others 1×1. A map smaller than a window is
    classified as a whole, in one position. The weights are those of the network at this moment.
    """

    def __init__(self, network: ResidualNetwork | VGGNetwork, window: int) -> None:
        super().__init__()
        if isinstance(network, VGGNetwork):
            first, *others = (layer for layer in network.classifier if isinstance(layer, nn.Linear))
            self.pool = nn.Identity()
            layers = [_windowed(first, network.avgpool, window), *map(_pointwise, others)]
        else:
            self.pool = nn.AvgPool2d(window, 1)
            layers = [_pointwise(network.fc)]
        self.network, self.window, self.layers = network, window, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, h, w)."""
        x = self.network.forward_features(x)
        if min(x.shape[2:]) < self.window:
            return self.network.forward_head(x)[:, :, None, None]
        x = self.layers[0](self.pool(x))
        for layer in self.layers[1:]:
            x = layer(F.relu(x))
        return x


def map_side(network: ResidualNetwork | VGGNetwork, size: int) -> int:
    """The side of the last feature map of an input of SIZE; NETWORK is in eval mode."""
    return network.forward_features(torch.zeros(1, network.spec.channels, size, size)).shape[-1]


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    """LINEAR as a 1×1 convolution."""
    return _convolution(linear, linear.weight[:, :, None, None])


def _windowed(linear: nn.Linear, pool: nn.AdaptiveAvgPool2d, window: int) -> nn.Conv2d:
    """LINEAR after POOL, which is linear too, as one convolution over windows; 7 by 7 the weights are as they are."""
    basis = torch.eye(window * window)
    pooling = pool(basis.view(-1, 1, window, window)).flatten(1)  # (window², 49)
    weight = linear.weight.view(linear.out_features, -1, pooling.shape[1]) @ pooling.T
    return _convolution(linear, weight.unflatten(2, (window, window)))


def _convolution(linear: nn.Linear, weight: Tensor) -> nn.Conv2d:
    with torch.device("meta"):
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]))
    layer.weight, layer.bias = nn.Parameter(weight.detach(), False), linear.bias
    return layer
