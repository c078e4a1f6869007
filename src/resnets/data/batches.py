"""Batches: the order of (seed, epoch), decoded by workers where there are any, the same for any number of them."""

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import DataError, EnvironmentProblem
from ..recipe import Augmentation
from .course import Course, Key, spans
from .images import ImageError
from .preprocessing import Preprocessing
from .sources import Arrays, Source
from .transforms import augment, random_view

WINDOWS = ("resized", "scale")  # crops that see the whole picture
_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Batch:
    """Images (N, C, H, W) float32, labels (N,) int64, the samples' indices, and what could not be read: (name, why)."""

    images: Tensor
    labels: Tensor
    indices: NDArray[np.int64]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, images: int) -> list["Batch"]:
        """The batch in parts of so many images, 0: whole."""
        parts = spans(len(self), images)
        if len(parts) < 2:
            return [self] if len(self) else []
        return [Batch(self.images[a:b], self.labels[a:b], self.indices[a:b]) for a, b in parts]


def fitted(source: Source, preprocessing: Preprocessing) -> Source:
    """A source in memory whose images have the network's size already; files stay as they are."""
    if not isinstance(source, Arrays):
        return source
    size, channels = preprocessing.size, preprocessing.channels
    whole = preprocessing.fit != "crop" or int(size / preprocessing.crop_pct) <= size
    if whole and source.images.shape[1:] == (size, size, channels):
        return source
    return replace(source, images=np.stack([preprocessing.view(source.picture(i)) for i in range(len(source))]))


class _Pictures(Dataset[Batch]):
    """Answers lists of (epoch, index) with batches; epoch −1 asks for the picture as testing sees it."""

    def __init__(self, source: Source, preprocessing: Preprocessing, augmentation: Augmentation, seed: int) -> None:
        self.source = source if augmentation.crop in WINDOWS else fitted(source, preprocessing)
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, keys: list[Key]) -> Batch | DataError:
        """An error is handed over, not raised: a worker would wrap its message in a traceback."""
        try:
            return self._batch(keys)
        except DataError as error:
            return error

    def _batch(self, keys: list[Key]) -> Batch:
        epoch = keys[0][0] if keys else -1
        draws = np.array([draw for _, draw in keys], dtype=np.int64)
        pixels, used, bad = self._pixels(epoch, draws)
        if epoch < 0:
            images = self.preprocessing.normalise(pixels)
        else:
            images = augment(pixels, used, epoch, self.seed, self.augmentation, self.preprocessing)
        indices = used % len(self.source)
        return Batch(torch.from_numpy(images), torch.from_numpy(self.source.labels[indices]), indices, tuple(bad))

    def _pixels(self, epoch: int, draws: NDArray[np.int64]) -> tuple[NDArray, NDArray, list[tuple[str, str]]]:
        if isinstance(self.source, Arrays) and self.augmentation.crop not in WINDOWS:
            return self.source.images[draws % len(self.source)], draws, []
        bad: list[tuple[str, str]] = []
        rows = [self._picture(epoch, int(draw), bad) for draw in draws]
        kept = [row for row in rows if row is not None]
        size, channels = self.preprocessing.size, self.preprocessing.channels
        pixels = np.stack([view for view, _ in kept]) if kept else np.zeros((0, size, size, channels), np.uint8)
        return pixels, np.array([index for _, index in kept], dtype=np.int64), bad

    def _picture(self, epoch: int, draw: int, bad: list[tuple[str, str]]) -> tuple[NDArray, int] | None:
        """The picture of DRAW; in training the next readable one takes the place of a bad one, in testing none does."""
        count = len(self.source)
        first = draw - draw % count
        for candidate in (first + (draw + i) % count for i in range(count if epoch >= 0 else 1)):
            try:
                if epoch < 0 or self.augmentation.crop not in WINDOWS:
                    return self.preprocessing.view(self.source.picture(candidate % count)), candidate
                key = (self.seed, epoch, candidate)
                pixels = self.source.pixels(candidate % count)
                return random_view(pixels, key, self.augmentation, self.preprocessing), candidate
            except ImageError as error:
                bad.append((self.source.name(candidate % count), str(error)))
        if epoch >= 0:
            raise DataError(f"no picture can be read; the first is {bad[0][0]}: {bad[0][1]}")
        return None


class _Batches(Sampler[list[Key]]):
    """The keys of training batches, in the order of a course."""

    def __init__(self, labels: NDArray[np.int64], course: Course) -> None:
        self.labels, self.course = labels, course

    def __iter__(self) -> Iterator[list[Key]]:
        return self.course.keys(self.labels)


def _same(batch: Any) -> Any:
    return batch


