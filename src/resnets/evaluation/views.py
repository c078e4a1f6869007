"""From pictures to the views of a protocol, at exact pixel positions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..data.batches import Batch, in_order, testing_batches
from ..data.images import ImageError
from ..data.preprocessing import MAX_RESIZED_PIXELS, Picture, Preprocessing, bands, colours
from ..data.sources import Source
from ..errors import DataError, UsageError
from .protocol import Protocol, check, side

_OWN = {"bilinear": "bilinear-antialias", "bicubic": "bicubic"}  # what Pillow does by these names
_FILTERS = {"bilinear-antialias": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_HALVES: dict[str, Callable[[int], int]] = {
    "floor": lambda gap: gap // 2,
    "ceil": lambda gap: -(-gap // 2),
    "half-even": lambda gap: round(gap / 2),
}


@dataclass(frozen=True)
class ViewBatch:
    """The views of N pictures: at each scale groups of one shape, (rows (n,), images (n, views, C, h, w)).

    labels, indices, bad: as in `Batch`.
    """

    scales: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    labels: Tensor
    indices: NDArray[np.int64]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def views(picture: Picture, preprocessing: Preprocessing, protocol: Protocol) -> list[NDArray[np.float32]]:
    """The views of a picture at each scale, (views, channels, h, w) as the network takes them, mirrored ones last.

    What is resized is the whole picture in the way the model's preprocessing fits it: in its own proportions ("crop"),
    on a square sheet of the mean colour ("pad"), or as a square ("squash"). A mean image is subtracted from views of
    its size, its mean per channel from others. Raises ImageError.
    """
    if not protocol.scales:
        return [expanded(preprocessing.normalise(preprocessing.view(picture))[None], protocol)]
    interpolation = _OWN[preprocessing.interpolation] if protocol.interpolation == "own" else protocol.interpolation
    size, found = side(protocol.size, preprocessing.size), []
    for scale in (side(pixels, preprocessing.size) for pixels in protocol.scales):
        pixels = resized(picture, preprocessing, scale, interpolation)
        windows = [pixels]
        if protocol.crops != "dense":
            corners = positions((pixels.shape[0], pixels.shape[1]), scale, size, protocol)
            windows = [pixels[y : y + size, x : x + size] for y, x in corners]
        found.append(expanded(_normalised(np.stack(windows), preprocessing), protocol))
    return found


def positions(shape: tuple[int, int], scale: int, size: int, protocol: Protocol) -> list[tuple[int, int]]:
    """Top and left of the crops of SIZE in a picture of SHAPE: top left, top right, bottom left, bottom right, centre.

    A protocol of one crop has the centre only (correctness point 30).
    """
    half = _HALVES[protocol.offset]
    (height, width), top, left = shape, 0, 0
    if protocol.corners == "square":
        top, left, height, width = half(height - scale), half(width - scale), scale, scale
    centre = top + half(height - size), left + half(width - size)
    if protocol.crops == "center":
        return [centre]
    bottom, right = top + height - size, left + width - size
    return [(top, left), (top, right), (bottom, left), (bottom, right), centre]


def resized(picture: Picture, preprocessing: Preprocessing, scale: int, interpolation: str) -> NDArray[np.uint8]:
    """The whole picture with its shorter side at SCALE, or as a square of it, uint8 (H, W, channels)."""
    channels, fit = preprocessing.channels, preprocessing.fit
    if isinstance(picture, Image.Image) and channels in (1, 3):
        picture = colours(picture, channels)
    parts = bands(picture, channels)
    width, height = parts[0].size
    if fit == "squash":
        shape = scale, scale
    else:
        reference = min(width, height) if fit == "crop" else max(width, height)
        shape = max(1, width * scale // reference), max(1, height * scale // reference)
    if shape[0] * shape[1] > max(MAX_RESIZED_PIXELS, 4 * scale * scale):
        raise ImageError(f"{width} x {height} is too long and thin to resize; use --fit squash")
    pixels = np.stack([_resize(part, shape, interpolation) for part in parts], -1)
    if fit != "pad":
        return pixels
    sheet = np.empty((scale, scale, channels), np.uint8)
    sheet[:] = [round(255 * mean) for mean in preprocessing.mean]
    left, top = (scale - shape[0]) // 2, (scale - shape[1]) // 2
    sheet[top : top + shape[1], left : left + shape[0]] = pixels
    return sheet


def _resize(band: Image.Image, shape: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """A gray picture at SHAPE, which is (width, height)."""
    if shape == band.size:
        return np.asarray(band)
    if interpolation in _FILTERS:
        return np.asarray(band.resize(shape, _FILTERS[interpolation]))
    values = torch.from_numpy(np.array(band, np.float32))[None, None]
    values = F.interpolate(values, (shape[1], shape[0]), mode="bilinear", align_corners=False)
    return values[0, 0].round().to(torch.uint8).numpy()


def _normalised(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    if pixels.shape[1:3] != (preprocessing.size, preprocessing.size):
        preprocessing = replace(preprocessing, pixel_mean=None)
    return preprocessing.normalise(pixels)


def expanded(images: NDArray[np.float32], protocol: Protocol) -> NDArray[np.float32]:
    """Views (…, views, channels, h, w) with their shifts and mirrors; row by row, the mirrored ones last."""
    if protocol.crops == "shifts":
        shift, (height, width) = protocol.shift, images.shape[-2:]
        if shift >= min(height, width):
            raise UsageError(f"shift is {shift}; views of {width} x {height} pixels would show nothing")
        padded = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(shift, shift)] * 2)
        offsets = (0, shift, 2 * shift)
        images = np.concatenate([padded[..., y : y + height, x : x + width] for y in offsets for x in offsets], axis=-4)
    return np.concatenate([images, images[..., ::-1]], axis=-4) if protocol.flip else images


def view_batches(
    source: Source,
    preprocessing: Preprocessing,
    protocol: Protocol,
    batch_size: int = 128,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[ViewBatch]:
    """Every picture once, in order, in batches of about BATCH_SIZE views of the training size; bad ones are named.

    shard: (rank, count) takes every count-th batch from batch `rank` on; the batches are the same for any count.
    """
    count = max(1, int(batch_size / check(protocol).views))
    if protocol.scales:
        yield from in_order(_Views(source, preprocessing, protocol), len(source), count, workers, shard)
        return
    for batch in testing_batches(source, preprocessing, count, workers, shard):
        yield single(batch, protocol)


def single(batch: Batch, protocol: Protocol) -> ViewBatch:
    """Views that are made of the one view of each image in BATCH."""
    images = torch.from_numpy(np.ascontiguousarray(expanded(batch.images.numpy()[:, None], protocol)))
    groups = ((torch.arange(len(batch)), images),) if len(batch) else ()
    return ViewBatch((groups,), batch.labels, batch.indices, batch.bad)


class _Views(Dataset[ViewBatch]):
    """Answers lists of (−1, index) with the views of these pictures."""

    def __init__(self, source: Source, preprocessing: Preprocessing, protocol: Protocol) -> None:
        self.source, self.preprocessing, self.protocol = source, preprocessing, protocol

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> ViewBatch | DataError:
        """An error is handed over, not raised: a worker would wrap its message in a traceback."""
        found: list[list[NDArray[np.float32]]] = []
        used: list[int] = []
        bad: list[tuple[str, str]] = []
        for _, index in keys:
            try:
                enough = 0 if self.protocol.scales else self.preprocessing.enough
                found.append(views(self.source.picture(index, enough), self.preprocessing, self.protocol))
                used.append(index)
            except ImageError as error:
                bad.append((self.source.name(index), str(error)))
            except DataError as error:
                return error
        indices = np.array(used, dtype=np.int64)
        scales = tuple(_grouped(each) for each in zip(*found, strict=True))
        return ViewBatch(scales, torch.from_numpy(self.source.labels[indices]), indices, tuple(bad))


def _grouped(images: Sequence[NDArray[np.float32]]) -> tuple[tuple[Tensor, Tensor], ...]:
    """The views of each picture at one scale, those of a shape together."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, each in enumerate(images):
        rows.setdefault(each.shape, []).append(row)
    return tuple((torch.tensor(same), torch.from_numpy(np.stack([images[i] for i in same]))) for same in rows.values())
