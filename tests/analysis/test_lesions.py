import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import nn
from two_units import OPTION_A, batches, net, outputs, vgg

from resnets.analysis.lesions import disordered, kendall, lesions, picture, pieces, removed, replaced
from resnets.analysis.sample import ErrorRate, error_rate
from resnets.spec import BASIC, PRE_ACTIVATION, Unit

PLAIN = Unit(BASIC, shortcut="A", merge="none")


def without(model, *names):
    chosen = [piece for piece in pieces(model) if piece.name in names]
    assert len(chosen) == len(names)
    with replaced(swap for piece in chosen for swap in piece.without):
        return outputs(model)


def test_nothing_removed_changes_nothing():
    model = net()
    before, names = outputs(model), list(model.state_dict())
    assert torch.equal(without(model), before)
    assert removed(model, [], batches()) == error_rate(model, batches())
    assert not torch.equal(without(model, "layer1.0"), before)
    lesions(model, batches(), draws=1)
    assert torch.equal(outputs(model), before)
    assert list(model.state_dict()) == names


def test_everything_is_put_back_after_an_error():
    model = net()
    before = outputs(model)
    with pytest.raises(ZeroDivisionError), replaced(pieces(model)[0].without):
        raise ZeroDivisionError
    assert torch.equal(outputs(model), before)


@torch.no_grad()
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_unit_leaves_its_shortcut(shortcut):
    model = net(Unit(BASIC, shortcut=shortcut))
    x = torch.cat([batch.images for batch in batches()])
    stem = model.bn1(model.conv1(x)).relu()
    assert torch.allclose(without(model, "layer1.0"), model.forward_head(model.layer2(stem)))
    first = model.layer1(stem)
    if shortcut == "A":
        small = torch.cat([torch.zeros_like(first[:, :2]), first, torch.zeros_like(first[:, :2])], 1)[:, :, ::2, ::2]
    else:
        small = model.layer2[0].downsample[1](model.layer2[0].downsample[0](first)).relu()
    assert torch.allclose(without(model, "layer2.0"), model.forward_head(small))


@pytest.mark.parametrize("merge", ["add", "gate", "shortcut-gate", "scale"])
@pytest.mark.parametrize("number", [1, 2])
def test_it_is_the_net_whose_last_bn_is_zero(merge, number):
    model = net(replace(OPTION_A, merge=merge))
    lesioned = without(model, f"layer{number}.0")
    with torch.no_grad():
        last = model.get_submodule(f"layer{number}.0.bn2")
        last.weight.zero_()
        last.bias.zero_()
    assert torch.equal(lesioned, outputs(model))


@torch.no_grad()
def test_a_plain_net_loses_the_layers_where_sizes_are_equal():
    model = net(PLAIN)
    first, second = pieces(model)
    assert (first.keeps_shape, second.keeps_shape, second.without) == (True, False, ())
    stem = model.bn1(model.conv1(torch.cat([batch.images for batch in batches()]))).relu()
    assert torch.allclose(without(model, "layer1.0"), model.forward_head(model.layer2(stem)))
    found = lesions(model, batches(), draws=1)
    assert found.single[1].error is None
    assert "cannot be removed" in "\n".join(found.lines())
    assert [row.units for row in found.several] == [1]


@torch.no_grad()
@pytest.mark.parametrize("bn", [False, True])
def test_a_vgg_loses_a_convolution_with_its_bn_and_relu(bn):
    model = vgg(bn=bn)
    assert [(piece.keeps_shape, bool(piece.without)) for piece in pieces(model)] == [
        (False, False), (True, True), (False, False)
    ]  # fmt: skip
    x = torch.cat([batch.images for batch in batches()])
    layers = list(model.features)
    step = 3 if bn else 2
    kept = nn.Sequential(*layers[:step], *layers[2 * step :])
    assert torch.allclose(without(model, f"features.{step}"), model.forward_head(kept(x)), atol=1e-6)
    assert lesions(model, batches(), draws=1).shuffled == ()


