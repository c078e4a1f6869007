"""Rows that several ImageNet tables share: the label of the papers, and the network that it means."""

from ..report.parts import Part
from .experiment import Row
from .published import lookup, table

# The papers' bottlenecks have their stride in the first 1x1.
NETWORKS = {
    "VGG-16": "vgg16", "plain-18": "plain18", "plain-34": "plain34", "ResNet-18 A": "resnet18_a",
    "ResNet-34 A": "resnet34_a", "ResNet-34 B": "resnet34", "ResNet-34 C": "resnet34_c", "ResNet-50": "resnet50_v1",
    "ResNet-101": "resnet101_v1", "ResNet-152": "resnet152_v1",
}  # fmt: skip


# Errors that others report of option B and of bottlenecks: table → name of a row, by layers.
_TEN_CROPS = {"fb_torch.10crop": "ResNet-{}", "kh_repo.10crop": "ResNet-{}"}
_ONE_CROP = {
    "kh_repo.1crop": ("model", "ResNet-{}"), "fb_torch.1crop": ("model", "ResNet-{}"),
    "tensorpack.imagenet": ("model", "ResNet{}"), "torchvision.resnet": ("weights", "resnet{} V1"),
}  # fmt: skip


def row(label: str, published: dict[str, float], protocol: str) -> Row:
    """The row called LABEL, of ten crops with what other implementations report."""
    figures = {name: published[name] for name in ("top1", "top5") if name in published}
    name, _, option = label.removeprefix("ResNet-").partition(" ")
    found = dict[str, float]()
    for table_, pattern in _TEN_CROPS.items() if protocol == "10-crop" and option in ("", "B") else ():
        found |= lookup(table_, "model", pattern.format(name), "top1")
    return Row(label, NETWORKS.get(label, ""), figures, found, protocol=protocol)


def one_crop(found: object, out: object) -> list[Part]:
    """What other implementations report of the center crop, which this table does not have."""
    head, layers = ("ResNet-", *(table(name)["source"] for name in _ONE_CROP)), (18, 34, 50, 101, 152)
    lines = [
        (str(n), *(_told(name, key, pattern.format(n)) for name, (key, pattern) in _ONE_CROP.items())) for n in layers
    ]
    told = (
        "Top-1 error in percent. kh_repo: the paper's own models. The others also trained on windows of other aspect "
        "ratios, which the paper did not: fb_torch gained 1.2 points by them with 34 layers. fb_torch and torchvision "
        "have a bottleneck's stride in its 3×3. None of this is comparable with the paper's recipe.",
    )
    return [Part("One crop, as others report it", (head, *lines), text=told)]


def _told(name: str, key: str, value: str) -> str:
    errors = lookup(name, key, value, "top1") or {
        source: 100 - accuracy for source, accuracy in lookup(name, key, value, "acc1").items()
    }
    return next((f"{error:.2f}" for error in errors.values()), "–")
