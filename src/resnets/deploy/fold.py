"""BN folded into the convolution before it: the same function with fewer layers, for inference only."""

import copy
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True, eq=False)
class Folded:
    """A network whose BNs have gone into the convolutions before them: so many of so many."""

    module: fx.GraphModule
    layers: int
    of: int


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def fold(model: nn.Module) -> Folded:
    """A copy of MODEL, which is in eval mode, with every BN that alone reads a convolution folded into its weights.

    A BN after an addition stays: in pre-activation nets the first one of every unit. Computed in float64.
    """
    model = copy.deepcopy(model)
    graph, modules = _Tracer().trace(model), dict(model.named_modules())
    layers = 0
    for node in list(graph.nodes):
        bn, before = modules.get(str(node.target)), node.args[0] if node.args else None
        if not (node.op == "call_module" and isinstance(bn, nn.BatchNorm2d) and isinstance(before, fx.Node)):
            continue
        conv = modules.get(str(before.target)) if before.op == "call_module" else None
        if isinstance(conv, nn.Conv2d) and len(before.users) == 1:
            model.set_submodule(str(before.target), fuse_conv_bn_eval(conv.double(), bn.double()).float())
            node.replace_all_uses_with(before)
            graph.erase_node(node)
            layers += 1
    of = sum(isinstance(module, nn.BatchNorm2d) for module in modules.values())
    return Folded(fx.GraphModule(model, graph), layers, of)
