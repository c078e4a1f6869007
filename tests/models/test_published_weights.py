import os
from pathlib import Path

import numpy as np
import pytest
import torch

from resnets import api
from resnets.data.cifar import read_cifar
from resnets.models import create_model, load_weights
from resnets.models.foreign import read_tensors

DATA = os.environ.get("RESNETS_DATA")
PUBLISHED = {"cifar_resnet20": ("resnet20-12fca82f.th", 827), "cifar_resnet32": ("resnet32-d509ac18.th", 737)}
needs_data = pytest.mark.skipif(not DATA, reason="RESNETS_DATA names no folder with CIFAR-10 and the published weights")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", ["cifar_resnet20", pytest.param("cifar_resnet32", marks=pytest.mark.slow)])
def test_published_cifar_weights_make_exactly_these_mistakes(name):
    file, mistakes = PUBLISHED[name]
    model = api.ForeignModel(name, str(Path(DATA, "weights", file)))
    tested = api.evaluate([model], str(Path(DATA, "cifar-10-batches-bin")))
    assert (tested.part, tested.evaluation.counts.images) == ("test", 10000)
    assert tested.evaluation.counts.mistakes == mistakes


@pytest.mark.slow
@pytest.mark.data
@needs_data
@torch.inference_mode()
def test_zeros_on_the_other_side_spoil_published_weights():
    images, labels = (part[:1000] for part in read_cifar(Path(DATA, "cifar-10-batches-bin")).test)
    tensors = read_tensors(Path(DATA, "weights", PUBLISHED["cifar_resnet20"][0]))
    wrong = {}
    for name in ("cifar_resnet20", "cifar_resnet20_a_end"):
        model = create_model(name).eval()
        load_weights(model, tensors, "akamaster")
        seen = api.ForeignModel(name, str(Path(DATA, "weights", PUBLISHED["cifar_resnet20"][0]))).bundle(("",) * 10)
        x = torch.from_numpy(seen.preprocessing.normalise(np.asarray(images)))
        wrong[name] = (model(x).argmax(1).numpy() != labels).mean()
    assert wrong["cifar_resnet20"] < 0.1
    assert wrong["cifar_resnet20_a_end"] > 0.5
