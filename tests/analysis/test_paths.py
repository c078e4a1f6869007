import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import product

import pytest
import torch
from two_units import OPTION_A, batches, net, outputs, vgg

from resnets.analysis.lesions import Bypassed
from resnets.analysis.paths import gradient, log_paths, norm, only, paths, picture, shares, shortest_range
from resnets.errors import UsageError
from resnets.spec import BASIC, BOTTLENECK, ORIGINAL, PRE_ACTIVATION, Unit


def doubled(sizes=(7,)):
    return [replace(batch, images=batch.images.double()) for batch in batches(sizes)]


def test_three_units_counted_one_by_one():
    lengths = [sum(path) for path in product((0, 1), repeat=3)]
    assert [math.exp(value) for value in log_paths(3)] == pytest.approx([lengths.count(k) for k in range(4)])


def test_hundreds_of_units():
    assert [math.exp(value) for value in log_paths(54)][27] == pytest.approx(math.comb(54, 27))
    parts = shares(log_paths(54))
    assert 100 * sum(parts[19:36]) == pytest.approx(98.0166, abs=1e-4)
    assert 100 * sum(parts[5:18]) == pytest.approx(0.453667, abs=1e-6)
    many = shares(log_paths(1200))
    assert sum(many) == pytest.approx(1)
    assert log_paths(1200)[600] / math.log(10) == pytest.approx(math.log10(math.comb(1200, 600)))


def test_the_shortest_range_by_hand():
    assert shortest_range([0.5, 0.3, 0.1, 0.05, 0.05], 0.8) == (0, 1)
    assert shortest_range([0.1, 0.1, 0.4, 0.3, 0.1], 0.7) == (2, 3)
    assert shortest_range([1.0, 0.0], 0.95) == (0, 0)
    assert shortest_range([1.0, 1.0], 0.95) == (0, 1)
    assert shares([-math.inf, -math.inf]) == [0, 0]


@pytest.mark.parametrize("order", [PRE_ACTIVATION, ORIGINAL])
@pytest.mark.parametrize(("convs", "widths"), [(BASIC, (4, 8)), (BOTTLENECK, (32, 64))])
@pytest.mark.parametrize("merge", ["add", "gate", "shortcut-gate", "scale"])
def test_the_paths_sum_to_the_whole_gradient(order, convs, widths, merge):
    model = net(Unit(convs, order, shortcut="A" if convs is BASIC else "B", merge=merge), (2, 1), widths).double()
    (batch,) = doubled()
    every = [gradient(model, batch, path) for path in product((False, True), repeat=3)]
    assert torch.allclose(torch.stack(every).sum(0), gradient(model, batch), rtol=1e-9, atol=1e-12)
    assert len({float(path.norm()) for path in every}) == 8


def test_a_path_by_hand():
    """Of a net of one unit: through the residual branch the shortcut is a constant, and the other way round."""
    model = net(units=(1,), widths=(4,))
    (batch,) = batches((7,))
    unit = model.layer1[0]
    for residual in (False, True):
        x = batch.images.clone().requires_grad_()
        stem = model.bn1(model.conv1(x)).relu()
        branch = unit.bn2(unit.conv2(unit.bn1(unit.conv1(stem)).relu()))
        summed = stem.detach() + branch if residual else stem + branch.detach()
        loss = torch.nn.functional.cross_entropy(model.forward_head(summed.relu()), batch.labels, reduction="sum")
        loss.backward()
        assert torch.allclose(gradient(model, batch, [residual]), x.grad, atol=1e-7)


def test_what_is_measured():
    model, seen = net(units=(2, 1)), batches()
    before = outputs(model)
    found = paths(model, seen, draws=8)
    assert torch.equal(outputs(model), before)
    assert (found.units, found.images, found.draws) == (3, 12, 8)
    one, two = (gradient(model, batch).flatten(1).norm(dim=1).sum() for batch in seen)
    assert found.whole == pytest.approx(float(one + two) / 12, rel=1e-5)
    assert found.lengths[0].gradient == pytest.approx(norm(model, seen, [False] * 3))
    assert found.lengths[3].gradient == pytest.approx(norm(model, seen, [True] * 3))
    apart = [norm(model, seen, [i == k for i in range(3)]) for k in range(3)]
    assert min(apart) <= found.lengths[1].gradient <= max(apart)
    weights = [math.comb(3, row.length) * row.gradient for row in found.lengths]
    assert [row.carried for row in found.lengths] == pytest.approx([weight / sum(weights) for weight in weights])
    assert not found.exact
    assert "approximation" in found.lines()[-1]
    assert paths(net(Unit(BASIC, PRE_ACTIVATION)), seen, draws=1).exact


def test_a_net_that_answers_the_same_to_everything():
    model = net()
    with torch.no_grad():
        model.fc.weight.zero_()
    found = paths(model, batches(), draws=1)
    assert [row.carried for row in found.lengths] == [0, 0, 0]
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_path_is_no_analysis():
    for model in (net(replace(OPTION_A, merge="none")), vgg()):
        with pytest.raises(UsageError, match="one path"):
            paths(model, batches())


def test_some_units_active():
    model = net(units=(3, 3))
    before = outputs(model)

    def bypassed():
        return [isinstance(unit, Bypassed) for stage in model.stages for unit in stage]

    seen = set()
    for update in range(20):
        with only(model, 4, (0, update)):
            seen.add(tuple(bypassed()))
            assert sum(bypassed()) == 2
        with only(model, 4, (0, update)):
            assert tuple(bypassed()) in seen
    assert len(seen) > 5
    with pytest.raises(ZeroDivisionError), only(model, 0, (0,)):
        raise ZeroDivisionError
    assert torch.equal(outputs(model), before)
    with only(model, 6, (0,)):
        assert torch.equal(outputs(model), before)
    with pytest.raises(UsageError, match="6 units"), only(model, 7, (0,)):
        raise AssertionError


def test_training_with_some_units_moves_only_those():
    model = net(units=(2, 2)).train()
    (batch,) = batches((7,))
    with only(model, 1, (0, 0)):
        torch.nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
    moved = [unit.conv1.weight.grad is not None for stage in model.stages for unit in stage]
    assert sum(moved) == 1


def test_drawn():
    found = {"a": paths(net(), batches(), draws=1), "b": paths(net(units=(2, 1)), batches(), draws=1)}
    assert ET.fromstring(picture(found)).tag.endswith("svg")
    json.dumps(found["a"].as_dict(), allow_nan=False)
