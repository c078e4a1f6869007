from annotated_trees import annotation, coco, coco_value, image, instance, marked, picture, voc

from resnets.detection.check import check_detection, sentences
from resnets.detection.datasets import open_detection


def test_a_set_is_told(tmp_path):
    good = annotation(marked(), marked("dot", (1, 1, 40, 30), "<difficult>1</difficult>"))
    bad = annotation(marked("c\u009bell"), marked(box=(5, 5, 5, 9)))
    root = voc(tmp_path, {"train": {"a": good, "b": bad, "c": annotation()}})
    picture(root / "JPEGImages/b.jpg", (41, 30))
    found = open_detection(str(root), max_bad=0.5)
    reports = check_detection(found)
    train = reports["train"]
    assert (train.pictures, train.negatives, train.objects, train.difficult, train.crowds) == (3, 1, 3, 1, 0)
    assert train.classes == {"c\u009bell": 1, "cell": 1, "dot": 1}
    assert train.sides == {"shorter": (30, 30, 30), "longer": (40, 40, 40)}
    assert train.areas == {"small": 2, "medium": 1, "large": 0}
    assert train.tiny == 2
    assert list(train.unreadable) == ["JPEGImages/b.jpg"]
    lines = list(sentences(found, reports))
    assert lines[1].startswith(
        "train: 3 pictures (1 without objects), 3 objects, 1 difficult, 0 crowds; shorter side 30"
    )
    assert "left out: Annotations/b.xml:5: zero area: xmin and xmax are both 5" in lines
    assert all(line.isprintable() for line in lines)


def test_areas_are_those_annotated(tmp_path):
    value = coco_value([image()], [instance(area=5000), instance(2, iscrowd=1)])
    found = open_detection(str(coco(tmp_path, value)), parts={"train": "annotations.json"})
    train = check_detection(found)["train"]
    assert (train.areas, train.crowds) == ({"small": 1, "medium": 1, "large": 0}, 1)