def _quiet_worker(worker: int, main: int) -> None:
    """Ctrl-C and SIGTERM go to the whole process group; the process MAIN decides what they mean.

    A worker ends when it is told to, and by itself within a second of the main process: PyTorch's own watch takes
    whoever is the parent when it begins, so it misses a main process that has died by then.
    """
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(main,), daemon=True).start()


def _end_with(main: int) -> None:
    while os.getppid() == main:
        time.sleep(1)
    os._exit(1)


def _start(loader: DataLoader[Batch]) -> tuple[Iterator[Any], list[BaseProcess]]:
    """The iterator of LOADER and its workers. A signal that comes meanwhile waits: no worker dies of it.

    PyTorch's SIGCHLD handler, which raises wherever the main process happens to be, is taken out again: without it
    the iterator itself raises for a dead worker, within seconds.
    """
    before, children = signal.getsignal(signal.SIGCHLD), set(active_children())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        iterator = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return iterator, [child for child in active_children() if child not in children]


def _kill(workers: list[BaseProcess]) -> None:
    """End what is left of WORKERS; SIGTERM, which is sent at exit and waited for, does not end them."""
    for worker in workers:
        worker.kill()


def _from_workers(loader: DataLoader[Batch]) -> Iterator[Any]:
    """What the workers of LOADER answer. Raises EnvironmentProblem where one of them dies."""
    iterator, workers = _start(loader)
    at_exit = atexit.register(partial(_kill, workers))
    try:
        yield from iterator
    except (RuntimeError, OSError, EOFError) as error:  # the last two: it died while it handed a batch over
        ended = wait([worker.sentinel for worker in workers], timeout=1)
        dead = [worker for worker in workers if worker.sentinel in ended]
        for worker in dead:  # its files are closed a moment before its exit code is known
            worker.join(5)
        if not dead:
            raise
        raise EnvironmentProblem(
            f"a worker process that reads the images died (pid {dead[0].pid}, exit code {dead[0].exitcode}; "
            "-9 is often a lack of memory); start again with --workers 0"
        ) from error
    finally:
        del iterator  # tells the workers to end and waits for them
        _kill(workers)
        atexit.unregister(at_exit)


def _load(pictures: Dataset[Any], keys: Sampler[list[Key]] | list[list[Key]], workers: int) -> Iterator[Any]:
    loader = DataLoader(
        pictures,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_same,
        worker_init_fn=partial(_quiet_worker, main=os.getpid()) if workers else None,
    )
    for batch in _from_workers(loader) if workers else loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


def training_batches(
    source: Source, preprocessing: Preprocessing, augmentation: Augmentation, course: Course, workers: int = 0
) -> Iterator[Batch]:
    """Augmented batches along COURSE. Workers change nothing but speed."""
    pictures = _Pictures(source, preprocessing, augmentation, course.seed)
    return _load(pictures, _Batches(source.labels, course), workers)


def testing_batches(
    source: Source,
    preprocessing: Preprocessing,
    batch_size: int = 128,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Every image once, in order; a file that cannot be read is left out and named in its batch's `bad`.

    shard: (rank, count) takes every count-th batch from batch `rank` on.
    """
    pictures = _Pictures(source, preprocessing, Augmentation(crop="none", flip="none"), 0)
    return in_order(pictures, len(source), batch_size, workers, shard)


def in_order(
    pictures: Dataset[Any], count: int, batch_size: int, workers: int = 0, shard: tuple[int, int] = (0, 1)
) -> Iterator[Any]:
    """What PICTURES answers to lists of (−1, index), of which there are COUNT, batch by batch as `testing_batches`."""
    starts = range(shard[0] * batch_size, count, shard[1] * batch_size)
    keys = [[(-1, index) for index in range(s, min(s + batch_size, count))] for s in starts]
    return _load(pictures, keys, workers)


def mean_image(source: Source, preprocessing: Preprocessing) -> NDArray[np.float64]:
    """The mean of the pictures as testing sees them, (size, size, channels) in 0..1. Raises DataError for none."""
    plain = Preprocessing(
        preprocessing.size, preprocessing.channels, preprocessing.fit, preprocessing.crop_pct,
        preprocessing.interpolation, mean=(0.0,) * preprocessing.channels, std=(1.0,) * preprocessing.channels,
    )  # fmt: skip
    total, count = np.zeros((plain.channels, plain.size, plain.size), np.float64), 0
    for batch in testing_batches(source, plain, 512):
        total += batch.images.numpy().sum(0, dtype=np.float64)
        count += len(batch)
    if not count:
        raise DataError("no picture can be read, so there is no mean image")
    return np.moveaxis(total / count, 0, -1)
