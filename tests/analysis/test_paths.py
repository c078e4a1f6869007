import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from two_units import OPTION_A, batches, net, outputs, vgg

from resnets.analysis.paths import carried, gradient, log_paths, norm, paths, picture, shares, shortest_range, spread
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
    assert [len(row.norms) for row in found.lengths] == [1, 8, 8, 1]
    assert found.lengths[1].norms[0] in apart
    assert not found.exact
    assert "approximation" in found.lines()[-1]
    assert paths(net(Unit(BASIC, PRE_ACTIVATION)), seen, draws=1).exact


def test_the_spread_by_hand():
    """Of two paths a resample has the mean 1, 2 or 3, once, twice and once in four: 95 % reach from 1 to 3."""
    assert spread([[2.0], [1.0, 3.0]]).means == ((2.0, 2.0), (1.0, 3.0))
    assert carried([1.0, 1.0, 2.0]) == pytest.approx([1 / 5, 2 / 5, 2 / 5])  # 1, 2 and 1 paths
    wide = spread([[1.0], [0.0, 1e9]])  # 0 for length 1 once in four: all is carried by length 0, else by length 1
    assert (wide.first, wide.last) == ((0, 1), (0, 1))
    sure = spread([[1.0], [1e9, 1e9, 1e9]])
    assert (sure.means[1], sure.first, sure.last) == ((1e9, 1e9), (1, 1), (1, 1))


def test_the_spread_of_a_mean_shrinks_with_the_paths():
    """Against the normal interval of the same mean: 1.96 deviations over the root of the count."""
    values = np.random.default_rng(0).exponential(size=400)
    for count in (25, 400):
        low, high = spread([[1.0], values[:count]]).means[1]
        normal = 2 * 1.96 * values[:count].std() / count**0.5
        assert high - low == pytest.approx(normal, rel=0.2)
        assert low < values[:count].mean() < high


def test_what_the_sampled_paths_leave_open_is_told():
    found = paths(net(units=(2, 2)), batches(), draws=4)
    assert [row.interval is None for row in found.lengths] == [True, False, False, False, True]
    assert all(row.interval[0] <= row.gradient <= row.interval[1] for row in found.lengths[1:4])
    assert found.first[0] <= found.effective[0] <= found.first[1]
    assert found.last[0] <= found.effective[1] <= found.last[1]
    told = found.as_dict()
    assert (told["effective_first"], told["effective_last"]) == (list(found.first), list(found.last))
    assert [told["lengths"][k]["low"] for k in (0, 1)] == [None, found.lengths[1].interval[0]]
    first, last = found.effective
    words = f"paths of {first} [{found.first[0]}, {found.first[1]}] to {last} [{found.last[0]}, {found.last[1]}] units"
    assert words in found.lines()[-2]
    assert found == paths(net(units=(2, 2)), batches(), draws=4)


def test_one_path_of_a_length_has_no_spread():
    for found in (paths(net(units=(2, 1)), batches(), draws=1), paths(net(units=(1,), widths=(4,)), batches())):
        assert {row.interval for row in found.lengths} == {None}
        assert (found.first, found.last) == (None, None)
        assert "[0" not in found.lines()[-2]
        assert found.as_dict()["effective_first"] is None


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


def test_drawn():
    found = {"a": paths(net(units=(2, 2)), batches(), draws=3), "b": paths(net(units=(2, 1)), batches(), draws=1)}
    assert ET.fromstring(picture(found)).tag.endswith("svg")
    json.dumps(found["a"].as_dict(), allow_nan=False)
