"""Plans: budgets, lengths and names of runs, and what is said of them."""

from dataclasses import replace

import pytest
from PIL import Image
from small_experiment import SMALL, speed

from resnets.analysis.complexity import complexity
from resnets.cli.main import main
from resnets.errors import DataError, UsageError
from resnets.experiments import planning
from resnets.experiments import speed as speeds
from resnets.experiments.catalogue import experiment
from resnets.experiments.experiment import seconds_of
from resnets.experiments.planning import Wish, schedule


@pytest.mark.parametrize(
    ("text", "seconds"), [("10min", 600), ("2h", 7200), ("90s", 90), ("1.5h", 5400), ("full", None)]
)
def test_budgets(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "min", "-1h", "0s", "ten min", "1e3s", "²min"])
def test_what_is_no_budget(text):
    with pytest.raises(UsageError, match="is no budget"):
        seconds_of(text)


def test_a_budget_gives_every_row_the_same_updates_and_moves_the_drops():
    found = schedule(experiment("figure-1"), Wish("digits", 60.0), lambda recipe: 1e-10)
    lengths = {job.recipe.training.updates for job in found.jobs}
    assert len(lengths) == 1
    (updates,) = lengths
    assert 1 <= updates < 64_000
    assert found.seconds == pytest.approx(0.85 * 60, rel=0.05)
    job = found.jobs[0]
    assert job.recipe.training.milestones == (round(updates / 2), round(0.75 * updates))
    assert [job.row.label for job in found.jobs] == ["plain-20", "plain-56"]
    assert found.reasons == (
        f"{updates:,} of 64,000 updates",
        "digits in place of cifar10",
        "in bf16 where that is faster, the paper's own in fp32",
    )


@pytest.mark.parametrize(("updates", "warm"), [(1, 1), (150, 75), (2000, 400)])
def test_a_shorter_run_warms_up_as_long_or_half_of_it(updates, warm):
    """He2016's 0.01 for 400 updates: as many before 2,000 updates as before 64,000."""
    row = experiment("identity-table-2").only(["a original, 110"])
    training = schedule(row, Wish("digits", updates=updates), speed).jobs[0].recipe.training
    assert (training.warmup_updates, training.warmup_lr) == (warm, 0.01)


def test_without_a_budget_it_is_the_paper_s_protocol():
    found = schedule(experiment("table-6").only(["ResNet 20", "ResNet 110"]), Wish("digits"), speed)
    seeds = [(job.row.label, job.recipe.seed) for job in found.jobs]
    assert seeds == [("ResNet 20", 0), *(("ResNet 110", seed) for seed in range(5))], "five runs of 110 layers alone"
    assert {job.recipe.training.updates for job in found.jobs} == {64_000}
    assert found.jobs[0].recipe.training.precision == "fp32"
    assert found.reasons == ("digits in place of cifar10",)


def test_the_same_command_plans_the_same_runs(tmp_path, monkeypatch):
    measured = iter([1e-10, 9e-10])
    monkeypatch.setattr(speeds, "speed", lambda recipe: next(measured))
    with speeds.remembered(tmp_path) as known, speeds.remembered(tmp_path) as later:
        first, again = (schedule(experiment("figure-1"), Wish("digits", 60.0), each) for each in (known, later))
    assert [job.folder for job in first.jobs] == [job.folder for job in again.jobs]
    assert next(measured) == 9e-10


def test_a_budget_too_small_for_one_update_says_what_it_takes():
    with pytest.raises(UsageError, match=r"too small for one update of one row, which takes about"):
        schedule(experiment("figure-1"), Wish("digits", 0.001), speed)


def test_rows_whose_test_would_eat_the_budget_are_left_out():
    found = schedule(experiment("figure-6"), Wish("digits", 100.0), lambda recipe: 1e-8)
    assert "ResNet 1202" in found.left_out
    assert "its test alone takes about" in found.left_out["ResNet 1202"]
    assert "plain-20" in {job.row.label for job in found.jobs}


def test_tests_are_part_of_the_budget():
    """After every epoch and at the end 359 images pass forward, which is a third of what an update computes."""
    row = experiment("figure-1").only(["plain-20"])
    found = schedule(row, Wish("digits", 20.0), lambda recipe: 1e-9)
    job = found.jobs[0]
    image = 1e-9 * complexity(replace(job.recipe.network, size=job.recipe.size)).multiply_adds
    updates = job.recipe.training.updates
    epochs = updates / 12  # of 1,438 images in batches of 128
    assert job.seconds == pytest.approx(image * (128 * updates + 359 / 3 * (epochs + 1)), rel=1e-6)
    assert found.seconds <= 0.85 * 20


def test_all_runs_of_an_experiment_have_one_precision(tmp_path, monkeypatch):
    """The first one decides what is faster here; a run that has begun keeps its own."""
    answers = iter(["fp32", "bf16"])
    monkeypatch.setattr(speeds, "precision", lambda device: next(answers))
    job = schedule(experiment("figure-1"), Wish("digits", updates=1), speed).jobs[0]
    assert job.recipe.training.precision == "auto"
    for folder in ("one", "two"):
        assert speeds.with_one_precision(job.recipe, tmp_path / folder, tmp_path).training.precision == "fp32"
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/recipe.json").write_text("{}")
    assert speeds.with_one_precision(job.recipe, tmp_path / "begun", tmp_path) == job.recipe


