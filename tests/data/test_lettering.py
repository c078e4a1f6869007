"""Names on pictures."""

import pytest

from resnets.data import lettering
from resnets.data.lettering import lettered


def test_latin_letters_take_the_font_that_is_always_there():
    text, font = lettered("Größe 3", 14)
    assert text == "Größe 3"
    assert font.getbbox(text)[2] > 30


def test_chinese_letters_are_drawn_where_a_font_has_them(monkeypatch):
    if not lettering._wide():
        pytest.skip("no font with Chinese letters here")
    text, font = lettered("红细胞", 14)
    assert text == "红细胞"
    shapes = {bytes(font.getmask(letter)) for letter in text}
    assert len(shapes) == 3, "three letters, not three times the box that stands for what is missing"


def test_without_such_a_font_they_are_escaped(monkeypatch):
    monkeypatch.setattr(lettering, "_wide", lambda: "")
    assert lettered("红 a")[0] == "\\u7ea2 a"
