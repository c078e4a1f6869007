"""COCO's layout: every form that is read, every fault in one line."""

import json

import numpy as np
import pytest
from annotated_trees import CATEGORIES, all_sound, coco, coco_value, image, instance, picture, told

from resnets.data.images import ImageError
from resnets.detection.datasets import open_detection
from resnets.errors import DataError, UsageError

SQUARE = [[2.0, 3.0, 12.0, 3.0, 12.0, 12.0, 2.0, 12.0]]
RUNS = {"size": [30, 40], "counts": [60, 9, 1131]}


def odd(*annotations, images=()):
    """A file of one good picture and ANNOTATIONS beside a good one."""
    return coco_value([image(), *images], [instance(), *annotations])


def bad_image(**fields):
    return odd(instance(2, 2), images=[{**image(2, "b.jpg"), **fields}])


def bad_mark(**fields):
    return odd({**instance(2), **fields})


# What a file has beside what is good, where the fault is said to be, and a word of the reason.
LEFT_OUT = {
    "image: missing": (bad_image(file_name="c.jpg"), "image 2", "c.jpg is not there"),
    "image: a folder": (bad_image(file_name="."), "image 2", "is not a file"),
    "image: out of the folder": (bad_image(file_name="../../etc/passwd"), "image 2", "leads out of the folder"),
    "image: absolute": (bad_image(file_name="/etc/passwd"), "image 2", "is not there"),
    "image: NUL": (bad_image(file_name="b.jpg\0"), "image 2", "is not there"),
    "image: lone surrogate": (bad_image(file_name="\ud800.jpg"), "image 2", "is not there"),
    "image: name too long": (bad_image(file_name="b" * 5000), "image 2", "is not there"),
    "image: name is a number": (bad_image(file_name=3), "image 2", "file_name is 3"),
    "image: no name": (bad_image(file_name=""), "image 2", "file_name is ''"),
    "image: repeated id": (odd(images=[image(1, "b.jpg")]), "image 1", "the id of another image"),
    "image: repeated file": (odd(images=[image(2)]), "image 2", "a.jpg is image 1 already"),
    "image: id is text": (odd(images=[image("2", "b.jpg")]), "image number 1", "id is '2', not a whole number"),
    "image: huge id": (odd(images=[image(2**53, "b.jpg")]), "image number 1", "id is a huge number"),
    "image: negative id": (odd(images=[image(-2, "b.jpg")]), "image number 1", "id is -2"),
    "image: true": (odd(images=[image(True, "b.jpg")]), "image number 1", "id is True"),
    "image: no object": (odd(images=[None]), "image number 1", "None is not an object"),
    "image: width 0": (bad_image(width=0), "image 2", "cannot be 0 x 30"),
    "image: huge": (bad_image(height=10**7), "image 2", "cannot be 40 x 10000000"),
    "image: width is text": (bad_image(width="40"), "image 2", "width is '40'"),
    "box: outside": (bad_mark(bbox=[60, 3, 5, 5]), "annotation 2", "outside the picture: 60, 3, 65, 8 on 40 x 30"),
    "box: two pixels over": (bad_mark(bbox=[30, 3, 12, 5]), "annotation 2", "outside the picture"),
    "box: zero area": (bad_mark(bbox=[3, 3, 0, 5]), "annotation 2", "zero area"),
    "box: almost no area": (bad_mark(bbox=[3, 3, 1e-9, 5]), "annotation 2", "zero area"),
    "box: only in the overhang": (bad_mark(bbox=[40, 3, 1, 5]), "annotation 2", "zero area"),
    "box: negative width": (bad_mark(bbox=[9, 3, -5, 5]), "annotation 2", "reversed corners"),
    "box: beyond all numbers": (bad_mark(bbox=[1, 3, 10**400, 5]), "annotation 2", "bbox is a list of 4, not four"),
    "box: three numbers": (bad_mark(bbox=[1, 2, 3]), "annotation 2", "bbox is [1, 2, 3], not four numbers"),
    "box: text": (bad_mark(bbox=["1", 2, 3, 4]), "annotation 2", "not four numbers"),
    "box: null": (bad_mark(bbox=None), "annotation 2", "bbox is None"),
    "box: nested": (bad_mark(bbox=[[1], 2, 3, 4]), "annotation 2", "not four numbers"),
    "box: no box": (odd({"id": 2, "image_id": 1, "category_id": 7}), "annotation 2", "no bbox"),
    "box: unknown class": (bad_mark(category_id=8), "annotation 2", "unknown class: there is no category 8"),
    "box: class is text": (bad_mark(category_id="7"), "annotation 2", "category_id is '7'"),
    "box: unknown image": (bad_mark(image_id=5), "annotation 2", "there is no image 5"),
    "box: repeated id": (odd(instance()), "annotation 1", "the id of another annotation"),
    "box: id is a fraction": (bad_mark(id=2.5), "annotation number 1", "id is 2.5"),
    "box: no object": (odd([1, 2]), "annotation number 1", "[1, 2] is not an object"),
    "box: odd crowd": (bad_mark(iscrowd="no"), "annotation 2", "iscrowd is 'no'"),
    "box: odd area": (bad_mark(area="large"), "annotation 2", "area is 'large'"),
    "box: negative area": (bad_mark(area=-1), "annotation 2", "area is -1"),
    "mask: two points": (bad_mark(segmentation=[[1, 2, 3, 4]]), "annotation 2", "at least three points"),
    "mask: odd count": (bad_mark(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation 2", "at least three points"),
    "mask: text": (bad_mark(segmentation=[[1, 2, 3, 4, 5, "6"]]), "annotation 2", "not a number"),
    "mask: far away": (bad_mark(segmentation=[[1, 2, 3, 4, 5, 1e9]]), "annotation 2", "far outside"),
    "mask: beyond all numbers": (bad_mark(segmentation=[[1, 2, 3, 4, 5, 10**400]]), "annotation 2", "far outside"),
    "mask: many points": (bad_mark(segmentation=[[1] * 200_002]), "annotation 2", "more than 100000 points"),
    "mask: a word": (bad_mark(segmentation="all"), "annotation 2", "neither a list of polygons nor"),
    "runs: other size": (bad_mark(segmentation={"size": [40, 30], "counts": [1200]}), "annotation 2", "size [40, 30]"),
    "runs: huge size": (bad_mark(segmentation={"size": [10**9] * 2, "counts": [1]}), "annotation 2", "of size [1000"),
    "runs: too short": (bad_mark(segmentation={**RUNS, "counts": [60, 9]}), "annotation 2", "make 69 of 1200 pixels"),
    "runs: negative": (bad_mark(segmentation={**RUNS, "counts": [-1, 1201]}), "annotation 2", "or one is negative"),
    "runs: huge": (bad_mark(segmentation={**RUNS, "counts": [10**400]}), "annotation 2", "of 1200 pixels"),
    "runs: damaged text": (bad_mark(segmentation={**RUNS, "counts": "~~~"}), "annotation 2", "none of theirs"),
    "runs: endless text": (bad_mark(segmentation={**RUNS, "counts": "P" * 9000}), "annotation 2", "neither a list"),
    "runs: cut text": (bad_mark(segmentation={**RUNS, "counts": "PPP"}), "annotation 2", "end too early"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "where", "reason"), LEFT_OUT.values(), ids=list(LEFT_OUT))
def test_what_cannot_be_used_is_left_out_and_named(tmp_path, value, where, reason):
    root = coco(tmp_path, value)
    found = open_detection(str(root), max_bad=1, parts={"train": "annotations.json"})
    assert told(found.train)["a.jpg"] == ([[2, 3, 12, 12]], [1])
    all_sound(found.train)
    ((key, why),) = found.bad.items()
    assert key == f"annotations.json {where}"
    assert reason in why
    assert len(why) < 300
    with pytest.raises(DataError, match=r"cannot be used, more than max_bad 0 allows; the first is") as error:
        open_detection(str(root), max_bad=0, parts={"train": "annotations.json"})
    assert "\n" not in str(error.value)


GOOD = json.dumps(coco_value([image()], [instance()]))
REFUSED = {
    "empty": ("", "not JSON"),
    "cut off": (GOOD[:-9], "not JSON"),
    "NaN": (GOOD.replace("[2,", "[NaN,"), "NaN is no number of JSON"),
    "Infinity": (GOOD.replace("[2,", "[-Infinity,"), "-Infinity is no number"),
    "a number of 5000 digits": (GOOD.replace("[2,", f"[{'9' * 5000},"), "not JSON"),
    "deep lists": ("[" * 200_000, "nested too deeply"),
    "deep objects": ('{"images":' * 100_000, "nested too deeply"),
    "a list": ("[]", "expected an object with images, annotations and categories"),
    "a number": ("7", "expected an object"),
    "no images": (json.dumps({"annotations": [], "categories": CATEGORIES}), "nothing under 'images'"),
    "images are an object": (json.dumps({"images": {}, "annotations": [], "categories": CATEGORIES}), "no list under"),
    "annotations are null": (json.dumps(coco_value([], None)), "no list under 'annotations'"),
    "no categories": (json.dumps(coco_value([], [], [])), "no categories"),
    "category without a name": (json.dumps(coco_value([], [], [{"id": 1}])), "category number 0: name is None"),
    "category id is text": (json.dumps(coco_value([], [], [{"id": "1", "name": "x"}])), "category number 0: id is '1'"),
    "two categories of an id": (json.dumps(coco_value([], [], [CATEGORIES[0], {"id": 9, "name": "x"}])), "id of ano"),
    "two categories of a name": (json.dumps(coco_value([], [], [CATEGORIES[0], {"id": 1, "name": "dog"}])), "name of"),
    "no boxes": (json.dumps(coco_value([image()], [])), "no box in the training part"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_file_that_is_no_annotation_file_is_refused_in_one_line(tmp_path, text, reason):
    root = coco(tmp_path, text)
    with pytest.raises(DataError) as error:
        open_detection(str(root), max_bad=1, parts={"train": "annotations.json"})
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    root = coco(tmp_path, GOOD)
    with open(root / "annotations.json", "r+b") as file:
        file.truncate(3_000_000_000)  # sparse
    with pytest.raises(DataError, match=r"file of 3000.0 MB, at most 2000"):
        open_detection(str(root))


def test_gaps_in_ids_crowds_and_areas(tmp_path):
    marks = [
        instance(5, 30, 9, (0.5, 0.25, 10, 9.5), area=77.5, segmentation=SQUARE),
        instance(2, 30, 7, (20, 3, 21, 9), iscrowd=1, segmentation=RUNS),
        instance(9, 4, 7, (-0.5, 3, 5, 5)),
    ]
    root = coco(
        tmp_path,
        coco_value([image(30), image(4, "b.jpg"), image(77, "c.jpg")], marks),
        pictures=("a.jpg", "b.jpg", "c.jpg"),
    )
    found = open_detection(str(root), parts={"train": "annotations.json"})
    assert found.classes == ("cat", "dog")
    train = found.train
    assert train.categories == (7, 9)
    assert [train.image_id(i) for i in range(3)] == [30, 4, 77]
    assert told(train) == {
        "a.jpg": ([[0.5, 0.25, 10.5, 9.75], [20, 3, 40, 12]], [2, 1]),
        "b.jpg": ([[0, 3, 4.5, 8]], [1]),
        "c.jpg": ([], []),
    }
    first = train.objects(0)
    assert first.crowd.tolist() == [False, True]
    assert first.areas is not None
    assert first.areas.tolist() == [77.5, 180.0]
    assert train.objects(1).areas is None
    assert found.notes == (
        "train: 1 of 3 pictures have no boxes and are kept as negatives",
        "train: 2 boxes reached up to a pixel over the edge and were clipped",
        "train: 1 objects have no outline; their box is their mask",
    )


def test_masks(tmp_path):
    pytest.importorskip("hotcoco")
    marks = [instance(1, segmentation=SQUARE), instance(2, segmentation=RUNS), instance(3, box=(30.4, 0, 9.6, 1.6))]
    train = open_detection(str(coco(tmp_path, coco_value([image()], marks))), parts={"train": "annotations.json"}).train
    packed = train.objects(0, masks=True)
    masks = packed.unpacked.masks
    assert packed.masks.areas.tolist() == [90, 9, 20]
    assert (masks.dtype, masks.shape) == (np.uint8, (3, 30, 40))
    square, runs, box = np.zeros_like(masks)
    square[3:12, 2:12] = 1
    runs[:9, 2] = 1
    box[:2, 30:] = 1
    assert (masks == np.stack([square, runs, box])).all()
    assert train.objects(0).masks is None


def test_usual_places(tmp_path):
    for part in ("train", "val"):
        value = coco_value([image(1, f"{part}.jpg")], [instance()])
        coco(tmp_path, value, f"annotations/instances_{part}2014.json", [f"{part}2014/{part}.jpg"])
    coco(tmp_path, {"images": [image()], "categories": CATEGORIES}, "annotations/instances_test2014.json", [])
    found = open_detection(str(tmp_path))
    assert list(found.parts) == ["train", "val"]
    assert (found.train.name(0), found.train.pixels(0).shape) == ("train2014/train.jpg", (30, 40, 3))
    assert "annotations/instances_test2014.json has 1 pictures without annotations and is ignored" in found.notes
    coco(
        tmp_path,
        coco_value([image(2, "train.jpg")], [instance(1, 2)]),
        "annotations/instances_train2017.json",
        ["train2017/train.jpg"],
    )
    with pytest.raises(
        DataError, match=r"both instances_train2014.json and instances_train2017.json are there; say which"
    ):
        open_detection(str(tmp_path))
    found = open_detection(str(tmp_path), parts={"train": "train2014+train2017", "test": "val2014"})
    assert [found.train.name(i) for i in range(2)] == ["train2014/train.jpg", "train2017/train.jpg"]
    assert (found.val, len(found.parts["test"])) == (None, 1)
    with pytest.raises(DataError, match="has image 1 like a file before"):
        open_detection(str(tmp_path), parts={"train": "train2014+val2014"})
    with pytest.raises(DataError, match=r"instances_train2018.json is not there"):
        open_detection(str(tmp_path), parts={"train": "train2018"})
    with pytest.raises(DataError, match=r"instances_../train2018.json is not there"):
        open_detection(str(tmp_path), parts={"train": "../train2018"})


def test_one_folder_a_part(tmp_path):
    for part in ("train", "valid", "test"):
        coco(tmp_path, coco_value([image()], [instance()]), f"{part}/_annotations.coco.json", [f"{part}/a.jpg"])
    found = open_detection(str(tmp_path))
    assert {part: one.name(0) for part, one in found.parts.items()} == {
        "train": "train/a.jpg",
        "val": "valid/a.jpg",
        "test": "test/a.jpg",
    }


@pytest.mark.parametrize("path", ["annotations.json", "all.json", "annotations/x.json"])
def test_one_file_is_divided_by_a_seed(tmp_path, path):
    names = [f"{n:02}.jpg" for n in range(20)]
    value = coco_value(
        [image(n + 100, name) for n, name in enumerate(names)], [instance(n, n + 100) for n in range(20)]
    )
    coco(tmp_path, value, path, [f"images/{name}" for name in names])
    given = tmp_path / path if "/" in path else tmp_path
    found = open_detection(str(given))
    assert {part: len(one) for part, one in found.parts.items()} == {"train": 14, "val": 3, "test": 3}
    assert (
        told(open_detection(str(tmp_path / path), seed=0).test)
        == told(found.test)
        != told(open_detection(str(given), seed=1).test)
    )
    assert {one.name(0)[:7] for one in found.parts.values()} == {"images/"}


def test_other_categories(tmp_path):
    coco(tmp_path, coco_value([image()], [instance()]), "train/annotations.json", ["train/a.jpg"])
    more = [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 5, "name": "cow"}]
    coco(
        tmp_path,
        coco_value([image()], [instance(1, 1, 4), instance(2, 1, 5)], more),
        "val/annotations.json",
        ["val/a.jpg"],
    )
    found = open_detection(str(tmp_path), max_bad=0.5)
    val = found.val
    assert val is not None
    assert (val.categories, val.objects(0).labels.tolist()) == ((4, 3), [1])
    assert found.bad == {"val/annotations.json annotation 2": "class 'cow' is none of the 2 classes"}
    chosen = open_detection(str(tmp_path), classes=("cow", "cat"), parts={"test": "val/annotations.json"})
    assert (chosen.classes, len(chosen.train), chosen.parts["test"].categories) == (("cow", "cat"), 0, (5, 4))
    with pytest.raises(DataError, match="other categories than the files before"):
        open_detection(str(tmp_path), parts={"train": "train/annotations.json+val/annotations.json"})


def test_a_size_that_is_not_told_is_the_pictures_and_a_wrong_one_is_refused(tmp_path):
    bare = {"id": 2, "file_name": "b.jpg"}
    root = coco(tmp_path, coco_value([image(width=50), bare], [instance()]))
    picture(root / "b.jpg", (21, 11))
    train = open_detection(str(root), parts={"train": "annotations.json"}).train
    assert train.size(1) == (21, 11)
    with pytest.raises(ImageError, match="40 x 30 pixels, its annotation says 50 x 30"):
        train.pixels(0)


def test_what_is_no_detection_set(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    for given, kind, reason in (
        (tmp_path, DataError, "is no detection set; expected VOC's Annotations"),
        (tmp_path / "x.txt", DataError, r"give a folder, a .json or a .csv file"),
        (tmp_path / "gone", DataError, "does not exist"),
        ("digit-scene", UsageError, "nearest: digits-scene"),
    ):
        with pytest.raises(kind, match=reason):
            open_detection(str(given))
