"""Sphinx: `make docs` makes these pages into build/docs; a warning is an error."""

import re
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

project = "resnets"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
exclude_patterns = ["results"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"resnets {release}"
html_copy_source = False
html_show_copyright = False


def prepared(app: Any, page: str, source: list[str]) -> None:
    """Lead a link to the folder of a run to its result: a folder is no page. Join lines of Chinese without a space."""
    text = re.sub(r"\]\((results/[\w.-]+)/\)", lambda found: f"]({found[1]}/{_result(found[1])})", source[0])
    source[0] = re.sub(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u4e00-\u9fff])", "", text)


def _result(folder: str) -> str:
    """Its result, or in a folder of runs that of the first."""
    found = (
        path for name in ("result.json", "seeds.json", "*/result.json") for path in sorted((HERE / folder).glob(name))
    )
    return next((str(path.relative_to(HERE / folder)) for path in found), "")


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("source-read", prepared)
