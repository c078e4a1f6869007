"""The tables of detection: planned, run in small, reported."""

from dataclasses import replace

import pytest

from resnets.cli.main import main
from resnets.errors import DataError
from resnets.experiments import detectors, localizers, reporting
from resnets.experiments.catalogue import experiment
from resnets.experiments.planning import Wish
from resnets.experiments.running import run

TABLES = [f"table-{number}" for number in range(7, 13)]


def speed(recipe):
    return 1e-12


def small(name):
    """The experiment with a small network in place of every one."""
    made = experiment(name)
    rows = (replace(row, network="slim_resnet18" if row.network else "") for row in made.rows)
    return replace(made, rows=tuple(rows))


@pytest.mark.parametrize("name", TABLES)
def test_every_table_plans(name):
    """In small every row with a network has a run; each stands on a published number or explains itself."""
    planned = detectors.schedule(experiment(name), Wish("digits-scene", miniature=True), speed)
    trained = {row.label for row in planned.experiment.rows if row.network}
    assert {job.row.label for job in planned.jobs} == trained
    assert all(job.recipe.training.updates == 2 for job in planned.jobs)
    assert "miniature" in planned.reasons[0]
    alike = 2 if name == "table-11" else 1  # in small VOC 2012 and VOC 2007 are the same data
    assert alike * len({job.folder for job in planned.jobs}) == len(planned.jobs)


@pytest.mark.slow
def test_every_row_of_table_9_runs_in_small(tmp_path):
    """Refinement, context, several scales and an ensemble, each with its figures and its verdict."""
    planned = detectors.schedule(small("table-9"), Wish("digits-scene", miniature=True, updates=1), speed)
    for _ in run(planned, tmp_path):
        pass
    found = detectors.outcomes(planned, tmp_path)
    by_label = {outcome.row.label: outcome for outcome in found}
    assert all({"bbox AP50", "bbox AP"} <= set(outcome.figures) for outcome in found), by_label
    report = reporting.made(planned, found, tmp_path)
    page = reporting.write(report, planned, found, tmp_path / "report")
    text = page.with_suffix(".md").read_text("utf-8")
    assert "not comparable: a miniature" in text
    assert "| + box refinement | bbox AP50 | 49.9 |" in text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert detectors.outcomes(planned, tmp_path)[2].figures == found[2].figures
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} | {}


def test_the_papers_protocol_says_what_it_needs(tmp_path, capsys):
    """Without data or weights: one line with what to fetch and where to put it."""
    with pytest.raises(DataError, match="weights/vgg16"):
        detectors.schedule(experiment("table-7"), Wish(str(tmp_path)), speed)
    assert main(["reproduce", "table-8", "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "weights" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["table-7", "table-9"])
def test_tables_with_their_own_networks_in_small(name, tmp_path):
    """VGG-16 and ResNet-101, two updates each, by the command."""
    assert main(["reproduce", name, "--miniature", "--out", str(tmp_path)]) == 0
    assert "not comparable: a miniature" in (tmp_path / name / "report.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["table-13", pytest.param("table-14", marks=pytest.mark.slow)])
def test_localization_runs_in_small(name, tmp_path):
    """Three steps of a small network in place of ResNet-101; every row that is run has its figure."""
    made = experiment(name)
    rows = tuple(replace(row, network="cifar_resnet8" if row.network else "") for row in made.rows)
    wish = Wish("digits-single", miniature=True, updates=1)
    planned = localizers.schedule(replace(made, rows=rows), wish, speed)
    assert [job.recipe.step for job in planned.jobs] == ["class", "rpn", "rcnn"]
    for _ in run(planned, tmp_path):
        pass
    found = localizers.outcomes(planned, tmp_path)
    assert all(set(outcome.figures) == set(outcome.row.figures) for outcome in found)
    assert any(outcome.figures for outcome in found)
    report = reporting.made(planned, found, tmp_path)
    assert "not comparable: a miniature" in str(report.parts[0].table)
