"""A miniature of ImageNet in its real layout: a handful of photographs, the same for training and validation."""

import os
import re
from pathlib import Path

from ..errors import DataError, UsageError, safe_text
from ..files import write_file

_NAME = re.compile(r"(n\d{8})_.*\.jpe?g", re.IGNORECASE)


SAMPLE = "imagenet-sample"  # in RESNETS_DATA


def miniature(data: str, out: Path) -> Path:
    """OUT with train/CLASS/ and val/CLASS/ of copies of the photographs in DATA, RESNETS_DATA/imagenet-sample without.

    Their names begin with their class, as n01440764_… Raises DataError where there are none.
    """
    photographs = Path(data) if data else Path(os.environ.get("RESNETS_DATA", "data")) / SAMPLE
    if not photographs.is_dir():
        raise UsageError(
            f"{safe_text(str(photographs))} is no folder; --miniature takes --data with n…_….JPEG photographs"
        )
    found = [(path, match[1]) for path in sorted(photographs.iterdir()) if (match := _NAME.fullmatch(path.name))]
    if not found:
        raise DataError(
            f"{safe_text(str(photographs))} has no photographs called n01440764_….JPEG; name one that has with --data"
        )
    for part in ("train", "val"):
        for path, name in found:
            place = out / part / name / path.name
            if not place.exists():
                write_file(place, path.read_bytes())
    return out
