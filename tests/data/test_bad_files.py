"""One bad picture in 200 (F-30), and files that go or change meanwhile (F-41): each policy, and no file is touched."""

import numpy as np
import pytest
from image_corpus import save
from PIL import Image
from trees import tree_hash

from resnets.data.batches import testing_batches as batches_of
from resnets.data.batches import training_batches
from resnets.data.check import check
from resnets.data.course import Course
from resnets.data.datasets import Holdout, open_dataset
from resnets.data.images import ImageError
from resnets.data.preprocessing import Preprocessing
from resnets.recipe import Augmentation

PLAIN = Preprocessing(4, 3, crop_pct=1.0, mean=(0.0,) * 3, std=(1 / 255,) * 3)
BAD = 77  # its place in the list
PNG = save(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8), "PNG")
DAMAGE = {
    "truncated": (PNG[:-300], "truncated"),
    "empty": (b"", "empty file"),
    "text": (b"not a picture", "not JPEG, PNG, WebP, BMP or GIF: unknown"),
    "damaged": (PNG[:60] + bytes(40) + PNG[100:], "damaged PNG"),
}


@pytest.fixture(params=list(DAMAGE))
def hurt(request, tmp_path):
    """200 pictures whose colour is their number, one of them damaged, and why it cannot be read."""
    data, why = DAMAGE[request.param]
    for i in range(200):
        path = tmp_path / "ab"[i >= 100] / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data if i == BAD else save(Image.new("RGB", (4, 4), (i, 0, 0)), "PNG"))
    return tmp_path, why


def seen(batches):
    """(colour, index) of every image."""
    pairs = [(image, int(i)) for batch in batches for image, i in zip(batch.images, batch.indices, strict=True)]
    return [(round(float(image[0, 0, 0])), i) for image, i in pairs]


def test_one_of_200(hurt):
    root, why = hurt
    before = tree_hash(root)
    source = open_dataset(str(root), Holdout(val=0.0, test=0.0)).train
    whole = list(training_batches(source, PLAIN, Augmentation(crop="none", flip="none"), Course(3, 16, (0, 0), 2)))
    rows = seen(whole)
    assert sorted(i for _, i in rows) == sorted(
        [*range(BAD), *range(BAD + 1, 200), BAD + 1] * 2
    )  # the next took its place
    assert all(colour == index for colour, index in rows)
    named = {row for batch in whole for row in batch.bad}
    assert {name for name, _ in named} == {"a/077.png"}
    assert all(reason.startswith(why) for _, reason in named)
    rest = list(training_batches(source, PLAIN, Augmentation(crop="none", flip="none"), Course(3, 16, (0, 5), 2)))
    assert seen(rest) == rows[5 * 16 :]  # a resumed run sees what the unbroken one saw
    tested = list(batches_of(source, PLAIN, 16))
    assert [i for _, i in seen(tested)] == [*range(BAD), *range(BAD + 1, 200)]
    assert [name for b in tested for name, _ in b.bad] == ["a/077.png"]
    report = check(str(root))
    assert (report.pictures, report.readable) == (200, 199)
    assert tree_hash(root) == before


def test_files_that_go_or_change(tmp_path):
    for i in range(6):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.png").write_bytes(PNG)
    (tmp_path / "a" / "dangling.png").symlink_to("nothing.png")
    whole = open_dataset(str(tmp_path)).whole
    (tmp_path / "a" / "0.png").unlink()
    (tmp_path / "a" / "2.png").write_bytes(PNG + b"x")
    (tmp_path / "b" / "1.png").unlink()
    (tmp_path / "b" / "1.png").mkdir()
    reasons = {}
    for i in range(len(whole)):
        try:
            whole.picture(i)
        except ImageError as error:
            reasons[whole.name(i)] = str(error)
    assert reasons == {
        "a/0.png": "changed since start",
        "a/2.png": "changed since start",
        "b/1.png": "a folder, not a file",
        "a/dangling.png": "No such file or directory",
    }
