"""Several runs on one page."""

import json
import re

import pytest
from pages import read
from run_folders import keep_run, keep_test

from resnets.errors import UsageError
from resnets.report import compare, reading


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed, error in enumerate((7.0, 6.0, 8.0)):
        keep_run(folder / f"a{seed}", seed=seed, error=error)
    keep_run(folder / "b", seed=0, error=5.0, lr=0.01)
    keep_run(folder / "c", seed=0, lr=0.02)
    (folder / "c/result.json").unlink()
    keep_test(folder / "t", facts={"model": ["runs/a"], "data": "fruit", "part": "all", "protocol": "dense"})
    (folder / "empty").mkdir()
    return folder


def test_find(runs):
    assert [one.folder.name for one in compare.find(runs)] == ["a0", "a1", "a2", "b", "c", "t"]
    assert [one.folder.name for one in compare.find(runs / "a1")] == ["a1"]
    assert [one.folder.name for one in compare.find(runs / "a1/evaluations")] == ["fruit-1-crop"]
    with pytest.raises(UsageError, match="no run and no test"):
        compare.find(runs / "empty")


def test_comparison(runs, tmp_path):
    told = compare.write(compare.find(runs), tmp_path / "x.html")
    assert [(g["runs"], g["kind"]) for g in told["groups"]] == [(3, "test"), (1, "test"), (1, None)]
    first = told["groups"][0]
    assert (first["best"], first["median"], first["mean"], first["deviation"]) == (6.0, 7.0, 7.0, 1.0)
    assert [g["values"] for g in told["groups"]] == [{"training.lr": lr} for lr in (0.4, 0.01, 0.02)]
    assert [(r["name"], r["seed"], r["finished"]) for r in told["runs"]] == [
        ("a0", 0, True), ("a1", 1, True), ("a2", 2, True), ("b", 0, True), ("c", 0, False),
    ]  # fmt: skip
    assert told["tests"][0]["protocol"] == "dense"
    json.dumps(told, allow_nan=False)
    text = read(tmp_path / "x.html").words
    for words in ("7.00\u00a0% ± 1.00", "not finished", "lr 0.01", "Solid: validation error", "Runs: 5 · Tests: 1"):
        assert " ".join(words.split()) in text, words
    heads = re.findall(r"<th\b[^>]*>(?:<code>)?([^<]*)", (tmp_path / "x.html").read_text())
    assert heads[:7] == ["", "runs", "part", "best", "median", "mean ± deviation", "lr"]
    assert heads[7:15] == ["", "run", "test error", "validation error", "time", "images/s", "seed", "lr"]
    compare.write(compare.find(runs), tmp_path / "zh.html", "zh")
    assert "均值 ± 标准差" in read(tmp_path / "zh.html").words


def test_networks_are_named(tmp_path):
    from resnets.families import network

    for name in ("cifar_resnet8", "cifar_resnet14"):
        keep_run(tmp_path / name, network=network(name))
    told = compare.write(compare.find(tmp_path), tmp_path / "x.html")
    assert [row["values"] for row in told["runs"]] == [{"network": "cifar_resnet14"}, {"network": "cifar_resnet8"}]


def test_one_run_and_other_data(runs, tmp_path):
    told = compare.write(compare.find(runs / "b"), tmp_path / "x.html")
    assert (told["runs"][0]["values"], told["groups"][0]["deviation"]) == ({}, None)
    keep_run(tmp_path / "d", data="vegetables")
    told = compare.write([*compare.find(runs / "a0"), *compare.find(tmp_path / "d")], tmp_path / "x.html")
    assert "do not compare" in read(tmp_path / "x.html").words
    assert compare.write(compare.find(runs / "t"), tmp_path / "t.html")["runs"] == []
    assert "Tests: 1" in read(tmp_path / "t.html").words


DAMAGE = {
    "recipe.json": (b"{", b"[]", b"\0" * 9, b'{"network": null}', b'{"network": {"unit": 1}}'),
    "result.json": (b"{", b"[]", b"{}", b"\xff"),
    "data.json": (b"[]", b"{", b'{"classes": ["a"], "parts": {"train": [1, 2]}}', b'{"classes": 3, "parts": {"a": 1}}'),
    "environment.json": (b"{",),
}


@pytest.mark.parametrize(("name", "contents"), [(name, each) for name, some in DAMAGE.items() for each in some])
def test_a_damaged_run_is_named(tmp_path, name, contents):
    for folder in ("good", "bad"):
        keep_run(tmp_path / folder)
    bad = tmp_path / "bad"
    (bad / name).write_bytes(contents)
    left_out, kept = compare.find(tmp_path)
    assert (left_out.folder, kept.folder.name) == (bad, "good")
    for act in (lambda: compare.write([left_out], tmp_path / "x.html"), lambda: reading.read_run(bad)):
        with pytest.raises(UsageError, match=rf"^{bad / name} is damaged"):
            act()


def test_a_damaged_run_is_left_out(tmp_path):
    for folder in ("good", "bad"):
        keep_run(tmp_path / folder)
    bad = tmp_path / "bad"
    (bad / "recipe.json").write_bytes(b"{")
    told = compare.write(compare.find(tmp_path), tmp_path / "x.html")
    assert [row["name"] for row in told["runs"]] == ["good"]
    assert [row["folder"] for row in told["left_out"]] == [str(bad)]
    assert told["left_out"][0]["reason"] in read(tmp_path / "x.html").words
    compare.write(compare.find(tmp_path), tmp_path / "x.html", "zh")
    assert f"{bad}/recipe.json 已损坏：" in read(tmp_path / "x.html").words


def test_a_damaged_test_is_left_out_and_named(tmp_path):
    for name in ("good", "bad"):
        keep_test(tmp_path / name)
    (tmp_path / "bad/result.json").write_text('{"per_class": [], "images": 3}')
    told = compare.write(compare.find(tmp_path), tmp_path / "x.html")
    assert (len(told["tests"]), len(told["left_out"])) == (1, 1)
    assert "it has no mistakes and no top1_error" in told["left_out"][0]["reason"]
