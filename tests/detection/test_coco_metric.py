"""COCO's numbers: the published ones to the digit, and pycocotools' own to a millionth."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from annotated_trees import CATEGORIES, coco, coco_value, image, instance

from resnets.detection.coco_metric import FIGURES, coco_figures, figures_of_files
from resnets.detection.datasets import open_detection
from resnets.detection.objects import Detections
from resnets.detection.results import read_results, results_json
from resnets.detection.scenes import digit_scenes
from resnets.errors import DataError, NumericError

pytest.importorskip("hotcoco")
DATA = os.environ.get("RESNETS_DATA")
PUBLISHED = Path(str(DATA), "coco-fake100")
TRUTH = "instances_val2014_100.json"
RESULTS = {"bbox": "instances_val2014_fakebbox100_results.json", "segm": "instances_val2014_fakesegm100_results.json"}
needs_data = pytest.mark.skipif(not DATA, reason="RESNETS_DATA names no folder with coco-fake100")


def official(truth, results, kind):
    """What COCO's own evaluator says; it has −1 where there is nothing to find."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    api = COCO()
    api.dataset = json.loads(json.dumps(truth))
    api.createIndex()
    if not results:
        results = [{"image_id": truth["images"][0]["id"], "category_id": -1, "bbox": [0, 0, 1, 1], "score": 0}]
    measured = COCOeval(api, api.loadRes(json.loads(json.dumps(results))), kind)
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    return dict(zip(FIGURES, measured.stats.tolist(), strict=True))


def assert_official(figures, truth, results, kind):
    expected = official(truth, results, kind)
    assert tuple(figures) == FIGURES
    assert {k: -1 if v is None else v for k, v in figures.items()} == pytest.approx(expected, abs=1e-6)
    return expected


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_published_figures(kind):
    text = (PUBLISHED / "val2014_fake_eval_res.txt").read_text()
    lines = text.split(f"type={kind}")[1].split("type=")[0].splitlines()
    published = [float(found[1]) for line in lines if (found := re.search(r"= (0\.\d{3})$", line))]
    figures = figures_of_files(PUBLISHED / TRUTH, PUBLISHED / RESULTS[kind], kind)
    assert [round(value, 3) for value in figures.values() if value is not None] == published
    truth, results = (json.loads((PUBLISHED / name).read_text()) for name in (TRUTH, RESULTS[kind]))
    assert_official(figures, truth, results, kind)


def runs(mask):
    """Uncompressed run lengths of a mask (H, W)."""
    flat = np.concatenate(([0], mask.T.reshape(-1), [2]))
    edges = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate(([0], edges)))
    return {"size": list(mask.shape), "counts": [int(n) for n in lengths]}


def packed_runs(mask):
    from pycocotools import mask as official_mask

    made = official_mask.encode(np.asfortranarray(mask))
    return {"size": [int(side) for side in made["size"]], "counts": made["counts"].decode()}


def random_case(seed):
    """Pictures of 200 × 150, one of them empty and one with over 100 detections, crowds, ties in scores."""
    generator = np.random.default_rng(seed)
    images = [{"id": 10 * k + 3, "width": 200, "height": 150} for k in range(6)]
    categories = [{"id": key, "name": f"c{key}"} for key in (2, 5, 11)]
    truth, results = [], []
    for place, picture in enumerate(images):
        for number in range(0 if place == 4 else generator.integers(2, 9)):
            x, y = generator.integers(0, 150), generator.integers(0, 100)
            w, h = generator.integers(2, 200 - x), generator.integers(2, 150 - y)
            x, y, w, h = (20, 20, 30, 30) if (place, number) == (1, 0) else (x, y, w, h)
            mask = np.zeros((150, 200), np.uint8)
            mask[y : y + h, x : x + w] = generator.random((h, w)) < 0.9
            mask[y, x] = 1
            crowd = int(number > 1 and generator.random() < 0.3)
            category = 2 if number == 0 else int(generator.choice([2, 5]))  # nothing is 11
            outline = (
                runs(mask)
                if crowd or generator.random() < 0.5
                else [[float(v) for v in (x, y, x + w, y, x + w, y + h)]]
            )
            truth.append({
                "id": len(truth) + 1, "image_id": picture["id"], "category_id": category, "iscrowd": crowd,
                "bbox": [float(v) for v in (x, y, w, h)], "area": float(w * h) * 0.8, "segmentation": outline,
            })  # fmt: skip
            for _ in range(generator.integers(0, 4)):
                results.append(_found(generator, picture["id"], category, (x, y, w, h)))
    for _ in range(130):
        results.append(_found(generator, images[1]["id"], 2, (20, 20, 30, 30)))
    for _ in range(10):
        results.append(_found(generator, images[4]["id"], 11, (20, 20, 30, 30)))
    return {"images": images, "annotations": truth, "categories": categories}, results


