"""What `check` says of folders and of classes rather than of pictures."""

import numpy as np
import pytest
from PIL import Image

from resnets.data.check import check, imbalance


def write(path):
    """A picture of noise that depends on its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode())).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def root(tmp_path):
    for number in range(8):
        write(tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    return tmp_path / "data"


def named(root):
    found = check(str(root)).findings
    return {finding.kind: [name for item in finding.items for name in item["pictures"]] for finding in found}


def test_folders_called_like_pictures_are_named(root):
    assert named(root) == {}
    (root / "a/empty.jpg").mkdir()
    write(root / "b/Holiday.PNG/inner.png")
    write(root / "b/deep/x.gif/y/inner.png")
    (root / "b/link.jpg").symlink_to(root / "a")
    assert named(root) == {"folders called like pictures": ["a/empty.jpg", "b/Holiday.PNG", "b/deep/x.gif"]}
    assert check(str(root)).classes == {"a": 4, "b": 6}


def test_folders_called_like_pictures_in_parts_and_lists(root):
    (root / "a/x.jpg").mkdir()
    root.rename(root.parent / "train")
    write(root.parent / "test/a/1.png")
    write(root.parent / "test/b/y.npy/1.png")
    assert named(root.parent)["folders called like pictures"] == ["test/b/y.npy", "train/a/x.jpg"]
    rows = "".join(f"train/{'ab'[number % 2]}/{number}.png,{number % 2}\n" for number in range(8))
    (root.parent / "list.csv").write_text("file,label\n" + rows)
    assert named(root.parent / "list.csv") == {"folders called like pictures": ["train/a/x.jpg"]}
    assert "folders called like pictures" not in named("digits")


def test_imbalance_by_hand():
    words = "look at the balanced accuracy, and try --balance loss or --balance sampling"
    assert imbalance(["a", "b\x1b", "c"], [2] * 21 + [1] * 2 + [0] * 3) == f"c has 21 pictures, b\\x1b 2: {words}"
    assert imbalance("abc", [2] * 20 + [1] * 2 + [0] * 3) is None
    assert imbalance("ab", [1]) == f"b has 1 pictures, a 0: {words}"
    assert imbalance("ab", []) is None
