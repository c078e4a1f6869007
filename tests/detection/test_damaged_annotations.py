"""Thousands of damaged annotation files: each is refused in one line, or what comes of it is sound."""

import copy
import json
import random

import pytest
from annotated_trees import all_sound, annotation, coco, coco_value, image, instance, marked, voc

from resnets.detection.coco_metric import figures_of_files
from resnets.detection.datasets import open_detection
from resnets.errors import DataError

ATOMS = [None, True, -1, 0, 1, 7, 2**53, 10**400, 1e308, -0.5, "", "1", "a.jpg", "../x", "\0", [], [[]], {},
         [1, 2, 3, 4], [1e9] * 6, [[1, 2, 3, 4, 5, 6]], {"size": [30, 40], "counts": "P"},
         {"size": [30, 40], "counts": [1200]}, "\ud800", [None], 1e-300]  # fmt: skip
XML = annotation(marked(), marked("dot", (1, 1, 40, 30), "<difficult>1</difficult>")).encode()
BITS = [
    b"<",
    b">",
    b"&",
    b"</a>",
    b"<!DOCTYPE x>",
    b"\0",
    b"\xff",
    b"-",
    b"9" * 400,
    b"nan",
    b"<bndbox>",
    b"&#0;",
    b"<![CDATA[",
]
slow = pytest.mark.slow


def damaged(data, generator):
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data))
        data = data[:at] + generator.choice([b"", *BITS]) + data[at + generator.choice([0, 1, 1, 7, 40]) :]
    return data


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def with_atoms(value, generator):
    value = copy.deepcopy(value)
    for _ in range(generator.randint(1, 3)):
        path = generator.choice(list(places(value)))
        if not path:
            continue
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        if generator.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = copy.deepcopy(generator.choice(ATOMS))
    return value


def is_one_line(error):
    assert str(error).isprintable()
    assert len(str(error)) < 600
    return True


def opened(root, **more):
    """Whether the set could be used."""
    try:
        found = open_detection(str(root), max_bad=1, **more)
    except DataError as error:
        return not is_one_line(error)
    for part in found.parts.values():
        all_sound(part)
    assert all(word.isprintable() for pair in found.bad.items() for word in pair)
    return True


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=slow)])
def test_xml(tmp_path, count):
    root, generator = voc(tmp_path, {"train": {"good": XML, "odd": XML}}), random.Random(1)
    for _ in range(count):
        (root / "Annotations/odd.xml").write_bytes(damaged(XML, generator))
        assert opened(root)  # the good one is always left


@pytest.mark.parametrize("count", [250, pytest.param(1500, marks=slow)])
def test_json(tmp_path, count):
    runs = {"size": [30, 40], "counts": [60, 9, 1131]}
    marks = [instance(segmentation=[[2, 3, 12, 3, 12, 12]], area=45.0), instance(2, 2, 9, segmentation=runs, iscrowd=1)]
    good = coco_value([image(), image(2, "b.jpg")], marks)
    root, generator = coco(tmp_path, good), random.Random(2)
    usable = sum(
        opened(coco(root, with_atoms(good, generator), pictures=()), parts={"train": "annotations.json"})
        for _ in range(count)
    )
    assert count * 0.3 < usable < count * 0.95


@pytest.mark.parametrize("count", [150, pytest.param(1500, marks=slow)])
def test_files_that_are_measured(tmp_path, count):
    pytest.importorskip("hotcoco")
    runs = {"size": [30, 40], "counts": [60, 9, 1131]}
    truth = coco_value([image()], [instance(segmentation=[[2, 3, 12, 3, 12, 12]]), instance(2, segmentation=runs)])
    results = [{"image_id": 1, "category_id": 7, "bbox": [2, 3, 10, 9], "score": 0.5, "segmentation": runs}] * 2
    generator, measured = random.Random(3), 0
    files = [tmp_path / "truth.json", tmp_path / "results.json"]
    for _ in range(count):
        values = [truth, results]
        which = generator.randrange(2)
        values[which] = with_atoms(values[which], generator)
        for file, value in zip(files, values, strict=True):
            file.write_text(json.dumps(value))
        try:
            figures = figures_of_files(*files, generator.choice(["bbox", "segm"]))
        except DataError as error:
            is_one_line(error)
        else:
            measured += 1
            assert all(value is None or 0 <= value <= 1.000001 for value in figures.values())
    assert count * 0.05 < measured < count * 0.95
