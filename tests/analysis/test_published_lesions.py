import os
from pathlib import Path

import pytest
import torch

from resnets import testing
from resnets.analysis.lesions import pieces, removed
from resnets.analysis.sample import drawn, error_rate

DATA = os.environ.get("RESNETS_DATA")
torch.set_num_threads(2)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="RESNETS_DATA names no folder with CIFAR-10 and the published weights")
def test_units_that_change_the_size_are_missed_most():
    """veit2016 figure 3, on the published 20-layer weights."""
    source = testing.ForeignModel("cifar_resnet20", str(Path(DATA, "weights/resnet20-12fca82f.th")))
    trial = testing.prepared([source], str(Path(DATA, "cifar-10-batches-bin")), testing.Test())
    batches = drawn(trial.source, trial.bundles[0].preprocessing, 500)
    model = trial.bundles[0].model()
    costs = {piece.name: removed(model, [piece], batches).mistakes for piece in pieces(model)}
    changing = {piece.name for piece in pieces(model) if not piece.keeps_shape}
    assert error_rate(model, batches).percent < 12
    assert changing == {"layer2.0", "layer3.0"}
    assert set(sorted(costs, key=costs.__getitem__)[-2:]) == changing, costs
