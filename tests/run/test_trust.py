"""What makes a figure believable: nothing trained on is tested on, nothing of the user's is touched."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets import api, families, files, testing
from resnets.bundle import Bundle, save
from resnets.classification import Classification
from resnets.cli.main import main
from resnets.data.datasets import open_dataset
from resnets.data.preprocessing import Preprocessing
from resnets.errors import DataError, LockHeld, UsageError, WeightsError
from resnets.models import create_model
from resnets.record import trained_on
from resnets.run import events, execute
from resnets.start import Machine
from resnets.training.train import Step


def pictures(root: Path, names=("dark", "light"), count=40, prefix="") -> Path:
    """Little pictures of two classes."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 128, (10, 10, 3)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{prefix}{i:02d}.png")
    return root


def small(data, **changes):
    return api.plan(
        str(data),
        **{"network": "cifar_resnet8", "epochs": 1, "size": 8, "batch_size": 8, "precision": "fp32", **changes},
    )


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    mine = tmp_path / "mine"
    (mine / "best").mkdir(parents=True)
    (mine / "best/notes.txt").write_text("mine")
    (mine / "log.jsonl").write_text("mine")
    with pytest.raises(UsageError, match="other things than a run"):
        execute(small("digits"), mine)
    assert sorted(p.name for p in mine.rglob("*") if p.is_file()) == ["log.jsonl", "notes.txt"]
    assert (mine / "log.jsonl").read_text() == "mine"


@pytest.mark.parametrize("names", [("dark", "light"), ("-1", "+1"), ("=a", "@b"), ("naïve 😀", "a\\nb")])
def test_only_the_test_part_of_the_run_is_tested(tmp_path, names):
    data = pictures(tmp_path / "data", names)
    result = execute(small(data, val=0.1, test=0.1), tmp_path / "run")
    for part, images in (("auto", 8), ("test", 8), ("val", 8), ("train", 64), ("all", 80)):
        assert api.evaluate(result.run, str(data), part=part).evaluation.counts.images == images, part
    new = pictures(tmp_path / "new", names, count=3, prefix="new")
    assert api.evaluate(result.run, str(new)).part == "all"


@pytest.mark.parametrize(("changes", "passes"), [({}, 1), ({"protocol": "1-crop-flip"}, 2), ({"bn_images": 64}, 2)])
def test_the_last_model_is_not_tested_twice(tmp_path, monkeypatch, changes, passes):
    """A test that was watched at the end is that of the kept model: the same answers, one pass over the data."""
    whole, seen = Classification.evaluate, list[str]()
    monkeypatch.setattr(Classification, "evaluate", lambda *given: seen.append("") or whole(*given))
    choices = {"recipe": "cifar-2015", "epochs": 0, "updates": 2, "network": "cifar_resnet8"}
    result = api.train("digits", out=tmp_path / "run", **choices, **changes)
    assert len(seen) == passes
    kept = json.loads((result.path / result.evaluation / "result.json").read_bytes())
    assert kept["mistakes"] == result.test_mistakes
    if not changes:
        assert api.evaluate(result.path, "digits").evaluation.counts.mistakes == result.test_mistakes


def test_an_ensemble_is_tested_on_what_none_of_it_was_trained_on(tmp_path):
    data = pictures(tmp_path / "data")
    first = execute(small(data), tmp_path / "first").run
    second = execute(small(data, split_seed=7), tmp_path / "second").run
    with pytest.raises(UsageError, match="different splits"):
        api.evaluate([first, second], str(data))
    whole = open_dataset(str(data)).whole
    seen = [trained_on(Path(run)) for run in (first, second)]
    _, one, _ = testing._part_of_runs(whole, "auto", seen)
    _, other, _ = testing._part_of_runs(whole, "auto", seen[::-1])
    assert one.names == other.names
    assert 0 < len(one) < 12


def test_every_pair_of_models_is_ranked(tmp_path, capsys, monkeypatch):
    runs = [execute(small("digits", updates=8, seed=seed), tmp_path / str(seed)).run for seed in range(3)]
    command = ["evaluate", *runs, "--data", "digits", "--best-of", "2", "--cache", str(tmp_path / "scores"), "--json"]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)["ensembles"]
    assert [row["top5_mistakes"] for row in rows] == sorted(row["top5_mistakes"] for row in rows)
    assert {tuple(row["models"]) for row in rows} == {(runs[0], runs[1]), (runs[0], runs[2]), (runs[1], runs[2])}
    monkeypatch.setattr(testing, "view_batches", pytest.fail)  # every score is kept: no model is asked again
    best = api.evaluate(rows[0]["models"], "digits", cache=tmp_path / "scores").evaluation.counts
    assert (best.mistakes, best.images - best.top5_hits) == (rows[0]["top1_mistakes"], rows[0]["top5_mistakes"])
    assert main([*command[:-1]]) == 0
    assert "3 ensembles of 2 on the test part, 359 images" in capsys.readouterr().out
    assert main([*command[:7], "4"]) == 2


