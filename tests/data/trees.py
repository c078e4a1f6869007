"""Trees of files for the tests of what lies in a folder, and a hash that tells whether one was touched."""

import hashlib
import os
from pathlib import Path


def plant(root: Path, *names: str) -> Path:
    """Files of distinct sizes; none of them needs to be a picture, since listing opens none."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number + 1))
    return root


def many(*folders: str, count: int = 20) -> list[str]:
    return [f"{folder}/{i}.jpg" for folder in folders for i in range(count)]


def tree_hash(root: Path) -> str:
    """Everything but access times: names, kinds, contents, times of change."""
    rows = []
    for folder, inner, names in os.walk(os.fsencode(root)):
        for name in sorted(inner + names):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = b"" if not os.path.isfile(path) else Path(os.fsdecode(path)).read_bytes()
            rows.append((path, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, content))
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()
