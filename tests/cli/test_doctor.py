"""`resnets doctor` tells in words what does not fit."""

import json
import subprocess
import sys

from resnets.cli.doctor import examine, pair_problems


def test_all_is_well_here():
    facts = examine()
    assert facts["ok"], facts["verdict"]
    assert facts["versions"]["torch"]
    assert facts["devices"][0].startswith("cpu")
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert facts["free_disk_gib"] > 0
    assert set(facts["extras"]) == {"onnx", "openvino", "serve", "detection"}


def test_pairs():
    assert pair_problems("2.15.0+cu132", ["numpy", "torch (>=2.14.0)"]) == []
    assert "do not match" in pair_problems("2.13.0", ["torch (>=2.14.0)"])[0]
    assert "do not match" in pair_problems("2.15.0", ["torch (==2.14.0)"])[0]
    assert pair_problems("2.14.0", ["torch (==2.14)"]) == []
    assert "too old" in pair_problems("2.9.1", ["torch"])[0]


def test_a_mismatched_pair_is_named_in_words(tmp_path):
    """A torchvision that fails on import as the real one does beside a wrong torch, for doctor and for every verb."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from resnets.cli.main import main; sys.exit(main())"
    for verb, expected in ((["doctor", "--json"], 5), (["train", "digits"], 5)):
        done = subprocess.run(
            [sys.executable, "-c", code, *verb], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == expected, done.stderr
        said = json.loads(done.stdout)["verdict"] if verb[0] == "doctor" else done.stderr
        assert "torch and torchvision do not match" in said
        assert "pip install" in said
        assert "Traceback" not in done.stderr
