"""Both languages say everything."""

import re
from pathlib import Path

import pytest

from resnets.report import language

FOLDER = Path(language.__file__).parent
KEYS = re.compile(r'\bt\(\s*"(\w+)"')


def test_both_languages_have_every_text_with_the_same_places():
    for key, (english, chinese) in language.TEXTS.items():
        places = [sorted(re.findall(r"{(\w+)[:.}]", text)) for text in (english, chinese)]
        assert places[0] == places[1], key
        assert english.isascii() or set(re.sub(r"[\x00-\x7f]", "", english)) <= set("–±×·…"), key
        own = chinese.replace("top-1", "").replace("top-5", "").replace("resnets", "")
        assert re.search(r"[\u4e00-\u9fff]", own) or re.fullmatch(r"[^a-z]*", re.sub(r"{[^}]*}", "", own)), key
        assert not re.search(r"[\u4e00-\u9fff] ?[,;:?!.] ?[\u4e00-\u9fff]", chinese), f"{key}: half-width punctuation"


def test_every_text_is_used_and_every_key_known():
    sources = [*FOLDER.glob("*.py"), *FOLDER.glob("templates/*")]
    texts = {path.name: path.read_text("utf-8") for path in sources if path.name != "language.py"}
    asked = {key for text in texts.values() for key in KEYS.findall(text)}
    assert asked <= set(language.TEXTS)
    quoted = {word for text in texts.values() for word in re.findall(r'"(\w+)"', text)}
    assert set(language.TEXTS) <= quoted


def test_speaker():
    assert language.speaker("en")("on_part", mistakes=3, images=9, part="test") == "3 of 9 test images wrong"
    assert language.speaker("zh")("accuracy") == "准确率"
    with pytest.raises(KeyError):
        language.speaker("en")("no such key")
