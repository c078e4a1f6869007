"""The most confident mistakes: which ones, in which order, and as the network saw them."""

import csv
import io

import numpy as np
import pytest
from PIL import Image
from run_folders import CLASSES, SEEN, keep_test

from resnets.data.images import ImageError
from resnets.evaluation.records import cell, plain
from resnets.report.reading import read_test


def table(folder):
    return list(csv.reader(io.StringIO((folder / "mistakes.csv").read_text("utf-8"))))


def test_order_and_pictures(tmp_path):
    source = keep_test(tmp_path)
    header, *rows = table(tmp_path)
    assert header == ["file", "right class", "answer", "probability", "picture"]
    # sure = 1 3 2 3 1 5 1 1 1 4 4 1; 0, 4 and 8 are right; equal ones in the order of the pictures
    order = [5, 9, 10, 1, 3, 2, 6, 7, 11]
    assert [row[0] for row in rows] == [f"fruit/{i}" for i in order]
    assert [row[1:3] for row in rows[:2]] == [["plum", "apple"], ["apple", "pear"]]
    assert float(rows[0][3]) == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=1e-6)
    for number, (index, row) in enumerate(zip(order, rows, strict=True), 1):
        assert row[4] == f"mistakes/{number:02d}.png"
        with Image.open(tmp_path / row[4]) as picture:
            assert np.array_equal(np.asarray(picture)[..., None], SEEN.view(source.picture(index)))
    assert [row["png"] for row in read_test(tmp_path).mistakes] == [(tmp_path / row[4]).read_bytes() for row in rows]


def test_a_later_test_leaves_no_picture_of_an_earlier_one(tmp_path):
    keep_test(tmp_path)
    (tmp_path / "mistakes/99.png").write_bytes(b"old")
    keep_test(tmp_path)
    assert len(list((tmp_path / "mistakes").glob("*.png"))) == 9


def test_at_most_24(tmp_path, monkeypatch):
    monkeypatch.setattr("resnets.evaluation.records._PICTURES", 2)
    keep_test(tmp_path)
    assert len(table(tmp_path)) == 3


def test_a_picture_that_has_gone_is_a_row_without_one(tmp_path, monkeypatch):
    def view(self, image):
        raise ImageError("changed since start")

    keep_test(tmp_path)
    monkeypatch.setattr(type(SEEN), "view", view)
    keep_test(tmp_path)
    assert [row[4] for row in table(tmp_path)[1:]] == [""] * 9
    assert not (tmp_path / "mistakes").exists()
    assert read_test(tmp_path).mistakes == []


@pytest.mark.parametrize("place", ["../secret.png", "mistakes/../../secret.png", "/etc/passwd", "mistakes/link.png"])
def test_only_its_own_pictures_are_read(tmp_path, place):
    folder = tmp_path / "test"
    keep_test(folder)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "mistakes/link.png").symlink_to(tmp_path / "secret.png")
    (folder / "mistakes/01.png").unlink()
    (folder / "mistakes/01.png").symlink_to(tmp_path / "secret.png")
    for given in (place, "mistakes/01.png"):
        (folder / "mistakes.csv").write_text(f"file,right class,answer,probability,picture\nx,a,b,0.5,{given}\n")
        assert read_test(folder).mistakes == []


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "'x", "x", "", "'"])
def test_the_quote_against_formulas_is_taken_off_again(text):
    assert plain(cell(text)) == text


def test_nothing_is_kept_where_nobody_says_how_pictures_are_seen(tmp_path):
    keep_test(tmp_path, CLASSES, seen=None)
    assert not (tmp_path / "mistakes.csv").exists()
