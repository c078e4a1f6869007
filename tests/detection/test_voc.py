"""VOC's layout: every form that is read, every fault in one line, the blood cells whole, and no way out."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from annotated_trees import all_sound, annotation, marked, picture, told, voc

from resnets.data.images import ImageError
from resnets.detection.datasets import open_detection
from resnets.detection.markup import parse
from resnets.errors import DataError, UsageError

DATA = os.environ.get("RESNETS_DATA")
GOOD = annotation(marked("cell"), marked("dot", (1, 1, 40, 30), "<difficult>1</difficult>"))
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
BOMB = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"

# What is in one XML file beside good ones, whether its picture or its box goes, and a word of the reason.
BAD = {
    "empty file": ("", "picture", "not XML"),
    "cut off": (GOOD[:-20], "picture", "not XML"),
    "binary": (bytes(range(1, 256)), "picture", "not XML"),
    "document type": (GOOD.replace("<annotation>", "<!DOCTYPE annotation><annotation>", 1), "picture", "document type"),
    "external entity": (EXTERNAL + GOOD.replace("cell", "&x;"), "picture", "document type"),
    "entity bomb": (BOMB + GOOD.replace("cell", "&b;"), "picture", "document type"),
    "unknown entity": (GOOD.replace("cell", "&secret;"), "picture", "not XML"),
    "UTF-16": (GOOD.encode("utf-16"), "picture", "UTF-16"),
    "UTF-16 without its mark": (GOOD.encode("utf-16-le"), "picture", "UTF-16"),
    "UTF-32": (GOOD.encode("utf-32"), "picture", "UTF-16"),
    "unknown encoding": ("<?xml version='1.0' encoding='klingon'?>" + GOOD, "picture", "not XML"),
    "deep": ("<a>" * 50_000, "picture", "more than"),
    "nested": ("<a>" * 40 + "</a>" * 40, "picture", "depth"),
    "many elements": ("<a>" + "<b/>" * 6000 + "</a>", "picture", "5000 elements"),
    "many attributes": ("<a " + " ".join(f"a{i}='1'" for i in range(100)) + "/>", "picture", "attributes"),
    "large": ("<a>" + " " * (1 << 18) + "</a>", "picture", "at most"),
    "two outermost elements": ("<a/><b/>", "picture", "not XML"),
    "outside": (annotation(marked(box=(50, 3, 60, 12))), "box", "outside the picture"),
    "two pixels over the edge": (annotation(marked(box=(5, 3, 42, 12))), "box", "outside the picture"),
    "far below zero": (annotation(marked(box=(-1e9, 3, 40, 12))), "box", "outside the picture"),
    "reversed": (annotation(marked(box=(11, 3, 2, 12))), "box", "reversed corners"),
    "zero area": (annotation(marked(box=(11, 3, 11, 12))), "box", "zero area: xmin and xmax are both 11"),
    "not a number": (annotation(marked(box=("nan", 3, 11, 12))), "box", "xmin is 'nan', not a number"),
    "infinite": (annotation(marked(box=(2, 3, "1e999", 12))), "box", "not a number"),
    "words": (annotation(marked(box=(2, 3, "eleven", 12))), "box", "xmax is 'eleven'"),
    "underscores": (annotation(marked(box=("0_2", 3, 11, 12))), "box", "not a number"),
    "other digits": (annotation(marked(box=("٣", 3, 11, 12))), "box", "not a number"),
    "a number of 100,000 digits": (annotation(marked(box=("1" * 100_000, 3, 11, 12))), "box", "not a number"),
    "no corner": (annotation(marked().replace("<ymin>3</ymin>", "")), "box", "no <ymin>"),
    "two corners": (annotation(marked().replace("<ymin>3</ymin>", "<ymin>3</ymin>" * 2)), "box", "2 <ymin>"),
    "empty corner": (annotation(marked(box=("", 3, 11, 12))), "box", "xmin is ''"),
    "no box": (annotation("<object><name>cell</name></object>"), "box", "no <bndbox>"),
    "box of a part only": (annotation(f"<object><name>cell</name><part>{marked()}</part></object>"), "box", "no <bnd"),
    "no name": (annotation(marked().replace("<name>cell</name>", "")), "box", "no <name>"),
    "empty name": (annotation(marked("  ")), "box", "an empty name"),
    "long name": (annotation(marked("c" * 201)), "box", "more than 200"),
    "odd difficult": (annotation(marked(more="<difficult>perhaps</difficult>")), "box", "difficult is 'perhaps'"),
}


@pytest.mark.parametrize(("xml", "what", "reason"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_used_is_left_out_and_named(tmp_path, xml, what, reason):
    root = voc(tmp_path, {"train": {"good": GOOD, "odd": xml}})
    start = time.perf_counter()
    found = open_detection(str(root), max_bad=0.5)
    assert time.perf_counter() - start < 1
    assert found.classes[:1] == ("cell",)
    assert told(found.train)["JPEGImages/good.jpg"] == ([[1, 2, 11, 12], [0, 0, 40, 30]], [1, 2])
    all_sound(found.train)
    ((where, why),) = found.bad.items()
    assert reason in why
    if what == "picture":
        assert where == "ImageSets/Main/train.txt:2"
        assert len(found.train) == 1
        assert "Annotations/odd.xml" in why
    else:
        assert where == "Annotations/odd.xml:4"
        assert told(found.train)["JPEGImages/odd.jpg"] == ([], [])
        assert "train: 1 of 2 pictures have no boxes and are kept as negatives" in found.notes
    with pytest.raises(DataError, match=r"1 of . (pictures|boxes) cannot be used, more than max_bad 0 allows") as error:
        open_detection(str(root), max_bad=0)
    assert "\n" not in str(error.value)
    assert where in str(error.value)


# What is read all the same, the box that comes of it, and whether it was clipped.
FORMS = {
    "the whole picture": (marked(box=(1, 1, 40, 30)), [0, 0, 40, 30], False),
    "counted from 0": (marked(box=(0, 0, 39, 29)), [0, 0, 39, 29], True),
    "a pixel over the edge": (marked(box=(5, 5, 41, 31)), [4, 4, 40, 30], True),
    "fractions": (marked(box=("5.5", "4.25", "1.2e1", "+9.")), [4.5, 3.25, 12, 9], False),
    "blanks": (marked(" cell\n", ("\n 2", "3 ", " 11 ", "12")), [1, 2, 11, 12], False),
    "parts of the object": (marked(more=f"<part>{marked('head')}</part>"), [1, 2, 11, 12], False),
    "comments and references": ("<!-- <x> -->" + marked().replace(">2<", ">&#50;<"), [1, 2, 11, 12], False),
}


@pytest.mark.parametrize(("xml", "box", "clipped"), FORMS.values(), ids=list(FORMS))
def test_forms(tmp_path, xml, box, clipped):
    found = open_detection(str(voc(tmp_path, {"train": {"one": annotation(xml)}})))
    assert found.classes == ("cell",)
    assert told(found.train) == {"JPEGImages/one.jpg": ([box], [1])}
    assert not found.bad
    assert found.notes == ("train: 1 boxes reached up to a pixel over the edge and were clipped",) * clipped


def test_difficult_is_kept(tmp_path):
    found = open_detection(str(voc(tmp_path, {"train": {"one": GOOD}})))
    assert found.train.objects(0).difficult.tolist() == [False, True]
    assert found.train.objects(0, masks=True).masks is None


@pytest.mark.parametrize("size", [None, (0, 0), (-3, 5), ("many", 4), (10**9, 10)])
def test_without_a_size_the_pictures_own_counts(tmp_path, size):
    found = open_detection(str(voc(tmp_path, {"train": {"one": annotation(marked(), size=size)}})))
    assert found.train.size(0) == (40, 30)
    assert found.train.pixels(0).shape == (30, 40, 3)


def test_a_picture_of_another_size_than_annotated_is_refused(tmp_path):
    found = open_detection(str(voc(tmp_path, {"train": {"one": annotation(marked(), size=(50, 30))}})))
    with pytest.raises(ImageError, match="the picture has 40 x 30 pixels, its annotation says 50 x 30"):
        found.train.pixels(0)


@pytest.mark.parametrize(("orientation", "annotated", "corner"), [
    (6, (30, 40), (0, -1)),  # annotated upright: the stored upper left corner is the upper right one
    (6, (40, 30), (0, 0)),  # annotated before the turn
    (3, (40, 30), (-1, -1)),  # half a turn changes no size: upright
    (None, (40, 30), (0, 0)),
])  # fmt: skip
def test_pixels_are_those_the_boxes_were_drawn_on(tmp_path, orientation, annotated, corner):
    root = voc(tmp_path, {"train": {"one": annotation(marked(), size=annotated)}})
    picture(root / "JPEGImages/one.jpg", orientation=orientation)
    pixels = open_detection(str(root)).train.pixels(0)
    assert pixels.shape == (annotated[1], annotated[0], 3)
    assert pixels[corner].min() > 200
    assert sorted(int(pixels[y, x].max()) > 200 for y in (0, -1) for x in (0, -1)) == [False, False, False, True]


def test_gray_pictures_have_three_channels_and_missing_ones_are_named(tmp_path):
    root = voc(tmp_path, {"train": {str(n): GOOD for n in range(4)}})
    from PIL import Image

    Image.new("L", (40, 30), 7).save(root / "JPEGImages/0.jpg")
    (root / "JPEGImages/1.jpg").unlink()
    (root / "JPEGImages/2.jpg").rename(root / "JPEGImages/2.PNG")
    (root / "Annotations/3.xml").unlink()
    found = open_detection(str(root), max_bad=0.5)
    assert (found.train.pixels(0) == 7).all()
    assert found.bad == {
        "ImageSets/Main/train.txt:2": "JPEGImages/1.jpg is not there",
        "ImageSets/Main/train.txt:4": "Annotations/3.xml is not there",
    }
    assert [found.train.name(i) for i in range(2)] == ["JPEGImages/0.jpg", "JPEGImages/2.PNG"]
    (root / "JPEGImages/0.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match="changed since start"):
        found.train.pixels(0)


def test_sets_become_parts(tmp_path):
    sets = {name: {f"{name}{n}": GOOD for n in range(2)} for name in ("train", "val", "test", "trainval", "cell_train")}
    root = voc(tmp_path, sets)
    found = open_detection(str(root))
    assert {part: len(one) for part, one in found.parts.items()} == {"train": 2, "val": 2, "test": 2}
    assert [found.train.image_id(i) for i in range(2)] == [1, 2]
    (root / "ImageSets/Main/train.txt").unlink()
    assert open_detection(str(root)).train.name(0) == "JPEGImages/trainval0.jpg"
    chosen = open_detection(str(root), parts={"train": "trainval+cell_train", "test": "val"})
    assert ({part: len(one) for part, one in chosen.parts.items()}) == {"train": 4, "test": 2}
    with pytest.raises(DataError, match=r"set 'else': ImageSets/Main/else.txt is not there"):
        open_detection(str(root), parts={"train": "else"})
    with pytest.raises(UsageError, match="part 'tset' is none of"):
        open_detection(str(root), parts={"tset": "val"})


def test_without_lists_a_seed_divides(tmp_path):
    root = voc(tmp_path, {"train": {f"{n:02}": GOOD for n in range(20)}})
    (root / "ImageSets/Main/train.txt").unlink()
    first, again, other = (open_detection(str(root), seed=seed) for seed in (0, 0, 1))
    assert {part: len(one) for part, one in first.parts.items()} == {"train": 14, "val": 3, "test": 3}
    assert told(first.test) == told(again.test) != told(other.test)
    names = [one.name(i) for one in first.parts.values() for i in range(len(one))]
    assert len(set(names)) == 20
    assert "split of 20 pictures, seed 0: 14 train, 3 val, 3 test" in first.notes


def test_the_unions_of_the_literature(tmp_path):
    for year in ("07", "12"):
        for name in ("train", "val", "trainval", "test"):
            voc(tmp_path, {name: {f"{year}-{name}": GOOD}}, f"VOC20{year}")
    assert list(told(open_detection(f"{tmp_path}:07+12").train)) == [
        "VOC2007/JPEGImages/07-trainval.jpg", "VOC2012/JPEGImages/12-trainval.jpg"
    ]  # fmt: skip
    wide = open_detection(f"{tmp_path}:07++12")
    assert [wide.train.name(i)[-11:-4] for i in range(3)] == ["rainval", "07-test", "rainval"]
    assert wide.test is not None
    assert wide.test.name(0) == "VOC2012/JPEGImages/12-test.jpg"
    (tmp_path / "VOC2012/ImageSets/Main/test.txt").unlink()  # the server keeps it
    assert open_detection(f"{tmp_path}:07++12").test is None
    same = open_detection(str(tmp_path), parts={"train": "VOC2007:trainval+VOC2012:trainval", "test": "VOC2007:test"})
    assert same.train.fingerprint() == open_detection(f"{tmp_path}:07+12").train.fingerprint()
    with pytest.raises(UsageError, match=r"has VOC2007, VOC2012; say which: .*:07\+12"):
        open_detection(str(tmp_path))
    with pytest.raises(DataError, match="give a VOC folder"):
        open_detection(str(tmp_path), parts={"train": "../VOC2007:train"})
    with pytest.raises(UsageError, match="not both"):
        open_detection(f"{tmp_path}:07", parts={"train": "VOC2007:train"})


def test_a_set_without_annotations_is_ignored_and_repetitions_are_named(tmp_path):
    root = voc(tmp_path, {"train": {"a": GOOD, "b": GOOD}, "test": {"c": GOOD}})
    (root / "Annotations/c.xml").unlink()
    (root / "ImageSets/Main/train.txt").write_text("a\n\nb \na\n")
    found = open_detection(str(root), max_bad=0.5)
    assert found.test is None
    assert "ImageSets/Main/test.txt lists 1 pictures without annotations and is ignored" in found.notes
    assert found.bad == {"ImageSets/Main/train.txt:4": "a is listed in line 1 already"}
    assert len(found.train) == 2


def test_parts_that_share_pictures_and_classes_that_training_lacks_are_told(tmp_path):
    root = voc(tmp_path, {"train": {"a": annotation(marked())}, "test": {"b": GOOD}})
    (root / "ImageSets/Main/test.txt").write_text("a\nb\n")
    found = open_detection(str(root), max_bad=0.5)
    assert "1 pictures are in both train and test" in found.notes
    assert found.bad == {"Annotations/b.xml:5": "class 'dot' is none of the 1 classes"}
    given = open_detection(str(root), classes=("dot", "cell", "bird"))
    assert given.classes == ("dot", "cell", "bird")
    assert given.train.objects(0).labels.tolist() == [2]
    assert given.train.categories == (1, 2, 3)
    assert not given.bad


def test_a_training_part_without_any_box_is_refused(tmp_path):
    with pytest.raises(DataError, match="no box in the training part"):
        open_detection(str(voc(tmp_path, {"train": {"a": annotation()}})))


def test_hostile_names_and_numbers_are_shown_as_escapes(tmp_path):
    evil = annotation(marked("\u202ecell&#10;&lt;script&gt;"), marked(box=("x\u009b31m", 3, 11, 12)))
    root = voc(tmp_path, {"train": {"a": GOOD, "b": evil}})
    assert open_detection(str(root), max_bad=0.5, classes=("cell", "dot")).bad == {
        "Annotations/b.xml:4": "class '\\u202ecell\\n<script>' is none of the 2 classes",
        "Annotations/b.xml:5": "xmin is 'x\\x9b31m', not a number",
    }


def test_the_fingerprint_is_of_pictures_and_boxes_not_of_places(tmp_path):
    first = open_detection(str(voc(tmp_path / "one", {"train": {"a": GOOD, "b": GOOD}}))).train
    second = open_detection(str(voc(tmp_path / "two", {"train": {"b": GOOD, "a": GOOD}}))).train
    moved = open_detection(str(voc(tmp_path / "three", {"train": {"a": GOOD, "b": GOOD.replace("11", "12")}}))).train
    assert first.fingerprint() == second.fingerprint() == first.subset([1, 0]).fingerprint()
    assert len({one.fingerprint() for one in (first, moved, first.subset([0]))}) == 3


def test_lines_and_text_of_elements():
    top = parse(b"<a>\n one <b/>\n<c>x<!-- y -->z</c></a>")
    assert (top.text, [(child.tag, child.line, child.text) for child in top.children]) == (
        "one", [("b", 2, ""), ("c", 3, "xz")]
    )  # fmt: skip


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="RESNETS_DATA names no folder with the blood cells")
def test_blood_cells():
    found = open_detection(str(Path(str(DATA), "bccd")))
    assert {part: len(one) for part, one in found.parts.items()} == {"train": 205, "val": 87, "test": 72}
    assert found.classes == ("Platelets", "RBC", "WBC")
    assert found.bad == {
        "Annotations/BloodImage_00338.xml:158": "zero area: xmin and xmax are both 504",
        "Annotations/BloodImage_00343.xml:50": "zero area: xmin and xmax are both 181",
    }
    labels = [one.objects(i).labels for one in found.parts.values() for i in range(len(one))]
    assert np.bincount(np.concatenate(labels), minlength=4).tolist() == [0, 361, 4153, 372]
    for one in found.parts.values():
        all_sound(one)
    assert found.train.pixels(0).shape == (480, 640, 3)
    first = found.val
    assert first is not None
    assert first.name(0) == "JPEGImages/BloodImage_00000.jpg"
    assert first.objects(0).boxes[0].tolist() == [259, 176, 491, 376]
    with pytest.raises(DataError, match=r"2 of 4888 boxes cannot be used, more than max_bad 0 allows"):
        open_detection(str(Path(str(DATA), "bccd")), max_bad=0)
