"""One update at the paper's own size: ResNet-50 in the C4 design and VGG-16, a photograph of cells at 600 pixels."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnets.detecting import first_state, fit_detector
from resnets.detection.datasets import open_detection
from resnets.detection.job import Detection
from resnets.detection.recipe import recipe
from resnets.families import network
from resnets.training.train import train

DATA = Path(os.environ.get("RESNETS_DATA", "")) / "bccd"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="RESNETS_DATA has no bccd/")
@pytest.mark.parametrize("name", ["resnet50_v1", "vgg16"])
def test_one_update_at_full_size(name, tmp_path):
    """The loss is that of a beginning, and every layer has learnt."""
    dataset = open_detection(str(DATA))
    made = fit_detector(recipe("voc-2015", network(name), str(DATA)), dataset)
    live = replace(made.detector, bn="live")  # of untrained networks
    made = replace(made, detector=live, training=replace(made.training, updates=1, batch_size=1))
    state, _ = first_state(made, tmp_path, 1, fresh=True)
    before = {key: value.clone() for key, value in state.model.state_dict().items()}
    (step,) = train(Detection(state.model, made, dataset.train.subset([0])), state)
    assert 0 < step.loss < 20
    learns = {key for key, value in state.model.named_parameters() if value.requires_grad}
    changed = {key for key, value in state.model.state_dict().items() if not torch.equal(value, before[key])}
    statistics = {key for key in before if "running_" in key or "num_batches" in key}
    assert learns <= changed <= learns | statistics
