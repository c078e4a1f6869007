"""Experiments: values that load, runs that are shared, reports that say what they are."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from PIL import Image
from small_experiment import SMALL, speed

from resnets.cli.main import main
from resnets.errors import NumericError
from resnets.experiments import catalogue, curves, imagenet_rows, planning, published, reporting, running, verdicts
from resnets.experiments import speed as speeds
from resnets.experiments.catalogue import EXPERIMENTS, experiment
from resnets.experiments.experiment import Row
from resnets.experiments.planning import Wish, schedule
from resnets.experiments.table_10 import CLASSES
from resnets.families import network
from resnets.files import Log

FIGURES = {  # what is published, by task
    "classification": {"top1", "top5"},
    "detection": {"voc07", "area", "bbox AP", "bbox AP50", *CLASSES},
    "localization": {"GT class", "top-5 predicted", "val", "test"},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_loads_and_names_what_exists(name):
    found = experiment(name)
    assert found.name == name
    labels = [row.label for row in found.rows]
    assert len(labels) == len(set(labels))
    for row in found.rows:
        assert row.published.keys() <= FIGURES[found.task]
        assert all(0 < value < 100 for value in (*row.published.values(), *row.others.values()))
        if row.network:
            network(row.network)
        assert set(row.members) <= set(labels)
    assert all(found.origins)


def test_published_numbers_are_those_of_the_papers():
    rows = {row.label: row for row in experiment("table-6").rows}
    assert rows["ResNet 20"].published == {"top1": 8.75}
    assert rows["ResNet 110"].published == {"top1": 6.43}
    assert "6.61 ± 0.16" in rows["ResNet 110"].note
    assert rows["ResNet 56"].others == {"akamaster": 6.61, "gcr": 6.94, "amartyn": 7.33}
    deep = {row.label: row.others for row in experiment("table-3").rows}
    assert (deep["ResNet-152"], deep["ResNet-34 A"]) == ({"fb_torch": 20.69, "kh_repo": 21.4}, {})
    assert deep["ResNet-34 B"] == {"fb_torch": 24.76}
    assert imagenet_rows.one_crop((), None)[0].table[3] == ("50", "24.70", "24.01", "23.61", "23.87")
    assert rows["FitNet 19"].network == ""
    assert "arXiv" in published.origin("stochastic_depth") or "1603.09382" in published.origin("stochastic_depth")
    assert published.origin("veit.share_19_35").endswith("recalled, not checked")
    assert published.origin("veit.lesion").endswith("; the Kendall-tau axis is recalled")
    assert "recalled" not in published.origin("he2015.T6")
    units = {row.label: row for row in experiment("identity-table-2").rows}
    assert (units["e full pre-activation, 164"].network, units["e full pre-activation, 164"].published) == (
        "cifar_preresnet164", {"top1": 5.46},
    )  # fmt: skip


@pytest.fixture
def small(tmp_path):
    planned = schedule(SMALL, Wish(updates=2), speed)
    for _ in running.run(planned, tmp_path / "runs"):
        pass
    return planned, running.outcomes(planned, tmp_path / "runs"), tmp_path


def test_a_report_has_published_ours_and_a_verdict(small):
    planned, found, out = small
    page = reporting.write(reporting.made(planned, found, out / "runs"), planned, found, out / "small")
    text = (out / "small/report.md").read_text()
    assert "| a | top1 error | 50 |" in text
    assert "not comparable: 2 of" in text
    assert "published only" in text
    assert (out / "small/figure-2.svg").read_text().lstrip().startswith("<?xml")
    html = page.read_text()
    assert "<table>" in html
    assert "data:image/svg+xml;base64," in html
    facts = json.loads((out / "small/result.json").read_text())
    assert [row["row"] for row in facts["rows"]] == ["a", "b", "printed"]
    assert facts["rows"][0]["ours"]["top1"][0] == found[0].figures["top1"][0]
    assert list(running.run(planned, out / "runs")) == [], "a run is never repeated"


def test_a_run_that_diverges_is_told_and_the_others_go_on(tmp_path):
    rows = (Row("a", "cifar_resnet8", failed=20.0, changes={"lr": 1e30, "optimizer": "sgd"}), Row("b", "cifar_plain8"))
    planned = schedule(replace(SMALL, rows=rows), Wish(updates=3), speed)
    events = [happening.event for happening in running.run(planned, tmp_path / "runs")]
    assert any(isinstance(event, NumericError) for event in events)
    first, second = running.outcomes(planned, tmp_path / "runs")
    assert verdicts.verdict(planned, first, "top1").startswith("not comparable: 3 of ")
    assert "; diverged, " in verdicts.verdict(planned, first, "top1")
    assert verdicts.verdict(replace(planned, reasons=()), first, "top1").startswith("fails, as published; diverged, ")
    assert second.figures
    assert list(running.run(planned, tmp_path / "runs")) == [], "it is not tried again"


def test_one_seed_of_two_that_diverged_is_not_hidden():
    row = Row("x", "n", {"top1": 8.75})
    planned = planning.Schedule(replace(SMALL, rows=(row,)), (), {}, ())
    outcome = running.Outcome(row, figures={"top1": [8.7]}, diverged="the loss is nan")
    assert verdicts.verdict(planned, outcome, "top1").endswith("; another of its runs diverged")


def test_a_training_error_is_reached_at_the_end_of_a_stretch(tmp_path):
    records = [{"update": n, "mistakes": 128 - n, "images": 128, "rate": 0.1} for n in range(1, 129)]
    assert curves.training(records, points=64)[:2] == [(2, 100 * 253 / 256), (4, 100 * 249 / 256)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    part = curves.reached([running.Outcome(Row("x", "n"), runs=[tmp_path])])
    assert part.table[1][0] == "x"
    assert part.table[1][1] == "26"  # of 128 images 102 wrong: below 80 %
    assert part.table[1][-1] == "127"


@pytest.mark.parametrize(
    ("errors", "row", "said"),
    [
        ([8.6, 8.8], Row("x", "n", {"top1": 8.75}), "within the band of 0.5 points"),
        ([8.0], Row("x", "n", {"top1": 8.75}), "better by 0.75"),
        ([9.5], Row("x", "n", {"top1": 8.75}), "short by 0.75"),
        ([25.0], Row("x", "n", failed=20.0), "fails, as published"),
        ([12.0], Row("x", "n", failed=20.0), "does not fail here"),
        ([40.0], Row("x", "n", failed=60.0), "does not fail here"),
        ([12.0], Row("x", "n"), "no published figure"),
        ([9.5], Row("x", "n", {"top1": 8.75}, band=1.0), "within the band of 1 points"),
        ([6.6], Row("x", "n", {"top1": 6.43}, means={"top1": 6.61}), "within the band of 0.5 points"),
        ([3.9], Row("x", "n", {"top1": 3.57}, apart="a test server"), "not comparable: a test server"),
        ([], Row("x", "n"), "not run"),
        ([], Row("x"), "published only"),
    ],
)
def test_verdicts(errors, row, said):
    planned = planning.Schedule(replace(SMALL, rows=(row,)), (), {}, ())
    outcome = running.Outcome(row, figures={"top1": errors} if errors else {})
    assert verdicts.verdict(planned, outcome, "top1") == said
    if errors:
        assert verdicts.verdict(replace(planned, reasons=("r",)), outcome, "top1").startswith("not comparable: r")


def test_the_gain_of_a_detector_is_told_over_the_row_that_it_stands_on():
    rows = experiment("table-9").rows
    tested = [running.Outcome(row, figures={"bbox AP50": [10.0 + i]}, test_seconds=1.5) for i, row in enumerate(rows)]
    gains = {line[0]: line[-1] for line in verdicts.costs(tested)}
    assert gains["baseline ResNet-101"] == "+1.00 over baseline VGG-16"
    assert gains["+ box refinement"] == "+1.00 over baseline ResNet-101"
    assert gains["ensemble (3 nets)"] == "+3.00 over + multi-scale test"
    assert verdicts.costs(tested[:1])[1] == ("baseline VGG-16", "1.5", "bbox AP50", "10.00", "")


def test_mean_and_deviation():
    assert verdicts.ours([6.0, 7.0, 8.0]) == "7.00 ± 1.00"
    assert verdicts.ours([6.0]) == "6.00"


def test_an_ensemble_is_made_of_the_rows_it_names(tmp_path):
    both = Row("both", members=("a", "b"), published={"top1": 1.0})
    planned = schedule(replace(SMALL, rows=(*SMALL.rows[:2], both)), Wish(updates=2), speed)
    for _ in running.run(planned, tmp_path):
        pass
    found = {outcome.row.label: outcome for outcome in running.outcomes(planned, tmp_path)}
    assert found["both"].runs == [*found["a"].runs, *found["b"].runs]
    assert len(found["both"].figures["top1"]) == 1


@pytest.mark.slow
def test_a_process_on_each_device(tmp_path):
    command = [
        sys.executable, "-m", "resnets", "reproduce", "figure-1", "--data", "digits", "--updates", "2", "--only",
        "plain-20", "--seeds", "2", "--devices", "cpu,cpu", "--out", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/*/seed-*/result.json"))) == 2
    assert (tmp_path / "figure-1/report.html").is_file()
    wrong = subprocess.run([*command[:-3], "cpu,nowhere", *command[-2:]], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "there is no device 'nowhere'" in wrong.stderr


def test_two_processes_share_the_runs(tmp_path):
    command = [
        sys.executable, "-m", "resnets", "reproduce", "figure-1", "--data", "digits", "--updates", "3",
        "--only", "plain-20", "--seeds", "3", "--out", str(tmp_path),
    ]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    logs = list(tmp_path.glob("runs/*/seed-*/log.jsonl"))
    assert len(logs) == 3
    for log in logs:
        assert [record["update"] for record in Log(log).records() if "rate" in record] == [1, 2, 3]
    assert 3 <= sum(text.count("test error") for text in said) <= 6, "a process may find that another has just ended"
    reports = {text.split("report  ")[-1].strip() for text in said}
    assert reports == {str(tmp_path / "figure-1/report.html")}


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["reproduce", "table-66", "--out", out]) == 2
    assert main(["reproduce", "figure-1", "--data", str(tmp_path / "nowhere"), "--out", out]) in (2, 3)
    assert main(["reproduce", "figure-1", "--data", "digits", "--budget", "soon", "--out", out]) == 2
    assert main(["reproduce", "figure-1", "--data", "digits", "--budget", "0.01s", "--out", out]) == 2
    assert main(["reproduce", "figure-1", "--data", "digits", "--only", "plain-21", "--out", out]) == 2
    assert main(["reproduce", "table-3", "--out", out]) == 3
    assert main(["reproduce", "figure-1", "--miniature", "--data", "digits", "--out", out]) == 2
    assert main(["reproduce", "table-3", "--miniature", "--data", str(tmp_path), "--out", out]) == 3
    assert main(["reproduce", "all", "--budget", "soon", "--out", out]) == 2
    assert main(["reproduce", "all", "--only", "plain-20", "--out", out]) == 2
    assert main(["reproduce", "figure-5", "--seeds", "3", "--out", out]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 11
    assert "nearest: table-6" in lines[0]
    assert "too small for one update" in lines[3]
    assert "get ILSVRC2012_img_train.tar" in lines[5]
    assert "--miniature is for ImageNet and detection" in lines[6]
    assert "photographs" in lines[7]
    assert "is no budget" in lines[8]
    assert "trains nothing; leave out --data, --seeds and --updates" in lines[10]
    assert not (tmp_path / "out").exists()


def test_a_miniature_that_comes_to_nothing_leaves_no_copies(tmp_path, capsys, monkeypatch):
    """Its photographs are those of RESNETS_DATA where none are named; a plan alone keeps none either."""
    place = tmp_path / "data" / "imagenet-sample"
    place.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (300, 260), (90, 20 * number, 0)).save(place / f"n0000000{number % 2}_{number}.JPEG")
    monkeypatch.setenv("RESNETS_DATA", str(tmp_path / "data"))
    command = ["reproduce", "table-3", "--miniature", "--out", str(tmp_path / "out")]
    assert main([*command, "--only", "nonsense"]) == 2
    assert main([*command, "--budget", "0.0001s"]) == 2
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert main([*command, "--plan"]) == 0
    assert "a miniature" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_costs_of_table_1_are_rounded_or_cut_off():
    (part,) = experiment("table-1").study([], None)
    said = {row[0]: row[-1] for row in part.table[1:]}
    assert said["resnet34_a"] == said["resnet152_v1"] == "the same, rounded"
    assert said["resnet50_v1"] == "the same, cut off"


@pytest.mark.slow
def test_all_leaves_out_what_has_no_data(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    monkeypatch.setattr(speeds, "speed", speed)
    command = ["reproduce", "all", "--data", "digits", "--updates", "1", "--plan", "--json"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    told = {one["experiment"]: one for one in json.loads(out)["experiments"]}
    assert set(told) == set(EXPERIMENTS)
    assert told["table-3"]["skipped"] == "table-3 is for photographs, digits holds small images"
    assert "table-3 is left out" in err
    assert told["figure-1"]["runs"] == 2


def test_a_budget_for_all_where_nothing_has_its_data(tmp_path, capsys, monkeypatch):
    """Each says what it lacks; the share of none is not divided by."""
    monkeypatch.setenv("RESNETS_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {name: EXPERIMENTS[name] for name in ("figure-1", "table-7")})
    assert main(["reproduce", "all", "--budget", "1h", "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "figure-1 is left out: " in said
    assert "no experiment has what it needs" in said
    assert not (tmp_path / "out").exists()


def test_every_experiment_is_listed(capsys):
    assert main(["list", "experiments"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in EXPERIMENTS)


@pytest.mark.parametrize("name", ["table-1", "figure-5"])
def test_what_is_computed_needs_no_data(name, tmp_path, capsys):
    began = time.monotonic()
    assert main(["reproduce", name, "--out", str(tmp_path), "--json"]) == 0
    assert time.monotonic() - began < 60
    text = (tmp_path / name / "report.md").read_text()
    assert {"table-1": "| resnet152_v1 | 11.3 |", "figure-5": "69,632"}[name] in text
