"""The habits of the house that no tool checks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LIMIT = 300  # lines of a file
# Where a word that can run foreign code, or undo a limit, may stand: file → words.
DANGEROUS = ("pickle.load", "torch.load(", "eval(", "exec(", "extractall", "yaml.load", "shell=True", "LOAD_TRUNCATED")
ALLOWED = {"src/resnets/models/foreign.py": {"torch.load("}}
HOOKS = ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook")


def test_files_are_short():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > LIMIT}
    assert not long


@pytest.mark.parametrize("word", DANGEROUS)
def test_dangerous_words_stand_on_listed_lines_only(word):
    pattern = re.compile(r"(?<![\w.])" + re.escape(word))
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        code = "\n".join(line.split("#")[0] for line in path.read_text().splitlines())
        code = re.sub(r'"""[\s\S]*?"""', "", code).replace("model.eval(", "").replace(".eval()", "")
        if word not in ALLOWED.get(name, ()):
            assert not pattern.search(code), f"{name}: {word}"


def test_seams():
    """One file decodes pictures, one unpickles foreign weights, one registers hooks."""
    opens = {p.name for p in SOURCES if "Image.open(" in p.read_text()}
    assert opens <= {"images.py"}
    assert {p.name for p in SOURCES if any(hook in p.read_text() for hook in HOOKS)} == {"capture.py"}
    assert {p.name for p in SOURCES if "os.fsync" in p.read_text()} <= {"files.py", "fetch.py"}


def test_documents_name_no_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in (".md", ".py", ".toml", ".json", ""):
            assert "/work/" not in path.read_text(errors="replace").replace('"/work/"', ""), name


def test_version_is_stated_once():
    import resnets

    assert f'version = "{resnets.__version__}"' in (ROOT / "pyproject.toml").read_text()
