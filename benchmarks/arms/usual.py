"""torchvision's first transforms over PIL images, as the usual scripts load CIFAR-10 and ImageNet."""

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from resnets.data.preprocessing import NORMALIZATIONS

from .inputs import cifar, photographs

CIFAR_CHAIN = (transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip())
IMAGENET_CHAIN = (transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip())


def chain(parts: tuple[Callable[[Any], Any], ...], normalization: str) -> transforms.Compose:
    """PARTS, then a tensor, normalised."""
    last = transforms.Normalize(*NORMALIZATIONS[normalization])
    return transforms.Compose([*parts, transforms.ToTensor(), last])


class Cifar(Dataset[Any]):
    """`torchvision.datasets.CIFAR10` over the publisher's binary files."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        (self.images, self.labels), self.transform = cifar("train"), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class Folder(Dataset[Any]):
    """`torchvision.datasets.ImageFolder` over the photographs."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        source, self.transform = photographs(), transform
        self.paths = [source.root / name for name in source.names]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with self.paths[index].open("rb") as file:
            return self.transform(Image.open(file).convert("RGB")), index