def _found(generator, image_id, category, box):
    x, y, w, h = (
        max(0.0, float(np.round(v + generator.normal() * 0.1 * box[2 + k % 2], 2))) for k, v in enumerate(box)
    )
    mask = np.zeros((150, 200), np.uint8)
    mask[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1] = 1
    score = float(np.round(generator.random(), 1))
    return {"image_id": image_id, "category_id": category, "bbox": [x, y, w, h], "score": score, "mask": mask}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_random_cases_equal_the_official_evaluator(tmp_path, seed, kind):
    pytest.importorskip("pycocotools")
    truth, found = random_case(seed)
    results = [{key: row[key] for key in ("image_id", "category_id", "score")} for row in found]
    for row, made in zip(results, found, strict=True):
        row |= {"bbox": made["bbox"]} if kind == "bbox" else {"segmentation": packed_runs(made["mask"])}
    files = [tmp_path / "truth.json", tmp_path / "results.json"]
    for file, value in zip(files, (truth, results), strict=True):
        file.write_text(json.dumps(value))
    expected = assert_official(figures_of_files(*files, kind), truth, results, kind)
    assert 0.01 < expected["AP"] < 0.9
    assert expected["AR100"] > expected["AR10"] > expected["AR1"]


def shaken(scenes, seed):
    """Detections of digits near where they are, with wrong and repeated ones among them."""
    generator = np.random.default_rng(seed)
    for index in range(len(scenes)):
        objects = scenes.objects(index, masks=True)
        at = generator.integers(0, len(objects), generator.integers(0, 8)) if len(objects) else np.zeros(0, int)
        boxes = objects.boxes[at] + generator.normal(0, 2, (len(at), 4)).astype(np.float32)
        labels = np.where(generator.random(len(at)) < 0.8, objects.labels[at], generator.integers(1, 11, len(at)))
        masks = np.roll(objects.masks[at], generator.integers(-2, 3), axis=2)
        yield Detections(boxes, generator.random(len(at)).astype(np.float32), labels, masks)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_figures_of_detections_equal_the_official_evaluator(kind):
    scenes = digit_scenes("digits-scene").train.subset(range(25))
    found = list(shaken(scenes, 0))
    truth = {"images": [], "annotations": [], "categories": [{"id": k, "name": str(k)} for k in range(1, 11)]}
    for i in range(len(scenes)):
        truth["images"].append({"id": i + 1, "width": 96, "height": 96})
        objects = scenes.objects(i, masks=True)
        for box, label, mask in zip(objects.boxes.tolist(), objects.labels.tolist(), objects.masks, strict=True):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": i + 1, "category_id": label, "iscrowd": 0,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "segmentation": runs(mask),
                "area": int(mask.sum()) if kind == "segm" else (box[2] - box[0]) * (box[3] - box[1]),
            })  # fmt: skip
    results = results_json(found, scenes, decimals=None)
    for row in results:
        del row["bbox" if kind == "segm" else "segmentation"]
    assert_official(coco_figures(found, scenes, kind), truth, results, kind)


def test_what_is_all_right_has_an_average_precision_of_one():
    scenes = digit_scenes("digits-scene").val
    assert scenes is not None
    perfect = []
    for i in range(len(scenes)):
        objects = scenes.objects(i, masks=True)
        perfect.append(Detections(objects.boxes, np.ones(len(objects), np.float32), objects.labels, objects.masks))
    for kind in ("bbox", "segm"):
        figures = coco_figures(perfect, scenes, kind)
        assert figures["AP"] == pytest.approx(1)
        assert figures["APl"] is None
    nothing = [Detections.of([], [], [])] * len(scenes)
    assert coco_figures(nothing, scenes)["AP"] == 0


def test_results_are_read_as_they_were_written(tmp_path):
    scenes = digit_scenes("digits-scene").train.subset([4, 2, 9])
    found = list(shaken(scenes, 1))
    file = tmp_path / "results.json"
    rows = results_json(found, scenes)
    file.write_text(json.dumps(rows))
    assert [row["image_id"] for row in rows] == sorted((row["image_id"] for row in rows), key=[5, 3, 10].index)
    for read, made in zip(read_results(file, scenes), found, strict=True):
        assert np.abs(read.boxes - made.boxes).max(initial=0) <= 1.1e-3
        assert (read.scores == made.scores).all()
        assert (read.labels == made.labels).all()
        assert len(made) == 0 or (read.masks == made.masks).all()


def test_labels_become_the_categories_of_the_annotations(tmp_path):
    value = coco_value([image(30), image(4, "b.jpg")], [instance(1, 30, 9), instance(2, 4, 7, (20, 3, 8, 9))])
    train = open_detection(str(coco(tmp_path, value)), parts={"train": "annotations.json"}).train
    objects = [train.objects(i) for i in range(2)]
    found = [Detections.of(one.boxes, [0.5] * len(one), one.labels) for one in objects]
    rows = results_json(found, train)
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in rows] == [
        (30, 9, [2.0, 3.0, 10.0, 9.0]), (4, 7, [20.0, 3.0, 8.0, 9.0])
    ]  # fmt: skip
    assert coco_figures(found, train)["AP"] == pytest.approx(1)
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert figures_of_files(tmp_path / "annotations.json", tmp_path / "results.json")["AP"] == pytest.approx(1)
    assert [one.labels.tolist() for one in read_results(tmp_path / "results.json", train)] == [[2], [1]]
    assert coco_figures(found[::-1], train)["AP"] == 0


