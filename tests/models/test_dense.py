"""Fully convolutional networks against the plain ones."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets.models import build, create_model
from resnets.models.dense import FullyConvolutional, map_side
from resnets.spec import VGG

SPEC = VGG((1, 1, 1, 1, 1), False, 6, widths=(4, 4, 6, 6, 8), hidden=12)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def close(found, expected):
    """Relative error of whole outputs: networks without real BN statistics blow up with depth."""
    return found.shape == expected.shape and (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.fixture(autouse=True)
def _same_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def vgg():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(SPEC).eval()
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.detach().mul_(3)
        return model


@torch.inference_mode()
def test_form_i_is_global_pooling_and_the_classifier_on_any_size():
    model = create_model("cifar_resnet20").eval()
    dense = FullyConvolutional(model, 1)
    for height, width in ((32, 32), (37, 50), (8, 91)):
        x = random(2, 3, height, width)
        assert close(dense(x).mean((2, 3)), model(x))


@torch.inference_mode()
def test_windows_of_a_residual_network_by_hand():
    model = create_model("cifar_resnet20").eval()
    x = random(2, 3, 44, 40)
    maps, dense = model.forward_features(x), FullyConvolutional(model, map_side(model, 32))(x)
    assert maps.shape[2:] == (11, 10)
    assert dense.shape == (2, 10, 4, 3)
    for y in range(4):
        for left in range(3):
            window = maps[:, :, y : y + 8, left : left + 8]
            assert close(dense[:, :, y, left], model.fc(window.mean((2, 3))))


@torch.inference_mode()
@pytest.mark.parametrize(("size", "side"), [(224, 7), (256, 8), (96, 3), (32, 1), (480, 15)])
def test_the_windows_of_a_vgg_are_its_classifier(vgg, size, side):
    """One window is the plain network, whatever it pools to 7×7; of several each is the classifier on that part."""
    assert map_side(vgg, size) == side
    dense = FullyConvolutional(vgg, side)
    x = random(2, 3, size, size)
    assert close(dense(x)[:, :, 0, 0], vgg(x))
    x = random(1, 3, size + 64, size + 32)
    maps, found = vgg.features(x), dense(x)
    assert found.shape == (1, 6, 3, 2)
    for y in range(3):
        for left in range(2):
            window = maps[:, :, y : y + side, left : left + side]
            assert close(found[:, :, y, left], vgg.forward_head(window))


def test_at_224_the_first_linear_layer_is_a_7x7_convolution(vgg):
    layers = FullyConvolutional(vgg, 7).layers
    assert [tuple(layer.weight.shape) for layer in layers] == [(12, 8, 7, 7), (12, 12, 1, 1), (6, 12, 1, 1)]
    assert torch.equal(layers[0].weight.flatten(), vgg.classifier[0].weight.flatten())
    assert not any(layer.weight.requires_grad for layer in layers)
    assert vgg.classifier[0].weight.requires_grad


@torch.inference_mode()
def test_a_map_smaller_than_a_window_is_one_position(vgg):
    residual = create_model("cifar_resnet20").eval()
    for model, window, size in ((vgg, 7, 192), (residual, 8, 28)):
        x = random(2, 3, size, size + 64)
        found = FullyConvolutional(model, window)(x)
        assert torch.equal(found[:, :, 0, 0], model(x))
        assert found.shape[2:] == (1, 1)


@torch.inference_mode()
def test_batch_norm_and_preactivation():
    for spec in (replace(SPEC, bn=True), "cifar_preresnet110"):
        model = (create_model(spec) if isinstance(spec, str) else build(spec)).eval()
        size = model.spec.size
        x = random(1, 3, size, size)
        dense = FullyConvolutional(model, map_side(model, size))(x)
        assert close(dense[:, :, 0, 0], model(x))