def test_errors_are_counted():
    model = net()
    labels = torch.cat([batch.labels for batch in batches()])
    wrong = int((without(model, "layer1.0").argmax(1) != labels).sum())
    assert lesions(model, batches(), draws=1).single[0].error == ErrorRate(wrong, 12)


def test_wilson_interval_by_hand():
    # 10 of 100: (0.1 + z²/200 ± z √(0.1 · 0.9 / 100 + z²/40000)) / (1 + z²/100), z = 1.959964
    assert ErrorRate(10, 100).interval == pytest.approx((5.5229, 17.4366), abs=1e-3)
    assert ErrorRate(0, 50).interval == pytest.approx((0, 7.1348), abs=1e-3)
    assert ErrorRate(50, 50).interval == pytest.approx((92.8652, 100), abs=1e-3)


def test_kendall_by_hand():
    one = [1] * 4
    assert kendall([0, 1, 2, 3], one) == 1
    assert kendall([3, 2, 1, 0], one) == -1
    assert kendall([1, 0, 2, 3], one) == pytest.approx(4 / 6)
    assert kendall([1, 0, 2, 3], [1, 1, 2, 2]) == 0  # two pairs that can change, one of them did
    assert kendall([1, 0, 3, 2], [1, 1, 2, 2]) == -1
    order = np.random.default_rng(0).permutation(9).tolist()
    assert kendall(order, [1] * 9) == pytest.approx(kendalltau(range(9), order)[0])


@pytest.mark.parametrize("stages", [[1] * 5, [1, 1, 1, 2, 2, 2, 3]])
def test_disorder_has_as_many_inversions_as_asked(stages):
    pairs = sum(a == b for i, a in enumerate(stages) for b in stages[:i])
    for inversions in range(pairs + 1):
        for seed in range(5):
            order = disordered(stages, inversions, np.random.default_rng(seed))
            assert kendall(order, stages) == pytest.approx(1 - 2 * inversions / pairs)
            assert [stages[i] for i in order] == stages
    assert len({tuple(disordered(stages, 2, np.random.default_rng(seed))) for seed in range(20)}) > 1


def test_shuffling_moves_no_unit_that_changes_the_size():
    loose = [piece.name for piece in pieces(net(units=(3, 3))) if piece.movable]
    assert loose == ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2"]
    activated = net(Unit(BASIC, PRE_ACTIVATION, shortcut="A"), units=(3, 3))
    assert "layer1.0" not in [piece.name for piece in pieces(activated) if piece.movable]  # its BN is in the stem


@torch.no_grad()
def test_the_reversed_order_by_hand():
    model = net(units=(2, 1))
    found = lesions(model, batches(), draws=1)
    assert [row.tau for row in found.shuffled] == [1, -1]
    assert found.shuffled[0].errors == (found.whole,)
    x = model.bn1(model.conv1(torch.cat([batch.images for batch in batches()]))).relu()
    answers = model.forward_head(model.layer2(model.layer1[0](model.layer1[1](x)))).argmax(1)
    labels = torch.cat([batch.labels for batch in batches()])
    assert found.shuffled[1].errors == (ErrorRate(int((answers != labels).sum()), 12),)


def test_several_units_told_and_drawn():
    found = lesions(net(units=(2, 2)), batches(), draws=2)
    assert [row.units for row in found.several] == [1, 2, 3, 4]
    assert all(len(row.errors) == 2 and row.span[0] <= row.mean <= row.span[1] for row in found.several)
    everything = {row.errors for row in found.several[-1:]}
    assert len({errors[0] for errors in everything} | {errors[1] for errors in everything}) == 1
    assert found == lesions(net(units=(2, 2)), batches(), draws=2)
    json.dumps(found.as_dict(), allow_nan=False)
    some = lesions(net(units=(2, 2)), batches(), draws=2, kinds=("shuffled",))
    assert some == replace(found, single=(), several=())
    assert ET.fromstring(picture({"some": some})).tag.endswith("svg")
    svg = picture({"a": found, "plain": lesions(net(PLAIN), batches(), draws=1)})
    assert ET.fromstring(svg).tag.endswith("svg")
