"""Rows that several ImageNet tables share: the label of the papers, and the network that it means."""

from .experiment import Row
from .published import lookup

# The papers' bottlenecks have their stride in the first 1x1.
NETWORKS = {
    "VGG-16": "vgg16", "plain-18": "plain18", "plain-34": "plain34", "ResNet-18 A": "resnet18_a",
    "ResNet-34 A": "resnet34_a", "ResNet-34 B": "resnet34", "ResNet-34 C": "resnet34_c", "ResNet-50": "resnet50_v1",
    "ResNet-101": "resnet101_v1", "ResNet-152": "resnet152_v1",
}  # fmt: skip


def row(label: str, published: dict[str, float], protocol: str, others: str = "") -> Row:
    """The row called LABEL; OTHERS is the id of a table of other implementations under the same protocol."""
    found = lookup(others, "model", label, "top1") if others else {}
    figures = {name: published[name] for name in ("top1", "top5") if name in published}
    return Row(label, NETWORKS.get(label, ""), figures, found, protocol=protocol)
