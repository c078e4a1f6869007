"""Every example runs as a stranger would run it."""

import os
import runpy
from pathlib import Path

import pytest

ELSEWHERE = {"client.py": "tests/serve", "onnx_alone.py": "tests/deploy"}  # they need a server, or an exported model
EXAMPLES = [
    pytest.param(path, marks=pytest.mark.slow if path.name == "cells.py" else (), id=path.name)
    for path in sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
    if path.name not in ELSEWHERE
]
SAYS = {
    "cells.py": "cells/ ",
    "own_network.py": "mine            20 layers",
    "predict_picture.py": "0.",
    "published_weights.py": "new classifier for 37 classes",
    "train_digits.py": "cifar_resnet20 on digits: test error",
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, tmp_path, monkeypatch, capsys):
    if example.name == "cells.py" and "RESNETS_DATA" not in os.environ:
        pytest.skip("RESNETS_DATA is not set")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert SAYS[example.name] in capsys.readouterr().out
