"""Lists of files and labels: every form that is read, every fault in one line, and no way out of the folder."""

import os
import random
import sys

import numpy as np
import pytest
from trees import many, plant, tree_hash

from resnets.data.datasets import Holdout, open_dataset
from resnets.data.lists import inside, read_table
from resnets.errors import DataError


def write(root, text, name="photos.csv"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def named(dataset, part="whole"):
    source = getattr(dataset, part)
    return {source.name(i): dataset.classes[source.labels[i]] for i in range(len(source))}


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path, "a.jpg", "b.png", "deep/c.gif", "deep/ç d.jpg", "0001.jpg")


PLAIN = {"a.jpg": "cat", "b.png": "dog", "deep/c.gif": "cat", "deep/ç d.jpg": "dog"}
ROWS = [f"{name},{label}" for name, label in PLAIN.items()]
FORMS = {
    "header": ("\n".join(["file,label", *ROWS]), "photos.csv"),
    "other names": ("\n".join(["Image,CATEGORY", *ROWS]), "photos.csv"),
    "no header": ("\n".join(ROWS), "photos.csv"),
    "no header, label first": ("\n".join(",".join(row.split(",")[::-1]) for row in ROWS), "photos.csv"),
    "other columns": ("\n".join(["patient,path,target,age", *(f"p1,{row},7" for row in ROWS)]), "x.CSV"),
    "tabs": ("\n".join(["file\tlabel", *(row.replace(",", "\t") for row in ROWS)]), "photos.tsv"),
    "semicolons": ("\n".join(["file;label", *(row.replace(",", ";") for row in ROWS)]), "photos.csv"),
    "BOM, quotes, spaces, Windows line ends": (
        "\ufefffile , label\r\n" + "\r\n".join(f'" {row.replace(",", " ", 0)}"'.replace(",", '"," ') for row in ROWS),
        "photos.csv",
    ),
    "repeated rows, empty lines, other spelling": (
        "\n".join(["file,label", *ROWS, "", ROWS[0], "./deep/../b.png,dog", ","]),
        "p.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "name"), FORMS.values(), ids=list(FORMS))
def test_forms(root, text, name):
    path = write(root, text, name)
    before = tree_hash(root)
    dataset = open_dataset(str(path))
    assert named(dataset) == PLAIN
    assert dataset.classes == ("cat", "dog")
    assert dataset.name == path.stem
    assert dataset.whole.sizes == tuple((root / name).stat().st_size for name in dataset.whole.names)
    assert tree_hash(root) == before


def test_numbers_stay_text_and_ids_lack_the_extension(root):
    plant(root, *(f"{n}.png" for n in range(2, 12)))
    path = write(root, "id,class\n0001,10\n" + "".join(f"{n},{n % 3}\n" for n in range(2, 12)))
    dataset = open_dataset(str(path), Holdout(class_order="natural"))
    assert dataset.classes == ("0", "1", "2", "10")
    assert open_dataset(str(path)).classes == ("0", "1", "10", "2")
    assert named(dataset)["0001.jpg"] == "10"


def test_parts_and_groups_of_a_list(root):
    names = plant(root, *many("x", count=12)) and many("x", count=12)
    told = ["train"] * 6 + ["Validation"] * 3 + ["testing"] * 3
    rows = [f"{name},{'ab'[i % 2]},{told[i]},p{i // 2}" for i, name in enumerate(names)]
    path = write(root, "\n".join(["file,label,subset,patient", *rows]))
    dataset = open_dataset(str(path), Holdout(group_by="patient"))
    assert {part: list(source.names) for part, source in dataset.parts.items()} == {
        part: sorted((n for n, t in zip(names, told, strict=True) if t == word), key=lambda n: (names.index(n) % 2, n))
        for part, word in {"train": "train", "val": "Validation", "test": "testing"}.items()
    }
    assert dataset.split == "parts as in photos.csv"
    assert dataset.train.groups == tuple(f"p{names.index(name) // 2}" for name in dataset.train.names)
    assert dataset.notes == (
        "6 groups by patient, each kept in one part of a split made here",
        "1 groups lie in several parts of the data: p4",
    )


def test_lists_in_a_folder(root):
    write(root, "file,label\na.jpg,x\nb.png,y\n", "labels.csv")
    dataset = open_dataset(str(root))
    assert named(dataset) == {"a.jpg": "x", "b.png": "y"}
    assert dataset.name == root.name
    assert dataset.notes == (
        "classes from labels.csv",
        "3 pictures that labels.csv does not list ignored: 0001.jpg, deep/c.gif, deep/ç d.jpg",
    )


def test_lists_of_parts_in_a_folder(tmp_path):
    """As on Kaggle: flat folders of pictures, a list for each, and none for the test."""
    plant(tmp_path, *many("train", "valid", "test", count=4))
    for name in ("train", "valid"):
        write(tmp_path, "id,label\n" + "".join(f"{name}/{i},{'ab'[i % 2]}\n" for i in range(4)), f"{name}.csv")
    write(tmp_path, "id\n" + "".join(f"test/{i}\n" for i in range(4)), "test.csv")
    dataset = open_dataset(str(tmp_path))
    assert {part: len(source) for part, source in dataset.parts.items()} == {"train": 4, "val": 4}
    assert "train: test.csv has no classes and is ignored" in dataset.notes
    assert dataset.split.startswith("parts as in test.csv, train.csv, valid.csv; without a test part")


def test_class_folders_beat_a_list(tmp_path):
    plant(tmp_path, *many("a", "b"))
    write(tmp_path, "file,label\na/0.jpg,x\na/1.jpg,y\n", "labels.csv")
    assert open_dataset(str(tmp_path)).classes == ("a", "b")


FAULTS = {  # F-37: the list, and the line about it; {} is the list's path
    "label empty": ("file,label\na.jpg,cat\nb.png,\n", "{}:3: no label"),
    "file empty": ("file,label\n,cat\n", "{}:2: no file"),
    "missing": ("file,label\na.jpg,cat\n\ngone.jpg,dog\n", "{}:4: gone.jpg is not there"),
    "a folder": ("file,label\ndeep,cat\n", "{}:2: deep is not a file"),
    "outside": ("file,label\n../x.jpg,cat\n", "{}:2: ../x.jpg leads out of the folder of the list"),
    "absolute": ("file,label\n/etc/passwd,cat\n", "{}:2: /etc/passwd leads out of the folder of the list"),
    "two labels": (
        "file,label\na.jpg,cat\nb.png,dog\n./a.jpg,dog\n",
        "{}:4: a.jpg is 'dog' in train here, and 'cat' in train in {}:2",
    ),
    "two parts": (
        "file,label,part\na.jpg,cat,train\na.jpg,cat,test\n",
        "{}:3: a.jpg is 'cat' in test here, and 'cat' in train in {}:2",
    ),
    "unknown part": ("file,label,part\na.jpg,cat,holdout\n", "{}:2: part 'holdout' is none of train, val and test"),
    "no label column": (
        "id,breed\na.jpg,cat\n",
        "{}:1: no column of labels; it has id, breed; call one label or class or category or target",
    ),
    "no file column": (
        "name,label\na.jpg,cat\n",
        "{}:1: no column of files; it has name, label; call one file or filename or image or path or id",
    ),
    "no header, three columns": (
        "a.jpg,cat,7\n",
        "{}:1: no column of labels; it has a.jpg, cat, 7; call one label or class or category or target",
    ),
    "ragged": ("file,label\na.jpg,cat\nb.png,dog,7\n", "{}:3: 3 columns, 2 in the first row"),
    "not UTF-8": ("file,label\na.jpg,caf\xe9\n".encode("latin-1"), "{}:2: not UTF-8; save it as UTF-8"),
    "UTF-16": ("file,label\n".encode("utf-16"), "{}:1: not UTF-8; save it as UTF-8"),
    "empty": ("", "{} is empty"),
    "header alone": ("file,label\n", "{}: has no rows, but no train part"),
    "no train": ("file,label,part\na.jpg,cat,test\nb.png,dog,test\n", "{}: has test, but no train part"),
    "class only in test": (
        "file,label,part\na.jpg,cat,train\nb.png,dog,train\ndeep/c.gif,cow,test\n",
        "{}: test has classes that train lacks: cow; add or remove them",
    ),
    "broken quotes": ('file,label\n"a.jpg"x,cat\n', "{}:2: ',' expected after '\"'"),
    "hostile": ("file,label\na\x1b[31m.jpg,cat\n", "{}:2: a\\x1b[31m.jpg is not there"),
    "a NUL": ("file,label\na.jpg\0,cat\n", "{}:2: "),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=list(FAULTS))
def test_faults(root, text, said):
    path = write(root, text)
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    expected = said.replace("{}", str(path))
    assert str(caught.value) == expected or (expected.endswith(": ") and str(caught.value).startswith(expected))
    assert caught.value.exit_code == 3
    assert str(caught.value).isprintable()


def test_what_cannot_be_opened_as_a_list(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe.csv cannot be read: a pipe, not a file"):
        read_table(tmp_path / "pipe.csv")


def test_one_class_is_too_few(root):
    with pytest.raises(DataError, match=r"pictures of one class only \(cat\)"):
        open_dataset(str(write(root, "file,label\na.jpg,cat\nb.png,cat\n")))


def test_two_lists_of_one_part(root):
    for name in ("labels.csv", "labels.tsv"):
        write(root, "file,label\n", name)
    with pytest.raises(DataError, match=r"both labels.csv and labels.tsv are lists; keep one"):
        open_dataset(str(root))
    (root / "labels.tsv").rename(root / "train.tsv")
    with pytest.raises(DataError, match=r"both labels.csv and train.tsv are lists; keep one"):
        open_dataset(str(root))


def hostile_names(dice):
    """Names that try to leave a folder, and names that do not."""
    pieces = [
        "..",
        ".",
        "",
        "a",
        "in",
        "out",
        "loop",
        "/",
        "//",
        "etc",
        "passwd",
        "~",
        "x" * 300,
        "\0",
        "\n",
        "é",
        "%2e",
        "\\..",
    ]
    for _ in range(2000):
        yield "/".join(dice.choice(pieces) for _ in range(dice.randrange(1, 7)))


def test_path_jail(tmp_path):
    """T-12: of 2,000 names none leads to a file outside, and nothing is opened at all."""
    home = plant(tmp_path / "home", "a", "in/a", "in/in/a")
    plant(tmp_path, "a", "out/a", "passwd")
    for link, target in {
        "out": tmp_path / "out",
        "in/out": "../../out",
        "in/loop": "loop",
        "in/in/loop": "../..",
    }.items():
        (home / link).symlink_to(target)
    opened, watching = [], [True]
    sys.addaudithook(lambda event, values: opened.append(values[0]) if watching and event == "open" else None)
    answers = {}
    for name in hostile_names(random.Random(0)):
        try:
            answers[name] = inside(home, name)[0]
        except DataError as error:
            answers[name] = str(error)
    watching.clear()
    assert opened == []
    good = {answer for answer in answers.values() if " " not in answer}
    assert {"a", "in/a"} <= good <= {"a", "in/a", "in/in/a"}
    reasons = {answer for answer in answers.values() if " " in answer}
    assert reasons == {"leads out of the folder of the list", "is not there", "is not a file"}


def test_many_rows_are_quick(tmp_path):
    names = many(*map(str, range(10)), count=300)
    plant(tmp_path, *names)
    rows = [f"{name},{name.split('/')[0]}" for name in names]
    dataset = open_dataset(str(write(tmp_path, "\n".join(["file,label", *rows]))))
    assert np.bincount(dataset.whole.labels).tolist() == [300] * 10