def test_numbers_that_are_none_and_masks_that_are_not_there():
    scenes = digit_scenes("digits-single").train.subset([0])
    for found in (Detections.of([[0, 0, np.nan, 4]], [0.5], [1]), Detections.of([[0, 0, 4, 4]], [np.inf], [1])):
        with pytest.raises(NumericError, match="diverged"):
            coco_figures([found], scenes)
    with pytest.raises(DataError, match="detections without masks"):
        coco_figures([Detections.of([[0, 0, 4, 4]], [0.5], [1])], scenes, "segm")


GOOD = [
    {
        "image_id": 1,
        "category_id": 7,
        "bbox": [2, 3, 10, 9],
        "score": 0.5,
        "segmentation": {"size": [30, 40], "counts": [60, 9, 1131]},
    }
]
BAD_RESULTS = {
    "no list": ({"image_id": 1}, "expected a list"),
    "no object": ([1], "result number 0: 1 is not an object"),
    "unknown image": ([{**GOOD[0], "image_id": 2}], "there is no image 2 in the annotations"),
    "unknown category": ([*GOOD, {**GOOD[0], "category_id": 8}], "result number 1: there is no category 8"),
    "image is text": ([{**GOOD[0], "image_id": "1"}], "image_id is '1'"),
    "score is text": ([{**GOOD[0], "score": "0.5"}], "score is '0.5', not a number"),
    "no score": ([{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}], "no score"),
    "score is true": ([{**GOOD[0], "score": True}], "score is True"),
    "score beyond all numbers": ([{**GOOD[0], "score": 10**400}], "score is a huge number"),
    "box of text": ([{**GOOD[0], "bbox": [1, 2, 3, "4"]}], "not four numbers"),
    "negative width": ([{**GOOD[0], "bbox": [1, 2, -3, 4]}], "reversed corners"),
    "other size": ([{**GOOD[0], "segmentation": {"size": [9, 9], "counts": [81]}}], "of size [9, 9] on a picture"),
    "NaN": ('[{"image_id": 1, "category_id": 7, "bbox": [2, 3, 10, 9], "score": NaN}]', "NaN is no number of JSON"),
    "overflow": ('[{"image_id": 1, "category_id": 7, "bbox": [2, 3, 10, 9], "score": 1e999}]', "score is inf"),
    "deep": ("[" * 200_000, "nested too deeply"),
}  # fmt: skip
BAD_TRUTH = {
    "two images of an id": (coco_value([image(), image()], []), "1 images have the id of another"),
    "image without a size": (coco_value([{"id": 1}], []), "image number 0: no width"),
    "two annotations of an id": (coco_value([image()], [instance(), instance()]), "annotations have the ids of others"),
    "unknown image": (coco_value([image()], [instance(), instance(2, 5)]), "annotation number 1: there is no image 5"),
    "unknown category": (coco_value([image()], [instance(1, 1, 8)]), "annotation number 0: there is no category 8"),
    "box of text": (coco_value([image()], [instance(box=("1", 2, 3, 4))]), "not four numbers"),
    "odd crowd": (coco_value([image()], [instance(iscrowd=[])]), "iscrowd is []"),
    "area is text": (coco_value([image()], [instance(area="1")]), "area is '1'"),
}


@pytest.mark.parametrize(("value", "reason"), BAD_RESULTS.values(), ids=list(BAD_RESULTS))
def test_results_are_checked_before_they_are_measured(tmp_path, value, reason):
    (tmp_path / "truth.json").write_text(json.dumps(coco_value([image()], [instance()])))
    file = tmp_path / "results.json"
    file.write_text(json.dumps(value) if not isinstance(value, str) else value)
    with pytest.raises(DataError) as error:
        figures_of_files(tmp_path / "truth.json", file)
    assert reason in str(error.value)
    assert "results.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("value", "reason"), BAD_TRUTH.values(), ids=list(BAD_TRUTH))
def test_annotations_are_checked_before_they_are_measured(tmp_path, value, reason):
    (tmp_path / "truth.json").write_text(json.dumps(value))
    (tmp_path / "results.json").write_text(json.dumps(GOOD))
    with pytest.raises(DataError) as error:
        figures_of_files(tmp_path / "truth.json", tmp_path / "results.json")
    assert reason in str(error.value)
    assert "truth.json" in str(error.value)


def test_masks_need_outlines_and_a_result_may_be_empty(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(coco_value([image()], [instance()], CATEGORIES)))
    (tmp_path / "results.json").write_text(json.dumps(GOOD))
    assert figures_of_files(tmp_path / "truth.json", tmp_path / "results.json")["AP"] == pytest.approx(1)
    with pytest.raises(DataError, match="annotation number 0: no segmentation; only boxes"):
        figures_of_files(tmp_path / "truth.json", tmp_path / "results.json", "segm")
    (tmp_path / "results.json").write_text("[]")
    assert figures_of_files(tmp_path / "truth.json", tmp_path / "results.json")["AP"] == 0
