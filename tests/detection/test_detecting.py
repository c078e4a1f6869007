"""A detector's run: trained, tested, kept, reported, resumed bit for bit; and what it is loaded into."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from annotated_trees import coco, coco_value, image, instance
from PIL import Image

from resnets import api
from resnets.cli.main import main
from resnets.detecting import load
from resnets.detection.detect import detect
from resnets.detection.recipe import DetectionRecipe, Regions, alternating, recipe
from resnets.detection.result import DetectionResult
from resnets.detector import evaluated, looked
from resnets.errors import DataError, NumericError, UsageError, WeightsError
from resnets.families import network
from resnets.run import events, execute
from resnets.start import Machine
from resnets.training.train import Step

SMALL = Regions((100, 50), (30, 10), smallest=2.0, anchors=32, regions=16)


def small(data="digits-scene", **changes) -> DetectionRecipe:
    """Four updates of two pictures, tested on three."""
    made = recipe("quick", network("slim_resnet18"), data)
    training = replace(made.training, updates=4, batch_size=2, precision="fp32", lr=0.005)
    return replace(
        made, training=training, regions=SMALL, scales=(64,), longest=96, test_images=3, val_every=10**6,
        testing=replace(made.testing, scale=64, longest=96), **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    *_, result = api.followed(small(), folder)
    return result


def test_a_run_says_what_it_came_to(run):
    """Result, figures, pictures, report and a model folder."""
    assert isinstance(run, DetectionResult)
    assert (run.updates, run.test_images, run.model) == (4, 3, "last" if run.val_ap is None else "best")
    assert set(run.classes) == set("0123456789")
    assert {"area", "voc07"} <= set(run.figures)
    place = run.path / run.evaluation
    kept = json.loads((place / "result.json").read_bytes())
    assert kept["area"] == run.test_ap
    assert 0 < kept["seconds_per_image"] < run.seconds
    assert len(list(place.glob("found-*.png"))) == 3
    page = (run.path / "report.html").read_text("utf-8")
    assert "slim_resnet18 C4" in page
    assert "data:image/png" in page
    assert "object-detection" in (run.path / run.model / "README.md").read_text()


def test_its_report_in_chinese(run, tmp_path, capsys):
    """`resnets report` knows a detector's run, and speaks both languages."""
    out = tmp_path / "report.html"
    assert main(["report", str(run.path), "--language", "zh", "--out", str(out)]) == 0
    page = out.read_text("utf-8")
    assert "平均精度" in page
    assert "Training" not in page
    assert 'lang="zh-Hans"' in page


def test_what_is_kept_finds_the_same(run):
    """The test of the kept model, once more, gives the run's own figures."""
    again = evaluated([run.path], images=3)
    assert again.figures.means == run.figures
    assert again.facts["part"] == "test"


def test_it_is_tested_in_the_precision_that_it_was_trained_in(tmp_path):
    """Else its own figures would not be found again."""
    made = small()
    done = execute_detector(tmp_path / "run", replace(made, training=replace(made.training, precision="bf16")))
    assert evaluated([done.path], images=3).figures.means == done.figures


