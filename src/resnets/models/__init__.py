"""Networks: values of `spec` become modules with the ecosystem's parameter names."""

from .network import ResidualNetwork, build, create_model, initialise
from .vgg import VGGNetwork
from .weights import load_weights

__all__ = ["ResidualNetwork", "VGGNetwork", "build", "create_model", "initialise", "load_weights"]
