"""A report says what the files say, in one safe file, whatever is missing."""

import base64
import json
import re
import shlex

import numpy as np
import pytest
from pages import Page, read
from run_folders import keep_run, keep_test

from resnets.errors import UsageError
from resnets.report import page, reading
from resnets.report.figures import Line, lines, reliability, thinned


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "fruit"
    return folder, keep_run(folder)


def test_what_a_report_says(kept):
    folder, result = kept
    assert page.write(folder, result) == folder / "report.html"
    found = read(folder / "report.html")
    found_error = json.loads((folder / "evaluations/fruit-1-crop/result.json").read_text())["calibration"]
    for text in (
        "cifar_resnet8 · fruit",
        "25.00\u00a0%", "9 of 12 test images wrong", "95 % interval 8.9 – 53.2 %",  # Wilson of 3 in 12
        "lowest validation error", "after temperature 1.70", "1 min 01 s",
        "50 images in 3 classes", "20 times as many", "a seeded split", "a pear is odd", "x.jpg: truncated",
        "test, watched", "no choice read it", "because the batch is small",
        f"calibration error {found_error['ece']:.2f} %", f"calibration error {found_error['ece_calibrated']:.2f} %",
        "apple", "fruit/5", f"resnets predict {folder}",
    ):  # fmt: skip
        assert " ".join(text.split()) in found.words, text
    pictures = [v for tag, name, v in found.attributes if (tag, name) == ("img", "src")]
    first = folder / "evaluations/fruit-1-crop/mistakes/01.png"
    assert len(pictures) == 9
    assert pictures[0] == "data:image/png;base64," + base64.b64encode(first.read_bytes()).decode()
    assert page.write(folder, result, "zh", folder / "other.html") == folder / "other.html"
    assert page.write(folder, result, out=folder / "again.html").read_bytes() == (folder / "report.html").read_bytes()


def test_no_english_is_left_in_the_chinese_page(kept):
    folder, result = kept
    found = read(page.write(folder, result, "zh"))
    assert ("html", "lang", "zh-Hans") in found.attributes
    text = "\n".join(found.text)
    own = re.findall(r"[A-Za-z][A-Za-z' ,]*", re.sub(r"resnets|cifar_resnet8|quick|fruit|balance", "", text))
    assert own == []
    assert "混淆矩阵" in text
    assert "平衡准确率" in text


def test_what_the_data_and_the_choice_say_is_chinese_too(tmp_path):
    result = keep_run(tmp_path)
    told = {"split": "stratified split of 44 images, seed 0", "notes": ["1 empty class folders: <fig>", "pear is odd"]}
    for name, more in {"data.json": told, "recipe.json": {"reasons": ["size: 24 pixels need no more"]}}.items():
        facts = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(facts | more))
    english, chinese = (read(page.write(tmp_path, result, language)).words for language in ("en", "zh"))
    for text in (told["split"], *told["notes"], "size: 24 pixels need no more"):
        assert text in english
        assert (text in chinese) == (text == "pear is odd")
    for text in ("44 张图像按类别分层随机划分，种子 0", "1 个类别文件夹是空的：<fig>", "图片只有 24 像素"):
        assert text in chinese


@pytest.mark.parametrize(
    "name",
    ["environment.json", "log.jsonl", "data.json", "bad_images.txt", "evaluations", "confusion.csv", "mistakes.csv"],
)
def test_what_is_missing_is_left_out(tmp_path, name):
    result = keep_run(tmp_path)
    path = next(tmp_path.rglob(name))
    path.rename(tmp_path / "moved")
    read(page.write(tmp_path, result))


def test_result_of_an_older_version(tmp_path):
    result = keep_run(tmp_path)
    path = tmp_path / "evaluations/fruit-1-crop/result.json"
    facts = json.loads(path.read_text())
    for name in ("calibration", "balanced_accuracy", "worst_class", "part"):
        facts.pop(name)
    path.write_text(json.dumps(facts))
    text = read(page.write(tmp_path, result)).words
    assert "Balanced accuracy" not in text
    assert "Calibration" not in text
    assert "9 of 12 test images wrong" in text


