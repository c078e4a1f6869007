"""The Dockerfile's own commands in a plain virtual environment: an exported model is served, without torch."""

import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from servers import serving, stop
from tiny_models import picture

ROOT = Path(__file__).parents[2]
LINES = [line.partition(" ") for line in (ROOT / "Dockerfile").read_text().splitlines() if line and line[0] != "#"]


def commands(kind):
    """What stands behind every line of this KIND."""
    return [rest for word, _, rest in LINES if word == kind]


def test_what_is_installed_is_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    known = {*project["dependencies"], *extras["onnx"], *extras["serve"]}
    lines = (ROOT / "docker/serve.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert wanted <= known
    assert not any("torch" in line for line in wanted)
    assert set(extras["serve"]) <= wanted


def test_it_is_not_root_and_names_no_other_file():
    assert commands("USER") == ["nobody"]
    for line in commands("COPY"):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_commands_serve_an_exported_model_without_torch(models, tmp_path):
    app, venv = tmp_path / "app", tmp_path / "venv"
    for line in commands("COPY"):
        *sources, target = line.split()
        for source in sources:
            place = app / target if target != "./" else app / source
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    for line in commands("RUN"):
        program, *rest = shlex.split(line)
        done = subprocess.run([venv / "bin" / program, *rest], cwd=app, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    python = venv / "bin/python"
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    (command,) = commands("CMD")
    _, *rest = json.loads(command)
    rest = [str(models / "tiny.onnx") if word == "/model.onnx" else word for word in rest]
    with serving("-m", "resnets", *rest, "--port", "0", python=python) as server:
        server.wait()
        answer = server.post("/predict?top=3", picture(0)).json
        assert len(answer["classes"]) == 3
        assert server.post("/explain", picture(0)).json["method"] == "CAM"
        assert server.get("/").status == 200
        (health,) = commands("HEALTHCHECK")
        _, *words = json.loads(health.removeprefix("CMD "))
        words = [word.replace(":8000", f":{server.port}") for word in words]
        assert subprocess.run([python, *words]).returncode == 0
        client = [python, ROOT / "examples/client.py", f"127.0.0.1:{server.port}", tmp_path / "picture.png"]
        (tmp_path / "picture.png").write_bytes(picture(0))
        said = subprocess.run(client, capture_output=True, text=True, check=True).stdout
        assert answer["classes"][0]["name"] in said
        assert stop(server)[0] == 0
