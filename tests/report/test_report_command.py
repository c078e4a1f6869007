"""`resnets report` as a person meets it."""

import json

import pytest
from pages import read
from run_folders import keep_run

from resnets.cli.report import Report
from resnets.errors import UsageError


@pytest.fixture
def call(capsys):
    def run(*arguments):
        assert Report.parse([str(argument) for argument in arguments]).run() == 0
        return capsys.readouterr().out

    return run


def test_report(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [tmp_path / "runs" / name for name in "ab"]
    for seed, folder in enumerate(runs):
        keep_run(folder, seed=seed)
    assert call(runs[0]) == f"report        {runs[0]}/report.html\n"
    assert "Training report" in read(runs[0] / "report.html").words
    call(runs[0], "--language", "zh")
    assert "训练报告" in read(runs[0] / "report.html").words
    call("runs")
    assert "Runs: 2" in read(tmp_path / "runs/comparison.html").words
    call(*runs)
    assert "Runs: 2" in read(tmp_path / "comparison.html").words
    test = runs[0] / "evaluations/fruit-1-crop"
    told = json.loads(call(*runs, test, "--out", "x.html", "--json"))
    assert (told["reports"], len(told["runs"]), len(told["tests"])) == (["x.html"], 2, 1)
    assert told["runs"][1]["run"] == str(runs[1])
    told = json.loads(call(runs[0], "--json"))
    assert (told["reports"], told["runs"][0]["test_error"]) == ([f"{runs[0]}/report.html"], 75.0)
    told = json.loads(call(test, "--json"))
    assert (told["reports"], told["tests"][0]["images"]) == ([f"{test}/report.html"], 12)
    (runs[1] / "result.json").unlink()
    assert json.loads(call(runs[1], "--json"))["runs"] == [{"run": str(runs[1])}]
    call("runs/latest")


def test_a_damaged_run_does_not_end_a_comparison(call, tmp_path):
    for name in "abc":
        keep_run(tmp_path / name)
    (tmp_path / "b/recipe.json").write_text("{")
    report, left_out = call(tmp_path).splitlines()
    assert report == f"report        {tmp_path}/comparison.html"
    assert left_out.startswith(f"left out      {tmp_path}/b/recipe.json is damaged: ")
    told = json.loads(call(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "x.html", "--json"))
    assert [row["folder"] for row in told["left_out"]] == [f"{tmp_path}/b"]
    assert [row["name"] for row in told["runs"]] == ["a"]
    for runs in (["b"], ["b", "b"]):
        with pytest.raises(UsageError, match=r"b/recipe\.json is damaged"):
            call(*(tmp_path / name for name in runs))
    (tmp_path / "a/evaluations/fruit-1-crop/confusion.csv").write_bytes(b"\xff")
    (tmp_path / "c/evaluations/fruit-1-crop/mistakes.csv").write_text("x\nx,a,b,much,mistakes/01.png\n")
    for run, name in (("a", "confusion.csv"), ("c", "mistakes.csv")):
        with pytest.raises(UsageError, match=rf"{run}/evaluations/fruit-1-crop/{name} is damaged"):
            call(tmp_path / run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "resnets report runs/"),
        (["nowhere"], "nowhere"),
        (["."], "no run and no test"),
        ([".", "--out", "result.json"], "--out FILE.html"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        Report.parse(arguments).run()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
