"""Pictures to compare and calibrate engines on: some of the user's data as the network sees them."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import testing
from ..bundle import Bundle, as_picture, load
from ..data.datasets import open_dataset
from ..data.folders import pictures_in
from ..data.images import ImageError
from ..data.preprocessing import Picture, Preprocessing, colours
from ..data.sources import Source
from ..errors import DataError, UsageError, safe_text
from ..record import model_folder, read_recipe, resolve, run_of

CALIBRATION = 300  # images
_ORIGINALS = 8  # pictures kept as they were
_LONGEST = 2000  # pixels a side of one
Originals = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Views uint8 (N, size, size, channels) to compare on, their labels int64 (N,) where known, others to calibrate on.

    name: what they are, for a person. originals: some of them in their own size, uint8 (H, W, channels), RGB or what
    the network takes.
    """

    name: str
    views: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    calibration: NDArray[np.uint8]
    originals: Originals = ()


def of_own(model: Path, data: str, count: int) -> tuple[Bundle, Pictures]:
    """The model of a run or model folder, and COUNT pictures: of DATA, else of its run's own data, else samples."""
    bundle, run = load(model_folder(model)), run_of(resolve(model))
    seen = bundle.preprocessing
    if data:
        return bundle, of_model(model, data, seen, count)
    if run:
        with suppress(DataError, UsageError):
            return bundle, of_model(model, read_recipe(run).data, seen, count)
    return bundle, of_samples(seen)


def of_foreign(model: testing.ForeignModel, data: str, count: int) -> tuple[Bundle, Pictures]:
    """A weights file of others as a bundle, its classes called as in DATA or by number, and COUNT pictures for it."""
    if data and not _is_plain(data):
        bundle = model.bundle(open_dataset(data).classes)
        return bundle, of_data(data, bundle.preprocessing, count, labelled=True)
    bundle = model.bundle()
    seen = bundle.preprocessing
    return bundle, of_folder(Path(data), seen, count) if data else of_samples(seen)


def of_model(model: Path, data: str, seen: Preprocessing, count: int) -> Pictures:
    """COUNT pictures that MODEL may be tested on and 300 of the training part of DATA; a plain folder has no labels."""
    if _is_plain(data):
        return of_folder(Path(data), seen, count)
    test, train = (testing.prepared([model], data, testing.Test(part=part)) for part in ("auto", "train"))
    held = test.source if test.part != "train" else test.source.subset(np.arange(0))
    views, labels, originals = _views(held, seen, count)
    calibration, _, _ = _views(train.source, seen, CALIBRATION)
    return _checked(Pictures(f"{test.dataset.name}, {test.part} part", views, labels, calibration, originals))


def of_data(data: str, seen: Preprocessing, count: int, labelled: bool = False) -> Pictures:
    """The same for a network that is of no run; LABELLED where it was trained on these classes in this order."""
    if _is_plain(data):
        return of_folder(Path(data), seen, count)
    dataset = open_dataset(data)
    part, held = next((n, p) for n, p in reversed(dataset.parts.items()))
    views, labels, originals = _views(held, seen, count)
    calibration, _, _ = _views(dataset.train, seen, CALIBRATION)
    known = labels if labelled else None
    return _checked(Pictures(f"{dataset.name}, {part} part", views, known, calibration, originals))


def of_folder(folder: Path, seen: Preprocessing, count: int) -> Pictures:
    """The pictures of a FOLDER without classes: at most half of them, 300, to calibrate on, COUNT others to compare."""
    names = pictures_in(folder)
    some = _spread(len(names), count + CALIBRATION)
    views, _, originals = _read((partial(as_picture, str(folder / names[i]), seen.enough) for i in some), seen)
    taken = np.arange(len(views)) % max(2, -(-len(views) // CALIBRATION)) == 0
    return _checked(Pictures(safe_text(folder.name), views[~taken][:count], None, views[taken], originals))


def of_samples(seen: Preprocessing) -> Pictures:
    """Windows of the two photographs that scikit-learn brings along, for who has no data at hand."""
    from sklearn.datasets import load_sample_images

    windows = [
        photograph[top : top + side, left : left + side * 4 // 3]
        for photograph in load_sample_images().images
        for side in (120, 200, 320)
        for top, left in ((0, 0), (60, 120), (100, 200))
    ]
    views, _, originals = _read((partial(_shown, window, seen.channels) for window in windows), seen)
    return Pictures("scikit-learn's two photographs", views, None, views[:0], originals)


def _shown(pixels: NDArray[np.uint8], channels: int) -> Picture:
    """RGB pixels as a picture for a network of so many CHANNELS: where they are no colours, the three come again."""
    return Image.fromarray(pixels) if channels in (1, 3) else np.resize(pixels, (*pixels.shape[:2], channels))


def _is_plain(data: str) -> bool:
    """Whether DATA is a folder of pictures and no data set."""
    try:
        open_dataset(data)
    except DataError:
        return Path(data).is_dir() and bool(pictures_in(Path(data)))
    return False


def _views(source: Source, seen: Preprocessing, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], Originals]:
    """About COUNT readable pictures spread over SOURCE, their labels, and some as they were."""
    some = _spread(len(source), count)
    views, where, originals = _read((partial(source.picture, i, seen.enough) for i in some), seen)
    return views, source.labels[[some[i] for i in where]], originals


def _read(
    pictures: Iterable[Callable[[], Picture]], seen: Preprocessing
) -> tuple[NDArray[np.uint8], list[int], Originals]:
    """The views of the PICTURES that can be read, which they are, and the first of moderate size as they were."""
    found, where, originals = list[NDArray[np.uint8]](), list[int](), list[NDArray[np.uint8]]()
    for number, read in enumerate(pictures):
        try:
            picture = read()
            found.append(seen.view(picture))
        except ImageError:
            continue
        where.append(number)
        if isinstance(picture, Image.Image) and len(originals) < _ORIGINALS and max(picture.size) <= _LONGEST:
            originals.append(np.asarray(colours(picture, 3)))
    stacked = np.stack(found) if found else np.empty((0, seen.size, seen.size, seen.channels), np.uint8)
    return stacked, where, tuple(originals) if seen.channels in (1, 3) else ()


def _spread(total: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(int)).tolist() if total else []


def _checked(pictures: Pictures) -> Pictures:
    if not len(pictures.views):
        raise DataError(f"{pictures.name}: no picture to compare engines on that the model was not trained on")
    return pictures
