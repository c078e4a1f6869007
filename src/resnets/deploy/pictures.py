"""Pictures to compare and calibrate engines on: some of the user's data as the network sees them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle import as_picture
from ..data.datasets import open_dataset
from ..data.folders import pictures_in
from ..data.images import ImageError
from ..data.preprocessing import Preprocessing
from ..data.sources import Source
from ..errors import DataError, safe_text

CALIBRATION = 300  # images


@dataclass(frozen=True, eq=False)
class Pictures:
    """Views uint8 (N, size, size, channels) to compare on, their labels int64 (N,) where known, others to calibrate on.

    name: what they are, for a person.
    """

    name: str
    views: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    calibration: NDArray[np.uint8]


def of_model(model: Path, data: str, seen: Preprocessing, count: int) -> Pictures:
    """COUNT pictures that MODEL may be tested on and 300 of the training part of DATA; a plain folder has no labels."""
    from .. import testing

    if _is_plain(data):
        return of_folder(Path(data), seen, count)
    test, train = (testing.prepared([model], data, testing.Test(part=part)) for part in ("auto", "train"))
    held = test.source if test.part != "train" else test.source.subset(np.arange(0))
    views, labels = _views(held, seen, count)
    calibration, _ = _views(train.source, seen, CALIBRATION)
    return _checked(Pictures(f"{test.dataset.name}, {test.part} part", views, labels, calibration))


def of_data(data: str, seen: Preprocessing, count: int) -> Pictures:
    """The same for a network that nobody has trained: what its answers are called does not matter."""
    if _is_plain(data):
        return of_folder(Path(data), seen, count)
    dataset = open_dataset(data)
    part, held = next((n, p) for n, p in reversed(dataset.parts.items()))
    views, _ = _views(held, seen, count)
    calibration, _ = _views(dataset.train, seen, CALIBRATION)
    return _checked(Pictures(f"{dataset.name}, {part} part", views, None, calibration))


def of_folder(folder: Path, seen: Preprocessing, count: int) -> Pictures:
    """The pictures of a FOLDER without classes: at most half of them, 300, to calibrate on, COUNT others to compare."""
    names, found = pictures_in(folder), list[NDArray[np.uint8]]()
    for index in _spread(len(names), count + CALIBRATION):
        try:
            found.append(seen.view(as_picture(str(folder / names[index]))))
        except ImageError:
            continue
    views = _stacked(found, seen)
    taken = np.arange(len(views)) % max(2, -(-len(views) // CALIBRATION)) == 0
    return _checked(Pictures(safe_text(folder.name), views[~taken], None, views[taken]))


def _is_plain(data: str) -> bool:
    """Whether DATA is a folder of pictures and no data set."""
    try:
        open_dataset(data)
    except DataError:
        return Path(data).is_dir() and bool(pictures_in(Path(data)))
    return False


def _views(source: Source, seen: Preprocessing, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """About COUNT readable pictures spread over SOURCE, and their labels."""
    found, where = list[NDArray[np.uint8]](), list[int]()
    for index in _spread(len(source), count):
        try:
            found.append(seen.view(source.picture(index)))
            where.append(index)
        except ImageError:
            continue
    return _stacked(found, seen), source.labels[where]


def _spread(total: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(int)).tolist() if total else []


def _stacked(found: list[NDArray[np.uint8]], seen: Preprocessing) -> NDArray[np.uint8]:
    return np.stack(found) if found else np.empty((0, seen.size, seen.size, seen.channels), np.uint8)


def _checked(pictures: Pictures) -> Pictures:
    if not len(pictures.views):
        raise DataError(f"{pictures.name}: no picture to compare engines on that the model was not trained on")
    return pictures
