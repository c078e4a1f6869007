"""Names in annotations never lead out of the data folder: 2,000 of them, and nothing outside is opened."""

import json
import random
import sys

import pytest
from annotated_trees import annotation, coco, coco_value, image, marked, picture, voc

from resnets.data.images import ImageError
from resnets.detection.datasets import open_detection
from resnets.errors import DataError

PIECES = ["..", ".", "/", "//", "\\", "etc", "passwd", "secret.jpg", "outside", "a.jpg", "\0", "~", "%2e%2e", "‥",
          "file:", "link", "loop", "good", " ", "\u202e", "\n", "ä", "C:", "-", "$HOME", "x" * 300, ""]  # fmt: skip
opened: list[str] = []
watching = False


def watch(event, arguments):
    if watching and event == "open" and isinstance(arguments[0], str | bytes):
        opened.append(str(arguments[0]))


sys.addaudithook(watch)


def names(count):
    generator = random.Random(5)
    for _ in range(count):
        name = "/".join(generator.choices(PIECES, k=generator.randint(1, 5)))
        yield generator.choice(["", "/", "../", "../outside/", "link/", "good/../"]) + name


def hostile(tmp_path):
    """A data folder with links out of it, and what must not be opened beside it."""
    picture(tmp_path / "outside/secret.jpg")
    (tmp_path / "outside/secret.xml").write_text(annotation(marked()))
    root = voc(tmp_path / "data", {"train": {"good": annotation(marked())}})
    for folder in (root, root / "JPEGImages", root / "Annotations"):
        (folder / "link").symlink_to(tmp_path / "outside")
        (folder / "loop").symlink_to("loop")
        (folder / "secret.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (root / "Annotations/secret.xml").symlink_to(tmp_path / "outside/secret.xml")
    picture(root / "a.jpg")
    return root


def found_in(root, data):
    global watching
    opened.clear()
    watching = True
    try:
        found = open_detection(str(data), max_bad=1)
        for part in found.parts.values():
            for i in range(len(part)):
                part.pixels(i)
                assert ".." not in part.name(i)
    except DataError:
        pass
    finally:
        watching = False
    assert opened
    outside = [path for path in opened if str(root.parent / "outside") in path or "etc/passwd" in path]
    assert not outside
    assert all(path.startswith(str(root)) for path in opened if str(root.parent) in path)


def test_lists_of_voc(tmp_path):
    root = hostile(tmp_path)
    lines = [name for name in names(700) if "\n" not in name]
    (root / "ImageSets/Main/train.txt").write_text("\n".join(["good", *lines]))
    found_in(root, root)


def test_names_in_coco(tmp_path):
    root = hostile(tmp_path)
    images = [image(n, name) for n, name in enumerate(["a.jpg", *names(700)])]
    coco(root, coco_value(images, [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4]}]), "x.json", [])
    found_in(root, root / "x.json")
    for file in ("../outside/secret.xml", "link/secret.xml", "/etc/passwd"):
        with pytest.raises(DataError, match="leads out of the folder"):
            open_detection(str(root / "x.json"), parts={"train": file})


def test_names_in_lists_of_boxes(tmp_path):
    root = hostile(tmp_path)
    quoted = [json.dumps(name.replace("\n", ""), ensure_ascii=False).replace('\\"', "") for name in names(700)]
    rows = [f"{name},cat,1,2,3,4" for name in ["a.jpg", *quoted] if "\\" not in name]
    (root / "boxes.csv").write_text("\n".join(["file,label,x1,y1,x2,y2", *rows]))
    found_in(root, root / "boxes.csv")


def test_a_picture_that_became_a_link_is_refused(tmp_path):
    root = hostile(tmp_path)
    found = open_detection(str(root))
    inside = root / "JPEGImages/good.jpg"
    inside.rename(tmp_path / "outside/good.jpg")
    inside.symlink_to(tmp_path / "outside/good.jpg")
    with pytest.raises(ImageError, match="a link, not a file"):
        found.train.pixels(0)
