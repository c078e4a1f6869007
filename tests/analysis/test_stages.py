import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
from two_units import batches, net, vgg

from resnets.analysis.complexity import complexity, parts, picture, stages
from resnets.errors import UsageError
from resnets.families import network
from resnets.spec import BASIC, PRE_ACTIVATION, Unit


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_preresnet110", "cifar_highway20", "vgg16_bn"])
def test_the_parts_add_up_to_the_whole(name):
    spec = network(name)
    spec = replace(spec, size=32, **({"hidden": 64} if name.startswith("vgg") else {}))
    found = stages(spec, images=1, rounds=1)
    assert found.whole == complexity(spec)
    assert found.seconds == pytest.approx(sum(part.seconds for part in found.parts))
    assert all(part.seconds > 0 for part in found.parts)


def test_by_hand():
    found = stages(network("cifar_resnet20"), images=2, rounds=1)
    assert [part.name for part in found.parts] == ["stem", "layer1", "layer2", "layer3", "head"]
    assert [part.output for part in found.parts] == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (10,)]
    counts = [part.counts.multiply_adds for part in found.parts]
    layer = 9 * 16 * 16 * 32 * 32  # the same in every stage: half the width, four times the places
    assert counts == [9 * 3 * 16 * 32 * 32, 6 * layer, layer // 2 + 5 * layer, layer // 2 + 5 * layer, 640]
    assert found.parts[4].counts.parameters == 650


@torch.no_grad()
@pytest.mark.parametrize("model", [net(), net(Unit(BASIC, PRE_ACTIVATION)), vgg()], ids=["residual", "pre", "vgg"])
def test_the_parts_in_a_row_are_the_network(model):
    x = images = batches()[0].images
    for part in parts(model).values():
        x = part(x)
    assert torch.equal(x, model(images))


def test_told_and_drawn():
    found = {name: stages(network(name), images=1, rounds=1) for name in ("cifar_resnet20", "cifar_plain20")}
    assert "16×32×32" in "\n".join(found["cifar_plain20"].lines())
    assert ET.fromstring(picture(found)).tag.endswith("svg")
    json.dumps(found["cifar_plain20"].as_dict(), allow_nan=False)
    with pytest.raises(UsageError, match="at least 1"):
        stages(network("cifar_resnet20"), images=0)
