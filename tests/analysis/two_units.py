"""Networks of a few units whose BNs are not trivial, and batches of noise."""

import numpy as np
import torch
from torch import nn

from resnets.data.batches import Batch
from resnets.models import build
from resnets.spec import BASIC, VGG, Network, Stage, Stem, Unit

OPTION_A = Unit(BASIC, shortcut="A")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def realistic(model, seed=0):
    """MODEL in eval mode, its BNs with scales, shifts and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for bn in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            for tensor, low in ((bn.weight, 0.5), (bn.bias, -0.5), (bn.running_mean, -0.5), (bn.running_var, 0.5)):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return model.eval()


def net(unit=OPTION_A, units=(1, 1), widths=(4, 8), seed=0, kernel=3):
    """A network of one unit of each width, unless UNITS says otherwise."""
    torch.manual_seed(seed)
    stages = tuple(Stage(n, width, 1 + (i > 0)) for i, (n, width) in enumerate(zip(units, widths, strict=True)))
    return realistic(build(Network(Stem(kernel, 4), stages, unit, classes=3, size=8)), seed)


def vgg(convs=(2, 1), bn=True):
    torch.manual_seed(0)
    return realistic(build(VGG(convs, bn, classes=3, size=8, widths=(4, 8), hidden=6)))


def batches(sizes=(7, 5), seed=3):
    generator = torch.Generator().manual_seed(seed)
    done, found = 0, []
    for count in sizes:
        images = torch.randn(count, 3, 8, 8, generator=generator)
        labels = torch.randint(0, 3, (count,), generator=generator)
        found.append(Batch(images, labels, np.arange(done, done + count)))
        done += count
    return found


def hooks(model):
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)


@torch.no_grad()
def outputs(model):
    return torch.cat([model(batch.images) for batch in batches()])
