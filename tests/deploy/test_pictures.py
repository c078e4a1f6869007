"""Pictures to compare on are never those that int8 is calibrated on."""

import numpy as np
import pytest
from PIL import Image
from random_bundles import bundle_of

from resnets import bundle
from resnets.data.datasets import open_dataset
from resnets.data.preprocessing import Preprocessing
from resnets.deploy import pictures
from resnets.errors import DataError

GRAY = Preprocessing(8, 1, crop_pct=1.0, mean=(0.0,), std=(1.0,))


def rows(views):
    return {view.tobytes() for view in views}


def test_of_a_data_set_the_test_part_and_the_training_part(tmp_path):
    bundle.save(bundle_of(channels=1, size=8), tmp_path / "model")
    found = pictures.of_model(tmp_path / "model", "digits", GRAY, 50)
    dataset = open_dataset("digits")
    assert dataset.test is not None
    assert (len(found.views), len(found.calibration)) == (50, 300)
    known = {
        np.asarray(dataset.test.picture(i)).tobytes(): int(dataset.test.labels[i]) for i in range(len(dataset.test))
    }
    assert [known[view.tobytes()] for view in found.views] == found.labels.tolist()
    train = {np.asarray(dataset.train.picture(i)).tobytes() for i in range(len(dataset.train))}
    assert rows(found.calibration) <= train
    assert len(set(found.labels.tolist())) == 10, "spread over the part"
    random = pictures.of_data("digits", GRAY, 50)
    assert random.labels is None
    assert np.array_equal(random.views, found.views)


@pytest.fixture
def folder(tmp_path):
    for number in range(7):
        Image.fromarray(np.full((8, 8), 30 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    return tmp_path


def test_of_a_folder_without_classes_at_most_half_calibrate(folder, tmp_path):
    found = pictures.of_model(tmp_path, str(folder), GRAY, 50)
    assert found.labels is None
    assert (len(found.views), len(found.calibration)) == (3, 4)
    assert not rows(found.views) & rows(found.calibration)
    assert len(rows(found.views) | rows(found.calibration)) == 7


def test_nothing_to_look_at(tmp_path):
    with pytest.raises(DataError):
        pictures.of_data(str(tmp_path), GRAY, 50)
