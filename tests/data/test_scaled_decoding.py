"""JPEGs decoded no larger than they are needed."""

import io

import numpy as np
import pytest
from PIL import Image

from resnets.bundle import Bundle
from resnets.data.images import Limits, decode
from resnets.data.preprocessing import Preprocessing
from resnets.families import network


def encoded(picture, kind):
    out = io.BytesIO()
    picture.save(out, kind, quality=95)
    return out.getvalue()


@pytest.mark.parametrize(("size", "enough", "expected"), [
    ((1600, 1200), 256, (400, 300)), ((1600, 1200), 300, (400, 300)), ((1600, 1200), 301, (800, 600)),
    ((1600, 1200), 601, (1600, 1200)), ((1600, 1200), 0, (1600, 1200)), ((4000, 3000), 10, (500, 375)),
    ((601, 2000), 150, (151, 500)),
])  # fmt: skip
def test_large_photographs_are_decoded_no_larger_than_they_need_to_be(size, enough, expected):
    smooth = np.add.outer(np.linspace(0, 120, size[1]), np.linspace(0, 120, size[0]))
    whole = Image.fromarray(np.stack([smooth, smooth / 2, 240 - smooth], -1).astype(np.uint8))
    found = decode(encoded(whole, "JPEG"), Limits(enough=enough))
    assert found.size == expected
    small = np.asarray(whole.resize(expected, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(found).astype(int) - small).max() <= 4
    assert decode(encoded(whole, "PNG"), Limits(enough=enough)).size == size


def test_a_model_sees_nearly_the_same_of_it():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    large = encoded(Image.fromarray(pixels).resize((2000, 1500), Image.Resampling.BICUBIC), "JPEG")
    seeing = Preprocessing(64, mean=(0.0,) * 3, std=(1.0,) * 3)
    seen = Bundle(network("cifar_resnet20"), {}, (), seeing).seen(large)
    assert decode(large, Limits(enough=146)).size == (250, 188)
    gap = np.abs(seen - seeing(decode(large)))  # of noise, which is the worst there is
    assert gap.max() < 0.1
    assert 0 < gap.mean() < 0.015