def test_counts_of_class_folders_without_data_json(tmp_path):
    keep_run(tmp_path)
    (tmp_path / "data.json").unlink()
    rows = "a/1.jpg,10,train\na/2.jpg,10,train\nb/1.jpg,10,test\nx/b/2.jpg,10,train\n"
    (tmp_path / "split.csv").write_text("file,bytes,part\n" + rows)
    (tmp_path / "last").mkdir()
    config = {"label_names": ["a", "b"], "resnets": {"facts": {"split": "mine"}}}
    (tmp_path / "last/config.json").write_text(json.dumps(config))
    data = reading.read_run(tmp_path).data
    assert (data.parts, data.split) == ({"train": [2, 1], "test": [0, 1]}, "mine")
    (tmp_path / "split.csv").write_text("file,bytes,part\nimages/1.jpg,10,train\n")
    assert reading.read_run(tmp_path).data.parts == {}


def test_commands_are_for_a_shell(tmp_path):
    folder = tmp_path / "it's mine; $HOME"
    result = keep_run(folder)
    commands = [text for text in read(page.write(folder, result)).all if re.match(r"resnets (?!train$)[a-z]", text)]
    assert [shlex.split(command)[2] for command in commands] == [*[str(folder)] * 5, str(tmp_path)]
    (first,) = [text for text in read(page.write(folder, None)).all if text.startswith("resnets resume")]
    assert shlex.split(first) == ["resnets", "resume", str(folder)]


def test_a_run_of_one_update(tmp_path):
    result = keep_run(tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:2]))
    page.write(tmp_path, result)
    charts = re.findall("<svg.*?</svg>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert [chart.count("<use") for chart in charts[:3]] == [3, 2, 1], "a mark for every point"


def test_imbalance_begins_over_ten_times():
    for count, told in ((20, None), (21, 10.5)):
        assert page._data(reading.Data("abc", {"train": [count, 2, 2], "val": [0, 0, 9]}))["imbalance"] == told


def test_an_unfinished_run(tmp_path):
    keep_run(tmp_path)
    text = read(page.write(tmp_path, None)).words
    assert "not finished: it stands at update 3" in text
    assert f"resnets resume {tmp_path}" in text
    (tmp_path / "log.jsonl").unlink()
    assert "stands at update 0" in read(page.write(tmp_path, None)).words


def test_no_test_part(tmp_path):
    result = keep_run(tmp_path)
    fields = vars(result) | {"test_error": None, "test_mistakes": None, "evaluation": None, "worst_class": None}
    text = read(page.write(tmp_path, type(result)(**fields))).words
    assert "40.00\u00a0%" in "\n".join(Page((tmp_path / "report.html").read_text()).text)
    assert "also chose the model" in text
    text = read(page.write(tmp_path, type(result)(**fields | {"val_error": None, "model": "last"}))).words
    assert "nothing is known yet about new pictures" in text


def test_wrong_folders(tmp_path):
    for write in (lambda: page.write(tmp_path, None), lambda: page.write_evaluation(tmp_path)):
        with pytest.raises(UsageError, match=r"holds no|is no run"):
            write()
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        page.write(tmp_path, None)
    keep_run(tmp_path / "run")
    with pytest.raises(UsageError, match="language 'fr'"):
        page.write(tmp_path / "run", None, "fr")


HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred\x1b]0;x\x07", "=cmd|' /C calc'!A0",
    "\u202etxt.exe", "عربي", "日本 $x_1$ \\frac", "{{ 7*7 }}{% raw %}", "é" * 127, "\udcff\udcfe", "a\nforged: line",
    "javascript:alert(1)", "&lt;b&gt;", "'; DROP", "--\u2028>", "<!--", "]]>", "",
)  # fmt: skip