def test_data_with_some_of_the_classes_tests_a_detector(run, tmp_path):
    """What the model does not know cannot be used, and counts as bad."""
    Image.new("L", (96, 96)).save(tmp_path / "1.png")
    rows = ["file,label,x1,y1,x2,y2,part", "1.png,3,10,10,40,40,test"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    tested = evaluated([run.path], str(tmp_path / "boxes.csv"))
    assert {name for name, value in tested.figures.classes.items() if value is not None} == {"3"}
    (tmp_path / "boxes.csv").write_text("\n".join([*rows, "1.png,cat,10,10,40,40,test"]) + "\n")
    assert evaluated([run.path], str(tmp_path / "boxes.csv"), max_bad=0.5).figures.classes == tested.figures.classes
    with pytest.raises(DataError, match="class 'cat' is none of the 10 classes"):
        evaluated([run.path], str(tmp_path / "boxes.csv"))


def test_a_detector_is_no_classifier_and_the_other_way_round(run, tmp_path):
    """One line says what it is and what to use."""
    with pytest.raises(WeightsError, match=r"detector.*resnets detect"):
        api.load(run.path)
    with pytest.raises(UsageError, match=r"detector.*resnets detect"):
        api.resume(run.path)
    trained = api.train("digits", out=tmp_path / "digits", epochs=0, updates=1)
    with pytest.raises(WeightsError, match=r"classifier.*resnets predict"):
        load(trained.path)


def test_a_resumed_run_is_the_unbroken_one(run, tmp_path):
    """Stopped after two updates and gone on with: the same weights, bit for bit."""
    for event in events(small(), tmp_path / "run", Machine(save_every=1)):
        if isinstance(event, Step) and event.update == 3:
            break  # the process is gone; update 2 was saved
    assert not (tmp_path / "run" / "result.json").exists()
    done = execute_detector(tmp_path / "run")
    one, other = load(run.path).tensors, load(done.path).tensors
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert done.figures == run.figures


def execute_detector(folder, made=None):
    *_, result = events(made or small(), folder)
    return result


@pytest.fixture
def coco_folder(tmp_path):
    """Four pictures to train and two to validate, none to test, as COCO's 2014; ids of categories with gaps."""
    for part, count in (("train", 4), ("val", 2)):
        keys = range(1, count + 1)
        value = coco_value(
            [image(key, f"{key}.jpg") for key in keys], [instance(key, key, category=9 - key % 2 * 2) for key in keys]
        )
        names = [f"{part}2014/{key}.jpg" for key in keys]
        coco(tmp_path / "coco", value, f"annotations/instances_{part}2014.json", names)
    return tmp_path / "coco"


def test_validation_data_test_where_no_test_part_is_and_choose_nothing(coco_folder, tmp_path):
    """He2015 table 8 trains on COCO's train and tests on its val."""
    done = execute_detector(tmp_path / "run", small(str(coco_folder)))
    assert (done.model, done.val_ap, done.test_images) == ("last", None, 2)
    assert done.evaluation == "evaluations/coco-val"
    assert (done.path / done.evaluation / "result.json").exists()
    seen = next(looked(done.path, [coco_folder / "val2014/1.jpg"], least=0.0))
    assert {row["category_id"] for row in seen.results()} <= {7, 9}, "the data's own ids"


def test_what_a_run_allows_its_evaluation_allows(coco_folder, tmp_path):
    """One of two validation pictures is no picture."""
    (coco_folder / "val2014/1.jpg").write_bytes(b"none")
    done = execute_detector(tmp_path / "run", small(str(coco_folder), max_bad=0.5))
    assert evaluated([done.path]).figures.means == done.figures
    with pytest.raises(DataError, match="cannot be read"):
        evaluated([done.path], max_bad=0.01)


def test_a_network_that_is_not_finite_is_named(run):
    """Not a score of 0."""
    broken = load(run.path)
    tensors = {n: t * float("nan") if n.endswith("cls_score.bias") else t for n, t in broken.tensors.items()}
    model = replace(broken, tensors=tensors).model()
    with pytest.raises(NumericError, match="not finite"):
        detect([model], torch.rand(3, 64, 64), broken.testing)


def test_another_recipe_in_the_same_folder_is_refused(run):
    """Nothing is overwritten."""
    with pytest.raises(UsageError, match="another recipe"):
        execute(small(seed=1), run.path)  # type: ignore[arg-type]


def test_a_detector_starts_from_a_classifier(tmp_path):
    """The layers that detection takes are those of the classifier, before the first update."""
    from resnets.detecting import first_state

    trained = api.train(
        "digits", out=tmp_path / "digits", network="slim_resnet18", size=32, channels=3, updates=1, epochs=0
    )
    made = small(weights=str(trained.path))
    state, _ = first_state(made, tmp_path / "x", 10, fresh=True)
    own = api.load(trained.path).bundle.tensors
    inside = state.model.body.network.state_dict()
    assert torch.equal(inside["layer4.1.conv2.weight"], own["layer4.1.conv2.weight"])
    assert "fc.weight" not in inside


def test_alternating_steps_share_their_layers(tmp_path):
    """After steps 3 and 4 the shared layers are those of step 2, and step 4 has the RPN of step 3."""
    steps = alternating(replace(small(), training=replace(small().training, updates=8)))
    for number, step in enumerate(steps, 1):
        execute_detector(tmp_path / f"step-{number}", replace(step, training=replace(step.training, ema=0.0)))
    second, third, last = (load(tmp_path / f"step-{number}").tensors for number in (2, 3, 4))
    shared = [name for name in last if name.startswith("body.network.layer1")]
    assert shared
    assert all(torch.equal(second[name], last[name]) for name in shared)
    scores = "rpn.head.cls_logits.weight"
    assert torch.equal(third[scores], last[scores])
    assert not torch.equal(second[scores], third[scores])
    assert not torch.equal(second["heads.box_predictor.cls_score.weight"], last["heads.box_predictor.cls_score.weight"])


def test_what_cannot_be_learnt_is_refused_before_training(tmp_path):
    """No training part, and no masks where masks are asked for; nothing is left behind."""
    boxes = tmp_path / "boxes.csv"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    for part, asked, said in (("test", False, "no training part"), ("train", True, "no masks")):
        boxes.write_text(f"file,label,x1,y1,x2,y2,part\na.png,black,8,8,40,40,{part}\n")
        made = small(str(boxes))
        with pytest.raises(DataError, match=said):
            execute_detector(tmp_path / "run", replace(made, detector=replace(made.detector, masks=asked)))
        assert not (tmp_path / "run").exists()


def test_predictions_on_files(run, tmp_path):
    """One answer a file; what cannot be read says why; drawings lie where they were asked for."""
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    found = list(looked(run.path, [tmp_path], least=0.0, draw=tmp_path / "out"))
    black, broken = found
    assert black.found is not None
    assert len(black.rows()) == len(black.results())
    assert (tmp_path / "out" / "black-1.png").is_file()
    assert broken.reason
    with pytest.raises(UsageError, match="no picture"):
        list(looked(run.path, [tmp_path / "empty"]))


@pytest.mark.slow
def test_a_detector_overfits_two_pictures(tmp_path):
    """Trained on two pictures and tested on the same, every digit is found."""
    from resnets.detection.datasets import open_detection
    from resnets.detection.job import Detection

    dataset = open_detection("digits-scene")
    two = dataset.train.subset([0, 1])
    made = small()
    made = replace(
        made, flip=False, scales=(96,), training=replace(made.training, updates=150, lr=0.02, ema=0.0),
        testing=replace(made.testing, scale=96), detector=replace(made.detector, classes=10, anchors=(16, 32)),
    )  # fmt: skip
    from resnets.detecting import first_state
    from resnets.detection.figures import figures_of
    from resnets.training.train import train

    state, _ = first_state(made, tmp_path, 2, fresh=True)
    job = Detection(state.model, made, two)
    losses = [step.loss for step in train(job, state)]
    assert losses[-1] < losses[0] / 5
    figures = figures_of(list(job.found([state.model.eval()], two)), two, dataset.classes, masks=False)
    assert figures.means["area"] > 0.95
