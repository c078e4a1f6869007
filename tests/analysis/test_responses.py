import json
import xml.etree.ElementTree as ET

import pytest
import torch
from two_units import batches, hooks, net

from resnets.analysis.responses import picture, responses
from resnets.errors import UsageError
from resnets.spec import BASIC, BOTTLENECK, PRE_ACTIVATION, Unit


@torch.no_grad()
def by_hand(model):
    """The five responses of two basic units, each written out, of all images together."""
    x = torch.cat([batch.images for batch in batches()])
    found = [model.bn1(model.conv1(x))]
    x = found[0].relu()
    for unit in (model.layer1[0], model.layer2[0]):
        first = unit.bn1(unit.conv1(x))
        second = unit.bn2(unit.conv2(first.relu()))
        found += [first, second]
        x = (unit.downsample(x) + second).relu()
    return [float(values.std(correction=0)) for values in found]


def test_two_units_by_hand():
    model = net().train()
    found = responses(model, batches())
    assert model.training
    assert hooks(model) == 0
    assert found.deviations == pytest.approx(by_hand(model.eval()), rel=1e-5)
    assert [layer.layer for layer in found.layers][:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert found.images == 12
    assert found.ranked == sorted(found.deviations, reverse=True)
    assert found.mean == pytest.approx(sum(found.deviations) / 5)


def test_where_no_bn_follows_the_convolution_is_taken():
    model = net(Unit(BASIC, PRE_ACTIVATION), units=(1,), widths=(4,))
    found = responses(model, batches())
    with torch.no_grad():
        x = model.bn1(model.conv1(torch.cat([batch.images for batch in batches()]))).relu()
        unit = model.layer1[0]
        last = unit.conv2(unit.bn2(unit.conv1(x)).relu())
    assert [layer.after_bn for layer in found.layers] == [True, True, False]
    assert found.deviations[2] == pytest.approx(float(last.std(correction=0)), rel=1e-5)


def test_kernels():
    model = net(Unit(BOTTLENECK), widths=(8, 16), kernel=7)
    assert len(responses(model, batches()).layers) == 2
    assert len(responses(model, batches(), kernels=(1, 3)).layers) == 6
    with pytest.raises(UsageError, match="5"):
        responses(model, batches(), kernels=(5,))


def test_told_and_drawn():
    found = {"a": responses(net(), batches()), "b": responses(net(seed=1), batches())}
    assert "layer2.0.conv1" in "\n".join(found["a"].lines())
    json.dumps(found["a"].as_dict(), allow_nan=False)
    assert ET.fromstring(picture(found)).tag.endswith("svg")
    assert picture(found) == picture(found)
