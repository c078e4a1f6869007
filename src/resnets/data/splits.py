"""Which pictures train, validate and test: fractions of every class, groups kept together, or a split of before."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError, safe_text
from .folders import PARTS
from .randomness import fold
from .sources import Files, Source


def hold_out(source: Source, fractions: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    """Indices of the parts that FRACTIONS of every class make, and last the rest: stratified, seeded, stable.

    Which part a sample falls into depends on the seed and its own name, so that new files move few old ones. Every
    part gets at least one of each class that has as many samples as there are parts; the rest gets one of every
    class. Files with groups are divided by `_by_group`. Raises UsageError for fractions that leave nothing.
    """
    if not all(fraction >= 0 for fraction in fractions) or sum(fractions) >= 1:
        held = " and ".join(f"{fraction:g}" for fraction in fractions)
        raise UsageError(f"cannot hold out {held} of the images: fractions are 0 or more and add up to less than 1")
    if isinstance(source, Files) and source.groups:
        parts = _by_group(source, fractions, seed)
    else:
        parts = _by_name(source, fractions, seed)
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def _by_name(source: Source, fractions: Sequence[float], seed: int) -> list[list[int]]:
    labels = np.asarray(source.labels)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: fold(seed, "split", source.name(i)))
        start, least = 0, int(len(members) > len(fractions))
        for place, fraction in enumerate(fractions):
            later = sum(f > 0 for f in fractions[place + 1 :])
            most = len(members) - 1 - least * later
            stop = min(start + max(least * (fraction > 0), round(fraction * len(members))), most)
            parts[place] += members[start:stop]
            start = stop
        parts[-1] += members[start:]
    return parts


def _by_group(source: Files, fractions: Sequence[float], seed: int) -> list[list[int]]:
    """Whole groups in every part.

    Groups stand in an order that depends on the seed and their key alone. Classes are served one by one, those in the
    fewest groups first: from the groups that have the class and no part yet, each part in turn takes those that bring
    it no further over its fraction of the class than half a group, and at least one where it has none of the class.
    """
    members: dict[str, list[int]] = {}
    for index, key in enumerate(source.groups):
        members.setdefault(key, []).append(index)
    order = sorted(members, key=lambda key: (fold(seed, "split", key), key))
    sizes: dict[int, dict[str, int]] = {}  # pictures of every class by group
    for key in order:
        for label, count in Counter(source.labels[members[key]].tolist()).items():
            sizes.setdefault(label, {})[key] = count
    chosen: dict[str, int] = {}
    for label in sorted(sizes, key=lambda label: (len(sizes[label]), label)):
        _serve(sizes[label], chosen, fractions)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for key, place in chosen.items():
        parts[place] += members[key]
    return parts


def _serve(sizes: dict[str, int], chosen: dict[str, int], fractions: Sequence[float]) -> None:
    """Put into CHOSEN a part for every group of a class that has none; SIZES: pictures of it by group, in order."""
    rest, total = len(fractions), sum(sizes.values())
    held = [0] * (rest + 1)
    for key in sizes.keys() & chosen.keys():
        held[chosen[key]] += sizes[key]
    free = [key for key in sizes if key not in chosen]
    for place, fraction in ((place, fraction) for place, fraction in enumerate(fractions) if fraction):
        lacking = sum(not held[later] for later in range(place + 1, rest + 1) if later == rest or fractions[later])
        taken = list[str]()
        for key in free:
            if len(free) - len(taken) > lacking and held[place] + sizes[key] / 2 <= fraction * total:
                taken.append(key)
                held[place] += sizes[key]
        if not held[place] and len(free) > lacking:
            taken = [min(free, key=sizes.__getitem__)]
            held[place] = sizes[taken[0]]
        chosen |= dict.fromkeys(taken, place)
        free = [key for key in free if key not in chosen]
    chosen |= dict.fromkeys(free, rest)


def path_text(name: str) -> str:
    """A file's name as printable text, different for different names: JSON's escapes."""
    return json.dumps(name, ensure_ascii=not name.isprintable())[1:-1]


def apply_split(whole: Files, path: Path) -> dict[str, Files]:
    """The parts of WHOLE that a split.csv of `file,…,part` tells. Raises DataError unless both have the same files."""
    where = safe_text(str(path))
    try:
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
        told = {row["file"]: row["part"] for row in rows}
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise DataError(f"{where} is no split: it must be a CSV file with the columns file and part") from error
    if odd := sorted({str(part) for part in told.values()} - PARTS.keys()):
        raise DataError(f"{where}: part '{safe_text(odd[0])}' is none of train, val and test")
    keys = list(map(path_text, whole.names))
    missing, unknown = sorted(set(keys) - told.keys()), sorted(told.keys() - set(keys))
    if missing or unknown:
        few = ", ".join(map(safe_text, (missing + unknown)[:5]))
        what = f"{len(missing)} pictures are not in it, {len(unknown)} of it are not here"
        raise DataError(f"{where} is the split of other pictures: {what} ({few})")
    chosen = np.array([told[key] for key in keys])
    return {part: whole.subset(np.flatnonzero(chosen == part)) for part in PARTS if (chosen == part).any()}
