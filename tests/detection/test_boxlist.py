"""Lists of boxes in CSV: forms, faults, parts."""

import pytest
from annotated_trees import all_sound, picture, told

from resnets.detection.datasets import open_detection
from resnets.errors import DataError, UsageError

HEADER = "file,label,x1,y1,x2,y2,part"
GOOD = "a.jpg,cat,2,3,12,12,train"


def listed(root, *rows, header=HEADER, name="boxes.csv"):
    for path in ("a.jpg", "deep/b.png", "c.jpg"):
        picture(root / path)
    (root / name).write_text("\n".join([header, *rows]))
    return root


def test_rows_become_pictures(tmp_path):
    rows = [GOOD, "deep/b.png,dog,0,0,40,30,test", "a.jpg,dog,5.5,5,40.5,30,train", "c.jpg,,,,,,valid"]
    found = open_detection(str(listed(tmp_path, *rows)))
    assert found.classes == ("cat", "dog")
    assert told(found.train) == {"a.jpg": ([[2, 3, 12, 12], [5.5, 5, 40, 30]], [1, 2])}
    assert found.val is not None
    assert (len(found.val.objects(0)), found.val.size(0), found.train.image_id(0)) == (0, (40, 30), 1)
    assert told(found.parts["test"]) == {"deep/b.png": ([[0, 0, 40, 30]], [2])}
    assert "val: 1 of 1 pictures have no boxes and are kept as negatives" in found.notes
    assert told(open_detection(str(tmp_path / "boxes.csv")).train) == told(found.train)


def test_other_names_of_columns_and_told_sizes(tmp_path):
    header = "filename;width;height;class;xmin;ymin;xmax;ymax"
    found = open_detection(str(listed(tmp_path, "a.jpg;44;33;cat;2;3;12;12", header=header, name="labels.csv")))
    assert found.train.size(0) == (44, 33)


def test_without_parts_a_seed_divides(tmp_path):
    names = [f"{n:02}.jpg" for n in range(20)]
    for name in names:
        picture(tmp_path / name)
    root = listed(tmp_path, *(f"{name},cat,2,3,12,12" for name in names), header="file,label,x1,y1,x2,y2")
    found = open_detection(str(root))
    assert {part: len(one) for part, one in found.parts.items()} == {"train": 14, "val": 3, "test": 3}


BAD = {
    "outside": ("c.jpg,cat,50,3,60,12,train", "outside the picture"),
    "reversed": ("c.jpg,cat,12,3,2,12,train", "reversed corners"),
    "zero area": ("c.jpg,cat,2,3,2,12,train", "zero area"),
    "not a number": ("c.jpg,cat,2,x,12,12,train", "y1 is 'x', not a number"),
    "NaN": ("c.jpg,cat,nan,3,12,12,train", "x1 is 'nan'"),
    "infinite": ("c.jpg,cat,2,3,inf,12,train", "x2 is 'inf'"),
    "underscores": ("c.jpg,cat,0_2,3,12,12,train", "x1 is '0_2'"),
    "half a box": ("c.jpg,cat,2,3,,,train", "x2 is ''"),
    "no label": ("c.jpg,,2,3,12,12,train", "no label"),
    "label without a box": ("c.jpg,cat,,,,,train", "x1 is ''"),
    "long label": (f"c.jpg,{'c' * 201},2,3,12,12,train", "more than 200"),
    "missing": ("gone.jpg,cat,2,3,12,12,train", "gone.jpg is not there"),
    "out": ("../../etc/passwd,cat,2,3,12,12,train", "leads out of the folder"),
    "absolute": ("/etc/passwd,cat,2,3,12,12,train", "leads out of the folder"),
    "a folder": ("deep,cat,2,3,12,12,train", "is not a file"),
    "no file": (",cat,2,3,12,12,train", "names no file"),
    "no picture": ("boxes.csv,cat,2,3,12,12,train", "not JPEG, PNG"),
    "another spelling": ("./a.jpg,cat,2,3,12,12,train", "is a.jpg, which has rows of its own"),
}


@pytest.mark.parametrize(("row", "reason"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_used_is_left_out_and_named(tmp_path, row, reason):
    root = listed(tmp_path, GOOD, row)
    found = open_detection(str(root), max_bad=0.5)
    all_sound(found.train)
    assert told(found.train)["a.jpg"] == ([[2, 3, 12, 12]], [1])
    ((where, why),) = found.bad.items()
    assert where.endswith("boxes.csv:3")
    assert reason in why
    with pytest.raises(DataError, match="more than max_bad 0 allows"):
        open_detection(str(root), max_bad=0)


REFUSED = {
    "no header": ("", [GOOD], "no column"),
    "no rows": (HEADER, [], "no box in the training part"),
    "no corner": (
        HEADER.replace("y2", "z"),
        [GOOD],
        "no column y2; the first row must name file, label, x1, y1, x2, y2",
    ),
    "other count": (HEADER, ["a.jpg,cat,1"], "3 columns, 7 in the first row"),
    "odd part": (HEADER, [GOOD.replace("train", "tarin")], "the part is none of train, val and test"),
    "two parts": (HEADER, [GOOD, GOOD.replace("train", "test")], "in test and train"),
    "not UTF-8": (HEADER, [GOOD + "\udcff"], "not UTF-8"),
}


@pytest.mark.parametrize(("header", "rows", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_list_that_cannot_be_understood_is_refused(tmp_path, header, rows, reason):
    listed(tmp_path)
    text = "\n".join([header, *rows]) if header else "\n".join(rows)
    (tmp_path / "boxes.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=reason):
        open_detection(str(tmp_path))


def test_a_list_says_its_parts_itself(tmp_path):
    with pytest.raises(UsageError, match="is a list; its column part says"):
        open_detection(str(listed(tmp_path, GOOD)), parts={"train": "boxes.csv"})
