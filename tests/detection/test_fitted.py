"""Scale and anchors that are chosen from the pictures, by hand."""

import numpy as np
import pytest
from PIL import Image

from resnets.cli.detect import Train
from resnets.detection.choose import fitted, long_enough, quantiles, resized
from resnets.detection.datasets import open_detection
from resnets.detection.recipe import quick, recipe
from resnets.families import network

NETWORK = network("slim_resnet18")


@pytest.fixture
def dataset(tmp_path):
    """Nine crowds of 18 boxes of 60 pixels, with one box of 24 and one of 120 on 400 × 300."""
    rows = ["file,label,x1,y1,x2,y2,part"]
    for number in range(9):
        Image.new("RGB", (400, 300)).save(tmp_path / f"{number}.png")
        boxes = [("cell", 20 * i, 100, 20 * i + 60, 160) for i in range(17)]
        boxes += [("small", 10, 10, 34, 34), ("large", 200, 0, 320, 120)]
        rows += [f"{number}.png,{label},{a},{b},{c},{d},train" for label, a, b, c, d in boxes]
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    return open_detection(str(tmp_path / "boxes.csv"))


def test_every_class_has_an_anchor_though_one_has_nine_of_ten_boxes(dataset):
    """At a scale where small ones have nearly 40 pixels, though the pictures have fewer; twice their size at most."""
    made = fitted(quick(NETWORK, "x"), dataset)
    assert (made.scales, made.longest, made.testing.scale, made.testing.longest) == ((480,), 960, 480, 960)
    assert made.detector.anchors == (40, 96, 192)
    assert made.testing.aim == 96
    assert made.reasons[0] == "shorter side 480: the pictures have 300 pixels, and small boxes"
    assert "each class counted alike" in made.reasons[1]


def test_what_the_user_wishes_is_what_anchors_are_fitted_to(dataset):
    """The longer side goes with it, unless it is given as well."""
    made = fitted(quick(NETWORK, "x"), dataset, (200, 150))
    assert (made.scales, made.longest, made.testing.scale) == ((200, 150), 400, 150)
    assert made.detector.anchors == (12, 32, 60)
    assert made.reasons[0] == "shorter side 150: as asked for"
    assert fitted(quick(NETWORK, "x"), dataset, (200,), 250).longest == 250
    paper = resized(recipe("voc-2015", NETWORK, "x"), (300,))
    assert (paper.scales, paper.longest, paper.testing.longest) == ((300,), 500, 500)
    assert resized(recipe("voc-2015", NETWORK, "x"), ()) == recipe("voc-2015", NETWORK, "x")


def test_pictures_of_few_boxes_teach_with_fewer_regions(tmp_path, dataset):
    """A quarter of the regions may be objects': 10 boxes fill 40 of them, 18 the recipe's own 64."""
    assert fitted(quick(NETWORK, "x"), dataset).regions.regions == quick(NETWORK, "x").regions.regions == 64
    Image.new("RGB", (400, 300)).save(tmp_path / "few.png")
    rows = [f"few.png,cell,{30 * i},100,{30 * i + 60},160,train" for i in range(10)]
    (tmp_path / "few.csv").write_text("\n".join(["file,label,x1,y1,x2,y2,part", *rows]) + "\n")
    few = fitted(quick(NETWORK, "x"), open_detection(str(tmp_path / "few.csv")))
    assert few.regions.regions == 40
    assert few.reasons[-1] == "40 regions of a picture teach: none of 1 has more than 10 boxes"


@pytest.mark.parametrize(
    ("size", "box", "scale", "reason"),
    [
        ((100, 80), 60, 80, "the pictures have 80 pixels"),
        ((100, 80), 30, 108, "the pictures have 80 pixels, and small boxes"),
        ((100, 80), 8, 160, "the pictures have 80 pixels, and small boxes"),
        ((1000, 800), 600, 240, "enough for the boxes of every class"),
        ((1000, 800), 90, 356, "one class has small boxes"),
        ((1000, 800), 8, 480, "one class has small boxes"),
    ],
)
def test_small_pictures_are_enlarged_for_small_boxes_alone(tmp_path, size, box, scale, reason):
    """To 40 pixels a box: at most twice the picture, at most twice the recipe's 240."""
    Image.new("RGB", size).save(tmp_path / "one.png")
    (tmp_path / "boxes.csv").write_text(f"file,label,x1,y1,x2,y2,part\none.png,cell,0,0,{box},{box},train\n")
    made = fitted(quick(NETWORK, "x"), open_detection(str(tmp_path / "boxes.csv")))
    assert (made.size, made.reasons[0]) == (scale, f"shorter side {scale}: {reason}")


@pytest.mark.parametrize(
    ("pictures", "epochs", "every"), [(205, 40, 5), (600, 14, 2), (5000, 10, 1), (20, 200, 25), (0, 200, 25)]
)
def test_lengths(pictures, epochs, every):
    """2,000 updates of 4 pictures, at least ten epochs, at most 200; some eight tests on validation data."""
    made = long_enough(quick(NETWORK, "x"), pictures)
    assert (made.training.epochs, made.training.updates, made.val_every) == (epochs, 0, every)
    assert made.reasons[-1].startswith(f"{epochs} epochs: ")


def test_weighted_quantiles_by_hand():
    """Half of the weight lies on 10, a quarter each on 1 and 100."""
    values, weights = np.array([100.0, 1, 10, 10]), np.array([1.0, 1, 1, 1])
    assert quantiles(values, weights, (0.2, 0.5, 0.9)) == [1, 10, 100]
    assert quantiles(values, np.array([97.0, 1, 1, 1]), (0.5,)) == [100]


def test_what_is_mirrored():
    """Pictures left to right by half, digits never, nothing where the user says so; top to bottom where he says so."""
    assert recipe("voc-2015", NETWORK, "x").flip
    assert recipe("quick", NETWORK, "x").flip
    assert not recipe("quick", NETWORK, "digits-scene").flip
    as_usual, other = Train("digits-single").made(), Train("digits-single", no_flip=True, upside_down=True).made()
    assert (as_usual.flip, as_usual.upside_down, other.flip, other.upside_down) == (False, False, False, True)
    paper = {"recipe": "voc-2015", "network": "resnet50_v1", "weights": "file", "scale": (200,)}
    assert Train("x", **paper).made().flip
    assert not Train("x", **paper, no_flip=True).made().flip
