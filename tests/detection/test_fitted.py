"""Scale and anchors that are chosen from the pictures, by hand."""

import numpy as np
import pytest
from PIL import Image

from resnets.detection.choose import fitted, quantiles, resized
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
    """At a scale where small ones have nearly 40 pixels; no larger than the pictures are."""
    made = fitted(quick(NETWORK, "x"), dataset)
    assert (made.scales, made.longest, made.testing.scale, made.testing.longest) == ((300,), 600, 300, 600)
    assert made.detector.anchors == (24, 60, 120)
    assert made.testing.aim == 60
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


def test_weighted_quantiles_by_hand():
    """Half of the weight lies on 10, a quarter each on 1 and 100."""
    values, weights = np.array([100.0, 1, 10, 10]), np.array([1.0, 1, 1, 1])
    assert quantiles(values, weights, (0.2, 0.5, 0.9)) == [1, 10, 100]
    assert quantiles(values, np.array([97.0, 1, 1, 1]), (0.5,)) == [100]