def test_a_model_outside_its_run_says_so(tmp_path, capsys):
    data = pictures(tmp_path / "data")
    result = execute(small(data), tmp_path / "run")
    (tmp_path / "run/best").rename(tmp_path / "moved")
    assert main(["evaluate", str(tmp_path / "moved"), "--data", str(data), "--json"]) == 0
    assert "not known" in json.loads(capsys.readouterr().out)["notes"][0]
    assert result.model == "best"


def test_the_split_of_digits_is_that_of_the_run(tmp_path):
    result = execute(small("digits", val=0.3), tmp_path / "run")
    assert api.evaluate(result.run, "digits", part="val").evaluation.counts.images > 400


def test_broken_pictures_in_every_part_are_counted(tmp_path):
    data = pictures(tmp_path / "data")
    recipe = small(data, max_bad=0.2)
    run = execute(recipe, tmp_path / "whole")
    parts = trained_on(Path(run.run))
    broken = [next(n for (n, _), p in parts.items() if p == part) for part in ("val", "test")]
    for name in broken:
        size = (data / name).stat().st_size
        (data / name).write_bytes(b"x" * size)
    result = execute(recipe, tmp_path / "again")
    assert result.bad_files == 2
    assert all(name in (tmp_path / "again/bad_images.txt").read_text() for name in broken)
    with pytest.raises(DataError, match="max_bad"):
        execute(replace(recipe, max_bad=0.01), tmp_path / "strict")


def test_strict_stops_at_the_first_broken_picture_and_touches_nothing(tmp_path, capsys):
    data = pictures(tmp_path / "data")
    (data / "dark" / "05.png").write_bytes(b"broken")
    before = {path: path.read_bytes() for path in sorted(data.rglob("*.png"))}
    small_run = ["train", str(data), "--network", "cifar_resnet8", "--size", "8", "--epochs", "1", "--batch-size", "8"]
    execute(small(data, max_bad=0.1), tmp_path / "run")
    assert "dark/05.png" in (tmp_path / "run/bad_images.txt").read_text()
    capsys.readouterr()
    assert main([*small_run, "--strict", "--out", str(tmp_path / "strict")]) == 3
    assert "dark/05.png: not JPEG" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--part", "all", "--strict"]) == 3
    assert before == {path: path.read_bytes() for path in sorted(data.rglob("*.png"))}


def test_evaluating_does_not_write_over_the_run(tmp_path, capsys):
    data = pictures(tmp_path / "data")
    result = execute(small(data), tmp_path / "run")
    own = (tmp_path / "run" / result.evaluation / "result.json").read_bytes()
    assert main(["evaluate", result.run, "--data", str(data), "--part", "train"]) == 0
    assert (tmp_path / "run" / result.evaluation / "result.json").read_bytes() == own
    assert (tmp_path / "run/evaluations/data-train-1-crop/result.json").is_file()
    assert main(["evaluate", result.run, "--data", str(data), "--out", result.run]) == 2
    assert "another --out" in capsys.readouterr().err


def test_data_of_the_same_name_does_not_replace_the_runs_own_test(tmp_path):
    data, other = pictures(tmp_path / "data"), pictures(tmp_path / "other/data", prefix="new")
    result = execute(small(data), tmp_path / "run")
    own = (tmp_path / "run" / result.evaluation / "result.json").read_bytes()
    assert main(["evaluate", result.run, "--data", str(other), "--part", "all"]) == 0
    assert main(["evaluate", result.run, "--data", str(data)]) == 0  # the same images: the same place
    (other / "train").mkdir()
    for name in ("dark", "light"):
        (other / name).rename(other / "train" / name)
    pictures(other / "test", prefix="more")
    assert main(["evaluate", result.run, "--data", str(other)]) == 0
    places = sorted(path.name for path in (tmp_path / "run/evaluations").iterdir())
    assert [name[:15] for name in places] == ["data-1-crop", "data-1-crop-" + places[1][12:15], "data-all-1-crop"]
    assert json.loads((tmp_path / "run" / result.evaluation / "result.json").read_text())["fingerprint"] in own.decode()


