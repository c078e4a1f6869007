"""From a picture of any size to the network's input: one value for evaluate, predict, serve and export. No torch."""

import base64
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .images import ImageError

# Channel means and standard deviations of RGB in 0..1; CIFAR's are those of the data set, not of per-image values.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159)),
    "none": ((0.0,), (1.0,)),
}
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MAX_RESIZED_PIXELS = 4_000_000  # of a picture that a resize makes
_BLOCK = 24_576  # numbers
Picture = Image.Image | NDArray[np.uint8]  # of colours or gray, or an array (H, W, channels)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input of shape (channels, size, size).

    fit: "crop" resizes the shorter side to size / crop_pct and takes the centre; "pad" resizes the longer side to
    size and fills up with the mean colour; "squash" resizes both. mean, std: per channel, of values in 0..1.
    pixel_mean: base64 of a float32 (size, size, channels) mean image in 0..1, subtracted instead of `mean`
    (he2015 section 4.2). Resizing is Pillow's, with antialiasing; channels that are no colours are resized
    one by one.
    """

    size: int = 224
    channels: int = 3
    fit: Literal["crop", "pad", "squash"] = "crop"
    crop_pct: float = 0.875
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = NORMALIZATIONS["imagenet"][0]
    std: tuple[float, ...] = NORMALIZATIONS["imagenet"][1]
    pixel_mean: str | None = None

    def view(self, image: Picture) -> NDArray[np.uint8]:
        """What the network sees of a picture, uint8 (size, size, channels).

        An array is uint8 (H, W, channels). Raises ImageError for absurd shapes and for another number of channels.
        """
        if not isinstance(image, Image.Image) or self.channels not in (1, 3):
            each = zip(bands(image, self.channels), self.mean, strict=True)
            return np.concatenate([self._one(mean).view(band) for band, mean in each], axis=-1)
        image = colours(image, self.channels)
        image = {"crop": self._crop, "pad": self._pad, "squash": self._squash}[self.fit](image)
        return np.asarray(image, dtype=np.uint8).reshape(self.size, self.size, self.channels)

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (…, H, W, channels) → float32 (…, channels, H, W)."""
        return np.ascontiguousarray(np.moveaxis(self.normalised(pixels), -1, -3))

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (…, H, W, channels) → float32 of the same shape.

        Factors are spread over many pixels first (a loop over three channels at a time takes nine times as long), and
        as many numbers as stay in the cache go through all of it before the next ones.
        """
        offset = np.broadcast_to(self.offset, pixels.shape[-self.offset.ndim :])
        block = max(1, _BLOCK // offset.size) * offset.size
        scales, offsets = (
            np.frombuffer(each.tobytes() * (block // each.size), np.float32) for each in (self.scale, offset)
        )
        images = np.empty(pixels.shape, np.float32)
        numbers, given = images.reshape(-1), pixels.reshape(-1)
        for first in range(0, given.size, block):
            part = numbers[first : first + block]
            part[:] = given[first : first + block]
            part *= scales[: part.size]
            part -= offsets[: part.size]
        return images

    def __call__(self, image: Picture) -> NDArray[np.float32]:
        """The network's input for a picture, float32 (channels, size, size)."""
        return self.normalise(self.view(image))

    @property
    def shorter(self) -> int:
        """The side in pixels that "crop" brings a picture's shorter side to."""
        return max(self.size, int(self.size / self.crop_pct))

    @property
    def enough(self) -> int:
        """Pixels that the shorter side of a JPEG keeps that is decoded smaller (`Limits.enough`): twice the need."""
        return 2 * self.shorter

    @cached_property
    def scale(self) -> NDArray[np.float32]:
        """Factor of a byte per channel: 1 / (255 · std)."""
        return (1 / (255 * np.asarray(self.std, np.float64))).astype(np.float32)

    @cached_property
    def offset(self) -> NDArray[np.float32]:
        """What is subtracted after scaling: mean / std, per channel or per pixel."""
        mean = np.asarray(self.mean, np.float64)
        if self.pixel_mean is not None:
            flat = np.frombuffer(base64.b64decode(self.pixel_mean), "<f4")
            mean = flat.reshape(self.size, self.size, self.channels).astype(np.float64)
        return (mean / np.asarray(self.std, np.float64)).astype(np.float32)

    def with_pixel_mean(self, mean: NDArray[np.floating]) -> "Preprocessing":
        """The same with a mean image, (size, size, channels) in 0..1, and no division by a deviation."""
        data = base64.b64encode(np.asarray(mean, "<f4").tobytes()).decode()
        channel = tuple(round(float(m), 6) for m in mean.mean(axis=(0, 1)))
        return replace(self, pixel_mean=data, mean=channel, std=(1.0,) * self.channels)

    def _one(self, mean: float) -> "Preprocessing":
        return replace(self, channels=1, mean=(mean,), std=(1.0,), pixel_mean=None)

    def _crop(self, image: Image.Image) -> Image.Image:
        image = self.resized(image, min(image.size), self.shorter)
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size))

    def _pad(self, image: Image.Image) -> Image.Image:
        image = self.resized(image, max(image.size), self.size)
        colour = tuple(round(255 * m) for m in self.mean)
        sheet = Image.new(image.mode, (self.size, self.size), colour if self.channels > 1 else colour[0])
        sheet.paste(image, ((self.size - image.width) // 2, (self.size - image.height) // 2))
        return sheet

    def _squash(self, image: Image.Image) -> Image.Image:
        return image.resize((self.size, self.size), FILTERS[self.interpolation])

    def resized(self, image: Image.Image, side: int, target: int) -> Image.Image:
        """IMAGE with its side of so many pixels brought to TARGET and the other one in proportion, rounded down."""
        width, height = (max(1, s * target // side) for s in image.size)
        if width * height > MAX_RESIZED_PIXELS:
            raise ImageError(f"{image.width} x {image.height} is too long and thin to resize; use --fit squash")
        return image if (width, height) == image.size else image.resize((width, height), FILTERS[self.interpolation])


def bands(picture: Picture, channels: int) -> list[Image.Image]:
    """Every channel of a picture as a gray one. Raises ImageError where the network takes another number of them."""
    pixels = np.atleast_3d(np.asarray(picture))
    if pixels.shape[2] != channels:
        raise ImageError(f"picture of {pixels.shape[2]} channels, the network takes {channels}")
    return [Image.fromarray(np.ascontiguousarray(pixels[..., channel])) for channel in range(channels)]


def normalization(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation called NAME for images of so many channels; gray gets the average of the colours."""
    mean, std = NORMALIZATIONS[name]
    if len(mean) == channels:
        return mean, std
    return (float(np.mean(mean)),) * channels, (float(np.mean(std)),) * channels


def colours(image: Image.Image, channels: int) -> Image.Image:
    """IMAGE in gray or RGB, itself where it is that already."""
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)
