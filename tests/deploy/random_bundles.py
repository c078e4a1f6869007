"""Model folders with weights that nobody trained, but whose BNs do something."""

import functools
from dataclasses import replace

import pytest
import torch

from resnets.bundle import Bundle
from resnets.data.preprocessing import Preprocessing, normalization
from resnets.deploy.engines import Prepared
from resnets.deploy.runtimes import needed
from resnets.errors import EnvironmentProblem
from resnets.families import network
from resnets.models import create_model
from resnets.models.layers import BatchNorm


def module_of(name, channels=3):
    """The network NAME, or of this spec, in eval mode with random weights, and random statistics in every BN."""
    torch.manual_seed(0)
    model = create_model(name, 10, in_channels=channels).eval()
    for bn in (module for module in model.modules() if isinstance(module, BatchNorm)):
        torch.nn.init.uniform_(bn.weight, 0.5, 1.5)
        torch.nn.init.normal_(bn.bias, std=0.3)
        bn.running_mean.normal_(std=0.3)
        bn.running_var.uniform_(0.5, 2)
    return model


def bundle_of(name="cifar_resnet8", channels=3, size=16):
    """The same as a bundle for pictures of SIZE pixels."""
    mean, std = normalization("imagenet", channels)
    spec = replace(network(name) if isinstance(name, str) else name, classes=10, channels=channels, size=size)
    tensors = dict(module_of(name, channels).state_dict())
    return Bundle(spec, tensors, tuple("0123456789"), Preprocessing(size, channels, "crop", 1.0, mean=mean, std=std))


@functools.cache
def prepared():
    """The bundle and its forms, which take seconds to make: tests share them and change nothing."""
    return Prepared(bundle_of())


def require(*packages):
    """Skip a test module where an optional package is missing; it is imported as the command would."""
    for package in packages:
        try:
            needed(package, "")
        except EnvironmentProblem:
            pytest.skip(f"{package} is not installed", allow_module_level=True)
