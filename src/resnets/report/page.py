"""A run on one page: a self-contained HTML file that opens offline."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from .. import files
from ..record import Result

matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["svg.hashsalt"] = "resnets"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ result.network }} on {{ result.data }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr:nth-child(even) { background: #f3f6f9; }
.big { font-size: 2.4rem; font-weight: 600; } .note { color: #5a6b7b; } svg { max-width: 100%; height: auto; }
</style></head><body>
<h1>{{ result.network }} on {{ result.data }}</h1>
{% if result.test_error is not none %}
<p><span class="big">{{ "%.2f"|format(100 - result.test_error) }} %</span> right on {{ result.test_images }} test images
({{ result.test_mistakes }} mistakes).</p>
<p class="note">The test images chose nothing. The model is
{{ "the best on validation data" if result.model == "best" else "that of the last update" }}.</p>
{% elif result.val_error is not none %}
<p><span class="big">{{ "%.2f"|format(100 - result.val_error) }} %</span> right on validation images.</p>
<p class="note">There was no test part: these images also chose the model.</p>
{% endif %}
<h2>Training</h2>
{{ curves|safe }}
{% if watched %}<p class="note">The test error per epoch was watched; no choice read it.</p>{% endif %}
{% if evaluation %}
<h2>Classes</h2>
<table><tr><th>class</th><th>images</th><th>mistakes</th><th>recall</th><th>precision</th></tr>
{% for row in evaluation.per_class %}<tr><td>{{ row["class"] }}</td><td>{{ row.images }}</td><td>{{ row.mistakes }}</td>
<td>{{ row.recall|percent }}</td><td>{{ row.precision|percent }}</td></tr>{% endfor %}</table>
{% if confusions %}<h2>Most frequent confusions</h2>
<table><tr><th>is</th><th>was taken for</th><th>times</th></tr>
{% for row in confusions %}<tr><td>{{ row[0] }}</td><td>{{ row[1] }}</td><td>{{ row[2] }}</td></tr>{% endfor %}</table>
{% endif %}{% endif %}
<h2>Run</h2>
<table>{% for name, value in facts %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table>
</body></html>
"""


def write(folder: Path, result: Result) -> Path:
    """Write FOLDER/report.html from what the run left in FOLDER."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    epochs = [record for record in records if "train_error" in record]
    evaluation = _json(folder / result.evaluation / "result.json") if result.evaluation else None
    environment = _json(folder / "environment.json")
    facts = [(name, getattr(result, name)) for name in ("recipe", "seed", "updates", "epochs", "bad_files", "seconds")]
    facts += [(name, environment[name]) for name in ("resnets", "torch", "python", "platform", "cores", "threads")]
    page = Environment(autoescape=True, undefined=StrictUndefined)
    page.filters["percent"] = lambda value: "" if value is None else f"{value:.2f} %"
    text = page.from_string(_PAGE).render(
        result=result,
        curves=curves(epochs),
        watched=any("watched_test_error" in record for record in epochs),
        evaluation=evaluation,
        confusions=_confusions(folder / result.evaluation) if result.evaluation else [],
        facts=facts,
    )
    path = folder / "report.html"
    files.write_file(path, text.encode("utf-8", "backslashreplace"))
    return path


def curves(epochs: list[dict[str, Any]]) -> str:
    """Errors per epoch as SVG: training, validation, and the watched test error where it was logged."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    names = {"train_error": "training", "val_error": "validation", "watched_test_error": "test (watched)"}
    for key, label in names.items():
        points = [(record["epoch"] + 1, record[key]) for record in epochs if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else "")
    axes.set(xlabel="epoch", ylabel="error (%)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _confusions(folder: Path) -> list[tuple[str, str, int]]:
    """The ten most frequent mistakes: right class, answer, how often."""
    with (folder / "confusion.csv").open(newline="") as table:
        header, *rows = list(csv.reader(table))
    cells = [(row[0], name, int(n)) for row in rows for name, n in zip(header[1:], row[1:], strict=True)]
    return sorted((cell for cell in cells if cell[2] and cell[0] != cell[1]), key=lambda cell: -cell[2])[:10]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())
