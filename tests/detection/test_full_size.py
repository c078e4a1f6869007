"""One update at the paper's own size: ResNet-50 in the C4 design and VGG-16, a photograph of cells at 600 pixels."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from resnets.detecting import first_state, fit_detector
from resnets.detection.datasets import open_detection
from resnets.detection.job import Detection
from resnets.detection.recipe import recipe
from resnets.families import network
from resnets.models import create_model
from resnets.training.statistics import average_statistics
from resnets.training.train import train

DATA = Path(os.environ.get("RESNETS_DATA", "")) / "bccd"


def backbone(name, scenes, file):
    """Weights of a network to start from: He's, and for frozen BN the statistics of two photographs at full size."""
    torch.manual_seed(0)
    model = create_model(name)
    pictures = torch.stack([torch.from_numpy(scenes.pixels(i)).permute(2, 0, 1) / 255 for i in range(2)])
    mean, std = (torch.tensor(row)[:, None, None] for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    average_statistics(model, [F.interpolate((pictures - mean) / std, size=(600, 800), mode="bilinear")], 2)
    safetensors.torch.save_file(model.state_dict(), file)
    return str(file)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="RESNETS_DATA has no bccd/")
@pytest.mark.parametrize("name", ["resnet50_v1", "vgg16"])
def test_one_update_at_full_size(name, tmp_path):
    """By the paper's recipe: the loss is that of a beginning, all that may learn has learnt, and BN stays frozen."""
    dataset = open_detection(str(DATA))
    made = fit_detector(recipe("voc-2015", network(name), str(DATA)), dataset)
    assert (made.detector.bn, made.freeze) == ("frozen", "stem+stage1")
    weights = backbone(name, dataset.train, tmp_path / "backbone.safetensors")
    origin = "msra" if name.endswith("_v1") else ""
    made = replace(made, weights=weights, origin=origin, training=replace(made.training, updates=1, batch_size=1))
    state, _ = first_state(made, tmp_path, 1, fresh=True)
    before = {key: value.clone() for key, value in state.model.state_dict().items()}
    (step,) = train(Detection(state.model, made, dataset.train.subset([0])), state)
    assert 0 < step.loss < 20
    learns = {key for key, value in state.model.named_parameters() if value.requires_grad}
    changed = {key for key, value in state.model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == learns
    assert not any("bn" in key or "running_" in key for key in changed)
