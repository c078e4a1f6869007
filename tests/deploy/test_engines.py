"""Every engine: the same answers as PyTorch for any number of images; refused, or missing by name."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from random_bundles import bundle_of, prepared, require

from resnets import files
from resnets.bundle import Classifier
from resnets.deploy import engines
from resnets.deploy.compare import TOLERANCES, compare, noise
from resnets.deploy.pictures import Pictures
from resnets.errors import EnvironmentProblem, NumericError, UsageError

require("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
SLOW = ("torch-compiled",)
ROWS = [engine for engine in engines.ENGINES if engine.precision != "int8"]


def prepared_of(**choices):
    return engines.Prepared(bundle_of(), **choices)


@pytest.mark.parametrize(
    "engine", [pytest.param(e, id=str(e), marks=[pytest.mark.slow] * (e.name in SLOW)) for e in ROWS]
)
def test_every_engine_answers_as_pytorch_for_any_number_of_images(engine):
    try:
        started = engines.start(engine, prepared(), batch=4)
    except EnvironmentProblem as error:
        pytest.skip(str(error))
    tolerance = TOLERANCES[engine.precision].difference
    assert started.difference.largest <= tolerance
    for images in (1, 4, 7):
        inputs = prepared().inputs(0, images)
        found = started.run(inputs)
        assert found.shape == (images, 10)
        assert found.dtype == np.float32
        assert compare(prepared().reference[:images], found).largest <= tolerance
    if engine.precision == "bf16":
        assert started.difference.largest > 1e-4, "it computes in bf16"


def test_pytorch_as_it_is_gives_the_bits_of_the_classifier():
    own, other = Classifier(prepared().bundle), Classifier(prepared().bundle)
    other.model = engines.EngineModule(engines.start(engines.ENGINES[0], prepared()).run)
    inputs = list(prepared().inputs(0, 3))
    assert own.predict_inputs(inputs) == other.predict_inputs(inputs)


@pytest.mark.parametrize("images", [1, 2, 3, 4, 7, 8])
def test_a_fixed_batch_takes_any_number(images):
    seen = []

    def run(x):
        seen.append(len(x))
        return x.sum((2, 3))

    x = np.random.default_rng(0).normal(size=(images, 5, 2, 2)).astype(np.float32)
    assert np.array_equal(engines.fixed(run, 4)(x), x.sum((2, 3)))
    assert set(seen) == {4}


def test_an_engine_beyond_its_tolerance_is_refused():
    def wrong(model, precision, batch):
        return lambda inputs: engines.eager(model.module, "fp32")(inputs) + np.float32(1)

    engine = replace(engines.ENGINES[0], start=wrong)
    with pytest.raises(NumericError, match="torch:fp32 is refused"):
        engines.start(engine, prepared())
    broken = replace(engine, start=lambda *_: lambda inputs: np.full((len(inputs), 10), np.nan, np.float32))
    with pytest.raises(NumericError, match="torch:fp32 is refused"):
        engines.start(broken, prepared())


def test_int8_needs_pictures_and_is_kept_once_it_is_shown_to_be_good(tmp_path):
    files.write_folder(tmp_path / "fp32", prepared().openvino)
    (int8,) = [engine for engine in engines.ENGINES if engine.precision == "int8"]
    with pytest.raises(UsageError, match="--data DATA"):
        engines.start(int8, prepared_of(folder=tmp_path))
    views = noise(bundle_of().preprocessing, 200)
    few = prepared_of(pictures=Pictures("few", views[:50], None, views[100:120]), folder=tmp_path)
    engines.start(int8, few)
    assert not (tmp_path / "int8").exists(), "50 pictures show nothing"
    good = prepared_of(pictures=Pictures("many", views[:100], None, views[100:]), folder=tmp_path)
    first = engines.start(int8, good)
    assert first.difference.agreement >= 0.97
    assert first.difference.largest > 1e-3, "it computes in int8"
    kept = engines.start(int8, prepared_of(folder=tmp_path))
    assert np.array_equal(kept.run(good.inputs(0, 8)), first.run(good.inputs(0, 8)))


def test_a_damaged_form_in_the_cache_is_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(engines.export, "as_openvino", lambda *_: made.append(1) or prepared().openvino)
    once = dict(prepared().openvino)
    assert prepared_of(folder=tmp_path).openvino == once
    assert prepared_of(folder=tmp_path).openvino == once
    assert len(made) == 1
    weights = tmp_path / "fp32" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    assert prepared_of(folder=tmp_path).openvino == once
    assert len(made) == 2
    assert weights.read_bytes() == once["model.bin"]


def test_names_of_engines():
    assert str(engines.engine_called("openvino")) == "openvino:fp32"
    assert str(engines.engine_called("openvino:int8")) == "openvino:int8"
    with pytest.raises(UsageError, match="unknown engine 'openvin'; nearest: openvino"):
        engines.engine_called("openvin")
    with pytest.raises(UsageError, match="onnxruntime does not compute in 'bf16'; it has fp32"):
        engines.engine_called("onnxruntime:bf16")


CHILD = """
import json, os, socket, sys
from random_bundles import bundle_of
for name in {blocked}:
    sys.modules[name] = None
called = []
def connect(self, address):
    called.append(repr(address))
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = connect
from resnets.deploy import engines
from resnets.deploy.compare import noise
from resnets.deploy.pictures import Pictures
from resnets.errors import ResnetsError
views = noise(bundle_of().preprocessing, 40)
prepared = engines.Prepared(bundle_of(), Pictures("noise", views[:20], None, views[20:]))
found = {{}}
for engine in engines.ENGINES:
    if str(engine) in {asked}:
        try:
            engines.start(engine, prepared, 2)
            found[str(engine)] = ""
        except ResnetsError as error:
            found[str(engine)] = f"{{error.exit_code}} {{error}}"
            assert bool(engine.missing) == ("not installed" in str(error)), (engine.missing, error)
print(json.dumps([found, called]))
"""


def child(tmp_path, blocked, asked):
    here = os.path.dirname(__file__)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    for name in ("XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    command = [sys.executable, "-c", CHILD.format(blocked=blocked, asked=asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    *chatter, last = done.stdout.strip().splitlines()
    assert not chatter, "standard output is for answers"
    found, called = json.loads(last)
    return found, called, [str(path) for path in tmp_path.rglob("*") if path.is_file()]


def test_engines_that_are_not_installed_name_their_extra(tmp_path):
    names = ["torch:fp32", "onnxruntime:fp32", "openvino:fp32", "openvino:bf16", "openvino:int8"]
    found, _, _ = child(tmp_path, ["onnxruntime", "openvino"], names)
    assert found["torch:fp32"] == ""
    assert found["onnxruntime:fp32"] == '5 onnxruntime is not installed; run: pip install "resnets[onnx]"'
    for precision in ("fp32", "bf16", "int8"):
        expected = '5 openvino is not installed; run: pip install "resnets[openvino]"'
        assert found[f"openvino:{precision}"] == expected


@pytest.mark.slow
def test_engines_report_to_nobody(tmp_path):
    """Out of pytest, where NNCF would go quiet by itself: no connection, no new file, nothing on standard output.

    ONNX Runtime and OpenVINO would leave the number they know this machine by in the home folder.
    """
    found, called, files = child(tmp_path, [], [str(e) for e in engines.ENGINES if e.name != "torch-compiled"])
    assert {engine for engine, trouble in found.items() if trouble} <= {"openvino:bf16", "openvino:int8"}
    assert (called, files) == ([], [])
