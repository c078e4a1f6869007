"""The forms of an exported model, and a network of random weights written in one."""

import numpy as np
from random_bundles import bundle_of

from resnets.deploy import export
from resnets.deploy.compare import noise
from resnets.deploy.export import Wanted
from resnets.deploy.pictures import Pictures

NAMES = {"onnx": "model.onnx", "openvino": "model", "pt2": "model.pt2"}


def noisy(one, images=8):
    """Pictures without meaning for a bundle."""
    views = noise(one.preprocessing, images)
    colour = one.preprocessing.channels in (1, 3)
    originals = tuple(np.random.default_rng(i).integers(0, 256, (20 + i, 31, 3), np.uint8) for i in range(2 * colour))
    return Pictures("noise", views, None, views[:0], originals)


def written(form, tmp_path, **wanted):
    """The bundle exported, and where."""
    one, place = bundle_of(), tmp_path / NAMES[form]
    return one, place, export.export(one, Wanted(form, **wanted), place, noisy(one))