def test_the_loser_of_the_lock_removes_nothing(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with files.lock(folder):
        child = os.fork()
        if child == 0:
            try:
                list(events(small("digits"), folder))
            except LockHeld:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert (folder / ".lock").exists()


def test_runs_that_begin_together_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")
    first, second = api.run_folder(small("digits")), api.run_folder(small("digits"))
    assert first != second
    assert second.name.endswith("-2")


def test_a_run_goes_on_from_anywhere_and_when_its_data_has_moved(tmp_path, monkeypatch):
    data = pictures(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    running = events(small("data"), tmp_path / "run", Machine(save_every=2))
    next(event for event in running if isinstance(event, Step) and event.update == 3)
    running.close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = tmp_path / "moved"
    data.rename(moved)
    assert execute(small(f"{moved}/"), tmp_path / "run").updates == 7


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["train", "digits", "--workers", "-1"], 2, "workers"),
        (["train", "digits", "--network", "vgg16"], 2, "--size"),
        (["train", "digits", "--recipe", "finetune"], 2, "--weights"),
        (["train", "digits", "--recipe", "cifar-2015", "--network", "resnet18"], 2, "cifar_resnet20"),
        (["evaluate", "run", "--data", "digits", "--workers", "-1"], 2, "workers"),
        (["predict", "run", "x.png", "--batch-size", "0"], 2, "--batch-size"),
        (["describe", "resnet18", "--classes", "-3"], 2, "--classes"),
        (["describe", "resnet18", "--size", "0"], 2, "--size"),
        (["describe", "other.json"], 2, "other.json"),
    ],
)
def test_more_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert main(arguments) == code
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    assert word in err
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["other.json"]


def test_a_damaged_recipe_and_a_recipe_file(tmp_path, capsys):
    execute(small("digits"), tmp_path / "run")
    (tmp_path / "mine.json").write_bytes((tmp_path / "run/recipe.json").read_bytes())
    value = api.plan("digits", network="cifar_resnet14", recipe=str(tmp_path / "mine.json"), seed=3)
    assert (value.network.layers, value.seed, value.training.batch_size) == (14, 3, 8)
    (tmp_path / "run/recipe.json").write_text("{")
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "damaged" in capsys.readouterr().err


def test_digits_change_only_how_pictures_are_seen_in_the_papers_recipe():
    paper = api.plan("digits", recipe="cifar-2015")
    assert (paper.training.lr, paper.training.batch_size, paper.training.ema, paper.normalize) == (
        0.1,
        128,
        0.0,
        "pixel-mean",
    )
    assert (paper.size, paper.augmentation.flip) == (8, "none")


def test_custom_networks_do_not_load_each_others_weights(tmp_path):
    base = families.network("cifar_resnet8")
    mine, other = (replace(base, unit=replace(base.unit, merge="scale", scale=s)) for s in ((0.5, 0.7), (0.7, 0.5)))
    model = create_model(mine)
    seen = Preprocessing(8, 3, mean=(0.0,) * 3, std=(1.0,) * 3)
    save(Bundle(mine, dict(model.state_dict()), tuple("abcdefghij"), seen, {}), tmp_path / "model")
    with pytest.raises(WeightsError, match="custom"):
        execute(small("digits", network=other, weights=str(tmp_path / "model")), tmp_path / "run")
    fine = api.plan("digits", weights=str(tmp_path / "model"))
    assert (fine.network, fine.name, fine.size) == (mine, "finetune", 8)


def test_classes_are_matched_by_name(tmp_path):
    """A class that the data lacks shifts nothing; one that the model does not know is an error that names it."""
    data = pictures(tmp_path / "data", ("a", "b", "c"))
    result = execute(small(data, epochs=8), tmp_path / "run")
    some = tmp_path / "some"
    for name in ("b", "c"):
        (some / name).mkdir(parents=True)
        for i in range(6):
            (some / name / f"copy{i}.png").write_bytes((data / name / f"{i:02d}.png").read_bytes())
    counts = api.evaluate(result.run, str(some)).evaluation.counts
    assert counts.confusion.sum(axis=1).tolist() == [0, 6, 6]
    assert counts.mistakes <= 3
    (some / "b").rename(some / "zebra")
    with pytest.raises(DataError, match="does not know: zebra"):
        api.evaluate(result.run, str(some))
