"""The peers compute what the library computes. Nothing is timed here."""

import torch

from benchmarks.arms.plain import PlainResNet
from resnets.models import create_model


def test_the_usual_network_is_ours():
    torch.manual_seed(0)
    ours, usual = create_model("cifar_resnet20"), PlainResNet(20)
    usual.load_state_dict(ours.state_dict())
    images = torch.randn(8, 3, 32, 32)
    for each in (ours, usual):
        each(images)  # in training: BN statistics move
    torch.testing.assert_close(usual.train()(images), ours.train()(images))
    torch.testing.assert_close(usual.eval()(images), ours.eval()(images))