def test_hostile_names(tmp_path):
    """T-8: names of classes and files, notes and commands from outside stay text. `read` checks every element."""
    result = keep_run(tmp_path, HOSTILE, HOSTILE, weights=HOSTILE[1])
    environment = {f"{i}{name}": name for i, name in enumerate(HOSTILE[:9])} | {"resnets": HOSTILE[0]}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    facts = {"model": [HOSTILE[1]], "data": HOSTILE[0], "part": HOSTILE[2], "protocol": HOSTILE[1]}
    facts["bad_files"] = [{"file": HOSTILE[0], "reason": HOSTILE[1]}]
    (tmp_path / "bad_images.txt").write_text(f"{HOSTILE[0]}: {HOSTILE[2]}\n")
    keep_test(tmp_path / "evaluations/odd", HOSTILE, HOSTILE, facts)
    written = [
        page.write(
            tmp_path, type(result)(**vars(result) | {"data": HOSTILE[1]}), language, tmp_path / f"{language}.html"
        )
        for language in ("en", "zh")
    ]
    written.append(page.write_evaluation(tmp_path / "evaluations/odd"))
    for path in written:
        words = read(path).words
        assert "<script>alert(1)</script>" in words
        assert "{{ 7*7 }}" in words
        assert "\\x1b[31mred" in words


def test_evaluation_page(tmp_path):
    keep_test(tmp_path, facts={"model": ["runs/a", "runs/b"], "data": "fruit", "part": "val", "protocol": "10-crop"})
    text = read(page.write_evaluation(tmp_path)).words
    assert "Tested on the validation part of fruit under the protocol 10-crop" in text
    assert "9 of 12 validation images wrong" in text
    assert "runs/a, runs/b" in text
    assert "验证部分" in read(page.write_evaluation(tmp_path, "zh")).words


def test_many_classes_are_folded(tmp_path):
    keep_test(tmp_path, [f"class {i}" for i in range(31)])
    found = read(page.write_evaluation(tmp_path))
    assert ("table", "class", "heat") not in found.attributes
    assert "Most frequent confusions" in found.words
    keep_test(tmp_path, [f"class {i}" for i in range(30)])
    assert "heat" in "".join(v for _, n, v in read(page.write_evaluation(tmp_path)).attributes if n == "class")


def test_charts():
    """No words, the page's colours, a logarithm only where zero is not needed."""
    chart = lines("x", [Line([(1, 0.1), (2, 100.0)], 2), Line([(1, 3.0)], 9)])
    assert {"var(--c2)", "var(--c1)"} <= set(re.findall(r"var\(--c\d\)", chart))
    labels = re.findall(r">([^<>\s]+)</text>", chart)
    assert {"0.1", "1", "10", "100"} <= set(labels)
    assert "0" in re.findall(r">([^<>\s]+)</text>", lines("x", [Line([(1, 0.1), (2, 100.0)])], zero=True))
    assert "5" in re.findall(r">([^<>\s]+)</text>", lines("x", [Line([(1, 0.0), (5, 0.0)])]))
    none = [{"low": 0.0, "high": 1.0, "images": 0, "confidence": None, "accuracy": None}]
    assert "var(--c1)" not in reliability("x", none)
    alone, two = (lines("x", [Line([(i, 0.1) for i in range(n)], 2, marks=False)]) for n in (1, 2))
    assert (alone.count("<use"), two.count("<use")) == (1, 0)
    assert re.findall(r">([^<>\s]+)</text>", alone) == ["0", "0", "0.025", "0.05", "0.075", "0.1"], "no update 0.02"
    points = [(i, float(i)) for i in range(64_000)]
    few = thinned(points)
    assert len(few) <= 402
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert thinned(points[:300]) == points[:300]
    assert np.all(np.diff([x for x, _ in few]) > 0)