def test_a_damaged_speed_is_named(tmp_path):
    with speeds.remembered(tmp_path) as known:
        recipe = schedule(experiment("figure-1"), Wish("digits", updates=1), speed).jobs[0].recipe
        known(recipe)
        (path,) = (tmp_path / "speed").iterdir()
        path.write_text("quick")
        with pytest.raises(DataError, match="holds no number; remove it"):
            known(recipe)


def test_the_same_run_of_two_experiments_is_one(tmp_path):
    one, other = (
        schedule(experiment(name).only(["plain-20"]), Wish("digits", updates=3), speed)
        for name in ("figure-1", "figure-6")
    )
    assert one.jobs[0].folder == other.jobs[0].folder
    longer = schedule(experiment("figure-1").only(["plain-20"]), Wish("digits", updates=4), speed)
    assert longer.jobs[0].folder != one.jobs[0].folder


def test_a_folder_of_the_same_name_is_another_run(tmp_path):
    for place, side in (("one", 8), ("two", 90)):
        for number in range(12):
            picture = tmp_path / place / "photos" / "ab"[number % 2] / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, side), (90, number, 0)).save(picture)
    one = replace(SMALL, rows=SMALL.rows[:1])
    folders = [
        schedule(one, Wish(str(tmp_path / place / "photos"), updates=2), speed).jobs[0].folder
        for place in ("one", "two")
    ]
    assert folders[0] != folders[1]


def test_bf16_for_the_whole_length_is_said_and_is_a_run_of_its_own():
    one = replace(SMALL, rows=SMALL.rows[:1], recipe="cifar-2015")
    exact, fast = (schedule(one, wish, speed) for wish in (Wish(), Wish(updates=10**6)))
    assert exact.jobs[0].recipe.training.updates == fast.jobs[0].recipe.training.updates
    assert not any("bf16" in reason for reason in exact.reasons)
    assert any("bf16" in reason for reason in fast.reasons)
    assert exact.jobs[0].folder != fast.jobs[0].folder


def test_another_cifar_is_not_the_papers(tmp_path):
    for name, files in (("cifar-100-binary", ("train.bin", "test.bin", "fine_label_names.txt")),):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(b"")
    assert planning.is_papers(str(tmp_path), "cifar100")
    assert not planning.is_papers(str(tmp_path), "cifar10")


def test_rows_that_were_not_asked_for_have_the_length_of_those_that_were():
    made, wish = experiment("figure-1"), Wish("digits", budget=60.0)
    asked = schedule(made.only(["plain-20"]), wish, lambda recipe: 1e-10)
    whole = planning.completed(asked, wish, lambda alike: schedule(made, alike, lambda recipe: 1e-10))
    assert whole.jobs[0].folder == asked.jobs[0].folder
    assert [job.row.label for job in whole.jobs] == ["plain-20", "plain-56"]
    assert len({job.recipe.training.updates for job in whole.jobs}) == 1
    assert planning.completed(asked, wish, lambda alike: schedule(made, replace(alike, data="/no/where"))) is asked


def test_updates_stand_over_a_budget():
    planned = schedule(SMALL, Wish("digits", budget=600.0, updates=5), speed)
    assert {job.recipe.training.updates for job in planned.jobs} == {5}


def test_an_ensemble_alone_brings_its_members():
    found = experiment("table-5").only(["ResNet (ILSVRC15)"])
    assert [row.label for row in found.rows if row.network] == list(found.rows[-1].members)


def test_a_folder_of_pictures_is_not_imagenet(tmp_path):
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(tmp_path / part / name / f"{number}.png")
    found = schedule(experiment("table-2"), Wish(str(tmp_path), updates=2), speed)
    assert f"{tmp_path.name} in place of imagenet" in found.reasons


def test_the_plan_alone_runs_nothing(tmp_path, capsys):
    assert (
        main(["reproduce", "figure-1", "--data", "digits", "--updates", "2", "--plan", "--out", str(tmp_path / "o")])
        == 0
    )
    said = capsys.readouterr().out
    assert "2 runs, about" in said
    assert "plain-56, seed 0: 2 updates" in said
    assert not (tmp_path / "o").exists()


def test_without_any_data_the_first_reason_is_told(tmp_path):
    with pytest.raises((DataError, UsageError)):
        schedule(experiment("figure-1"), Wish(str(tmp_path / "nothing")), speed)


def test_data_is_counted_where_it_is_looked_for(tmp_path, monkeypatch):
    """One process that plans with two data folders finds what lies in each, not what it has found before."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for part in ("test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        (folder / f"{part}.bin").write_bytes(b"".join(bytes([label]) + bytes(3072) for label in range(10)))
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    monkeypatch.setenv("RESNETS_DATA", str(tmp_path))
    one = replace(SMALL, data="cifar10")
    assert schedule(one, Wish(updates=1), speed).jobs
    monkeypatch.setenv("RESNETS_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="cifar10 is not in"):
        schedule(one, Wish(updates=1), speed)
