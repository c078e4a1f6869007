import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from two_units import batches, net, vgg

from resnets.analysis.saliency import Saliency, overlay, saliency

IMAGE = batches()[0].images[0].numpy()


@torch.no_grad()
def test_a_class_activation_map_by_hand():
    model = net()
    found = saliency(model, IMAGE, 2)
    features = model.forward_features(torch.from_numpy(IMAGE)[None])[0]
    expected = [
        [sum(float(model.fc.weight[2, c] * features[c, y, x]) for c in range(8)) for x in range(4)] for y in range(4)
    ]
    assert (found.method, found.label) == ("CAM", 2)
    assert found.values == pytest.approx(np.array(expected), abs=1e-5)
    logits = model(torch.from_numpy(IMAGE)[None])[0]
    assert found.values.mean() + float(model.fc.bias[2]) == pytest.approx(float(logits[2]), abs=1e-5)
    assert found.probability == pytest.approx(float(logits.softmax(0)[2]))
    assert saliency(model, IMAGE).label == int(logits.argmax())
    assert saliency(model, IMAGE, 2, 3.0).probability == pytest.approx(float((logits / 3).softmax(0)[2]))


@pytest.mark.parametrize("bn", [False, True])
def test_grad_cam_by_hand(bn):
    """The gradient of each channel's mean effect, by differences in double precision."""
    model = vgg(bn=bn).double()
    image = torch.from_numpy(IMAGE).double()[None]
    with torch.no_grad():
        features = model.features[:-1](image)
        weights, step = [], 1e-6
        for channel in range(8):
            slopes = torch.zeros(features.shape[2:], dtype=torch.float64)
            for y in range(slopes.shape[0]):
                for x in range(slopes.shape[1]):
                    up, down = features.clone(), features.clone()
                    up[0, channel, y, x] += step
                    down[0, channel, y, x] -= step
                    high, low = (model.forward_head(model.features[-1](each))[0, 1] for each in (up, down))
                    slopes[y, x] = (high - low) / (2 * step)
            weights.append(slopes.mean())
        expected = sum(w * features[0, c] for c, w in enumerate(weights)).clamp(min=0)
    found = saliency(model, image[0].numpy(), 1)
    assert found.method == "Grad-CAM"
    assert found.values == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_overlay_is_bright_where_the_map_is_high(channels):
    values = np.zeros((4, 4), np.float32)
    values[0, 3] = 5
    found = Saliency("CAM", 0, 0.5, values)
    picture = Image.open(io.BytesIO(overlay(np.full((8, 8, channels), 100, np.uint8), found)))
    pixels = np.asarray(picture).sum(2)
    assert picture.size == (320, 320)
    y, x = np.unravel_index(pixels.argmax(), pixels.shape)
    assert (y < 80, x >= 240) == (True, True)
    assert pixels[200, 100] == pixels.min()


def test_a_flat_map_and_json():
    flat = Saliency("CAM", 0, 0.5, np.ones((2, 2), np.float32))
    assert overlay(np.zeros((8, 8, 3), np.uint8), flat).startswith(b"\x89PNG")
    assert json.loads(json.dumps(flat.as_dict(), allow_nan=False))["map"] == [[1, 1], [1, 1]]
