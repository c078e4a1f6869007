"""Every experiment runs: its own rows, recipes and protocols with small networks, one update each, to the report."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnets.cli.main import main
from resnets.experiments import catalogue
from resnets.experiments import speed as speeds
from resnets.experiments.catalogue import EXPERIMENTS

COMPUTED = ("table-1", "figure-5")  # from specs alone: tests/experiments/test_experiments.py
STUDIES = ("lesions", "shuffling", "paths")  # of the runs of others
QUICK = ("figure-6", "highway", "identity-table-2")
VERDICTS = ("not comparable: ", "fails, as published", "no such figure on this data")  # top-5 of two classes
own = catalogue.experiment  # before a test puts another in its place


def small(name):
    """The experiment with the shallowest network of its kind in place of each: 8 layers for CIFAR, 18 slim ones."""
    made = own(name)
    rows = (replace(row, network=_shallow(row.network, made.task), changes=_few(row.changes)) for row in made.rows)
    return replace(made, rows=tuple(rows))


def _few(changes):
    """The changes of a row, with no more units active than the smallest networks have."""
    return {name: min(value, 2) if name == "active_units" else value for name, value in changes.items()}


def _shallow(network, task):
    if network.startswith("cifar_") and task == "classification":
        return re.sub(r"\d+", "8", network, count=1)
    if task == "localization":
        return network and "cifar_resnet8"
    option = re.search(r"_[ac]$", network) if task == "classification" else None
    kind = "plain" if "plain" in network else "resnet"
    return network and f"slim_{kind}18{option[0] if option and option[0] != '_a' else ''}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """CIFAR-10 and CIFAR-100 of noise in their publisher's files, and photographs of noise called as ImageNet's are."""
    root, noise = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for folder, parts, heads, names in (
        ("cifar-10-batches-bin", [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"], 1, 10),
        ("cifar-100-binary", ["train.bin", "test.bin"], 2, 100),
    ):
        (root / folder).mkdir()
        for part in parts:
            records = noise.integers(0, 256, (40, heads + 3072), dtype=np.uint8)
            records[:, :heads] %= 10
            (root / folder / part).write_bytes(records.tobytes())
        meta = "batches.meta.txt" if names == 10 else "fine_label_names.txt"
        (root / folder / meta).write_text("\n".join(f"class_{n}" for n in range(names)))
    (root / "photographs").mkdir()
    for number in range(4):
        pixels = noise.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((400, 300)).save(root / f"photographs/n0000000{number % 2}_{number}.JPEG")
    return root


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Where all experiments keep their runs, so that none is trained twice."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture
def reproduce(data, out, monkeypatch):
    """`resnets reproduce NAME` on small networks, with one update a run: its folder."""
    monkeypatch.setenv("RESNETS_DATA", str(data))
    monkeypatch.setattr(catalogue, "experiment", small)
    monkeypatch.setattr(speeds, "speed", lambda recipe: 1e-12)

    def command(name, *more):
        assert main(["reproduce", name, "--updates", "1", "--out", str(out), *more]) == 0
        return out / name

    return command


def ran(folder):
    """The page and the figures of an experiment whose every row with a network has a result."""
    page, facts = (folder / "report.html").read_text("utf-8"), json.loads((folder / "result.json").read_text("utf-8"))
    rows = {row["row"]: row for row in facts["rows"]}
    assert not facts["left_out"]
    for row in small(folder.name).rows:
        if row.network or row.members:
            assert rows[row.label]["ours"], row.label
            assert rows[row.label]["verdict"].startswith(VERDICTS), row.label
    assert "<td>not run" not in page
    assert "nan" not in re.findall(r"<td>(.*?)</td>", page)
    return page


@pytest.mark.parametrize("name", QUICK)
def test_some_experiments_run(name, reproduce):
    assert "data:image/svg+xml" in ran(reproduce(name))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in (*QUICK, *COMPUTED, *STUDIES)])
def test_every_experiment_runs(name, reproduce, data):
    made = own(name)
    more = {
        "imagenet": ("--miniature", "--data", str(data / "photographs")),
        "classification": (),
        "detection": ("--miniature",),
        "localization": ("--miniature",),
    }[made.data if made.data == "imagenet" and made.task == "classification" else made.task]
    ran(reproduce(name, *more))


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_what_is_studied_on_the_runs_of_others(name, reproduce, out):
    """Of classifiers: those of detectors and localizers in the same folder are left alone."""
    reproduce("figure-6")
    reproduce("table-13", "--miniature")
    reproduce("table-7", "--miniature")
    assert main(["reproduce", name, "--out", str(out)]) == 0
    assert "cifar_resnet8 on cifar10, 1 updates" in (out / name / "report.html").read_text("utf-8")


def test_the_report_of_some_rows_has_the_others_too(reproduce, tmp_path):
    """Those that other commands have run with their figures, the rest with what they would take."""
    for label in ("a original, 110", "e full pre-activation, 110"):
        reproduce("identity-table-2", "--only", label, "--out", str(tmp_path))
    facts = json.loads((tmp_path / "identity-table-2/result.json").read_text())
    rows = {row["row"]: row for row in facts["rows"]}
    assert [row.label for row in own("identity-table-2").rows] == list(rows)
    assert rows["a original, 110"]["ours"]["top1"]
    assert rows["e full pre-activation, 110"]["ours"]["top1"]
    assert rows["b BN after addition, 110"]["verdict"] == "not run: about 0 s here"
    assert "* Runs: 2 of 5 by the recipe" in (tmp_path / "identity-table-2/report.md").read_text("utf-8")


def test_all_of_them_have_a_page_with_links(reproduce, out, monkeypatch):
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {name: EXPERIMENTS[name] for name in (*QUICK, "table-3", "lesions")})
    reproduce("all")
    page = (out / "index.html").read_text("utf-8")
    for name in (*QUICK, "lesions"):
        assert f'href="{name}/report.html"' in page
        assert (out / name / "report.html").is_file()
    assert 'href="table-3/' not in page
    assert "get ILSVRC2012_img_train.tar" in page.partition("Left out")[2]
