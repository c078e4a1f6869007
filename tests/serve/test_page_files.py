"""The page's files by themselves: nothing that a strict policy would stop, and every text in both languages."""

import re
from pathlib import Path

import pytest

from resnets.report import page as report_page

STATIC = Path(__file__).parent.parent.parent / "src" / "resnets" / "serve" / "static"
FILES = sorted(STATIC.iterdir())
ROW = re.compile(r'^  (\w+): \[\s*"((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)",?\s*\],', re.MULTILINE)
TEXTS = {key: (english, chinese) for key, english, chinese in ROW.findall((STATIC / "words.js").read_text())}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_is_short_and_asks_nobody_else(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 300
    assert max(map(len, text.splitlines())) <= 140 or file.suffix != ".js" or file.name == "words.js"
    outside = [url for url in re.findall(r"https?://[^\s\"'`]+", text) if "www.w3.org/2000/svg" not in url]
    assert outside in ([], ["http://127.0.0.1:8000/predict</code></pre>"])


@pytest.mark.parametrize("file", [f for f in FILES if f.suffix in (".js", ".html")], ids=lambda file: file.name)
def test_no_text_becomes_markup_or_code(file):
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc"
    code = r"eval\(|new Function|\bon\w+=|style=|javascript:"
    assert not re.search(f"{markup}|{code}", file.read_text())


def test_every_text_is_there_in_both_languages_with_the_same_values():
    assert len(TEXTS) > 100
    for key, pair in TEXTS.items():
        english, chinese = (set(re.findall(r"\{(\w+)\}", text)) for text in pair)
        assert english == chinese, key
        assert pair[0], key
        assert pair[1], key


def test_texts_are_used_and_used_ones_are_there():
    used = set()
    for file in FILES:
        if file.name != "words.js":
            used |= set(re.findall(r'[`"](\w+)(?=["`$])', file.read_text()))
    made = {"status", "card", "about", "key", "fit", "net"}  # beginnings of names that are put together
    assert {key for key in TEXTS if key not in used and key.split("_")[0] not in made} == set()
    html = (STATIC / "index.html").read_text()
    assert set(re.findall(r'data-(?:word|label)="(\w+)"', html)) <= TEXTS.keys()


def test_colours_are_those_of_the_reports():
    report = (Path(report_page.__file__).parent / "templates" / "style.css").read_text()
    ours = (STATIC / "page.css").read_text()
    for name in ("paper", "ink", "soft", "line", "panel", "link", "c1", "c2", "c3", "c4", "c5"):
        colours = [re.findall(rf"--{name}: (#\w+);", text) for text in (ours, report)]
        assert colours[0] == colours[1], name
        assert len(colours[0]) == 2, name
