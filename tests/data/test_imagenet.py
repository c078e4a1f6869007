"""ImageNet's flat validation folder with each published list of its classes, without moving a file."""

import io

import numpy as np
import pytest
from scipy.io import savemat
from trees import many, plant

from resnets.data.datasets import open_dataset
from resnets.errors import DataError

SYNSETS = ("n01440764", "n01443537", "n02119789")
RIGHT = {"ILSVRC2012_val_00000001.JPEG": 2, "ILSVRC2012_val_00000002.JPEG": 0, "ILSVRC2012_val_00000004.JPEG": 1}
LABELS = "n02119789\nn01440764\nn01440764\nn01443537\n"  # of pictures 1 to 4; picture 3 is not here
CAFFE = "ILSVRC2012_val_00000001.JPEG 2\nILSVRC2012_val_00000002.JPEG 0\nILSVRC2012_val_00000004.JPEG 1\n"
DEVKIT = "ILSVRC2012_devkit_t12/data/"
TRUTH = DEVKIT + "ILSVRC2012_validation_ground_truth.txt"


def matlab(**variables):
    """The text of a MATLAB file; every byte of it stands for itself."""
    out = io.BytesIO()
    savemat(out, variables, do_compression=True)
    return out.getvalue().decode("utf-8", "surrogateescape")


FORMS = {
    "TensorFlow's synsets": {"imagenet_2012_validation_synset_labels.txt": LABELS},
    "synsets within val": {"val/synset_labels.txt": LABELS},
    "caffe's list and synsets": {"val.txt": CAFFE, "synsets.txt": "\n".join(SYNSETS)},
    "caffe's list and words": {"val.txt": CAFFE, "synset_words.txt": "".join(f"{s} a tench, Tinca\n" for s in SYNSETS)},
    "caffe's list and Kaggle's mapping": {
        "val/val.txt": CAFFE,
        "LOC_synset_mapping.txt": "".join(f"{s} tench\n" for s in SYNSETS),
    },
    "a list of names and synsets": {
        "val.txt": "".join(f"{name} {SYNSETS[label]}\n" for name, label in RIGHT.items()),
    },
    "the devkit and its text table": {
        TRUTH: "1\n3\n3\n2\n",
        DEVKIT + "map_clsloc.txt": "n02119789 1 kit_fox\nn01443537 2 goldfish\nn01440764 3 tench\n",
    },
    "the devkit's list alone, and a table": {
        "ILSVRC2012_validation_ground_truth.txt": "1\n3\n3\n2\n",
        "synsets.txt": "1 n02119789\n2 n01443537\n3 n01440764\n",
    },
    "the devkit as it is published": {
        TRUTH: "1\n3\n3\n2\n",
        DEVKIT + "meta.mat": matlab(
            synsets=np.array(
                [(1, "n02119789", 0), (2, "n01443537", 0), (3, "n01440764", 0), (4, "nowhere", 2)],
                dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")],
            )
        ),
    },
    "Kaggle's list": {
        "LOC_val_solution.csv": "ImageId,PredictionString\n"
        + "".join(f"{name[:-5]},{SYNSETS[label]} 1 2 3 4\n" for name, label in RIGHT.items()),
    },
}


def imagenet(root, lists):
    plant(root, *many(*(f"train/{name}" for name in SYNSETS), count=2), *(f"val/{name}" for name in RIGHT))
    for name, text in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


@pytest.mark.parametrize("lists", FORMS.values(), ids=list(FORMS))
def test_forms(tmp_path, lists):
    dataset = open_dataset(str(imagenet(tmp_path, lists)))
    assert dataset.classes == SYNSETS
    assert {dataset.test.name(i): int(dataset.test.labels[i]) for i in range(len(dataset.test))} == RIGHT
    assert dataset.split == "ImageNet's folders; its validation set is the test part"
    assert sum("classes of val/ from" in note for note in dataset.notes) == 1


def test_a_missing_picture_is_noted(tmp_path):
    notes = open_dataset(str(imagenet(tmp_path, FORMS["TensorFlow's synsets"]))).notes
    assert any(
        note.endswith("synset_labels.txt are missing: ILSVRC2012_val_00000003.JPEG") and "1 pictures" in note
        for note in notes
    )


def test_the_flat_folder_by_itself(tmp_path):
    root = imagenet(tmp_path, {"val/synset_labels.txt": LABELS})
    whole = open_dataset(str(root / "val")).whole
    assert {whole.name(i): int(whole.labels[i]) for i in range(len(whole))} == RIGHT


def test_kaggles_folders(tmp_path):
    root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet(root, {})
    (tmp_path / "LOC_val_solution.csv").write_text(FORMS["Kaggle's list"]["LOC_val_solution.csv"])
    assert len(open_dataset(str(root)).test) == 3


FAULTS = {
    "places without synsets": (
        {"val.txt": CAFFE},
        "val.txt holds places in a list of classes; "
        "put synsets.txt, synset_words.txt or LOC_synset_mapping.txt beside it",
    ),
    "a place out of range": (
        {"val.txt": CAFFE.replace(" 1\n", " 3\n"), "synsets.txt": "\n".join(SYNSETS)},
        "val.txt:3: label 3 is not in 0 … 2, the classes of synsets.txt",
    ),
    "the devkit without a table": (
        {TRUTH: "1\n"},
        "ILSVRC2012_validation_ground_truth.txt holds the devkit's own numbers; "
        "put map_clsloc.txt, meta.txt, synsets.txt or meta.mat beside it",
    ),
    "a damaged meta.mat": ({TRUTH: "1\n", DEVKIT + "meta.mat": "x" * 200}, "meta.mat is not the devkit's: "),
    "a meta.mat without synsets": (
        {TRUTH: "1\n", DEVKIT + "meta.mat": matlab(other=[1])}, "meta.mat is not the devkit's: 'synsets'",
    ),
    "the devkit with sorted synsets": (
        {TRUTH: "1\n", "synsets.txt": "\n".join(SYNSETS)},
        "put map_clsloc.txt, meta.txt, synsets.txt or meta.mat beside it",
    ),
    "a class that the table lacks": (
        {TRUTH: "1\n2\n", DEVKIT + "map_clsloc.txt": "n02119789 1 kit_fox\n"},
        "ILSVRC2012_validation_ground_truth.txt:2: class 2 is not in map_clsloc.txt",
    ),
    "something else": (
        {"synset_labels.txt": "n01440764\ntench\x1b\n"},
        "synset_labels.txt:2: unknown form: 'tench\\x1b'",
    ),
    "not text": ({"synset_labels.txt": "n01440764\n\udcff"}, "synset_labels.txt cannot be read as a list"),
    "a class that train lacks": (
        {"synset_labels.txt": LABELS.replace("n01443537", "n09999999")},
        "val has classes that train lacks: n09999999; add or remove them",
    ),
    "no list": ({}, "3 pictures of val lie in no class folder; ImageNet's flat form needs one of its lists: "),
}  # fmt: skip


@pytest.mark.parametrize(("lists", "said"), FAULTS.values(), ids=list(FAULTS))
def test_faults(tmp_path, lists, said):
    imagenet(tmp_path, lists)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
