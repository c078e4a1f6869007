"""The range test on curves whose answer is known."""

import math
import xml.etree.ElementTree as ET

import pytest

from resnets.analysis.lr import picture, rates, smoothed, suggest


def valley(tried, lowest):
    """Losses flat, then falling to a minimum at LOWEST, then rising steeply."""
    return [2 - 1.5 * math.exp(-((math.log10(rate / lowest)) ** 2)) + max(0.0, rate / lowest - 1) for rate in tried]


def test_rates_are_geometric():
    assert rates(1e-3, 10, 5) == pytest.approx([0.001, 0.01, 0.1, 1, 10])
    assert rates(0.1, 10, 1) == [0.1]
    found = rates(1e-4, 10, 100)
    assert (len(found), found[0], found[-1]) == (100, 1e-4, pytest.approx(10))


def test_smoothing_by_hand():
    assert smoothed([2.0, 4.0, 4.0]) == pytest.approx(
        [2, (0.9 * 0.2 + 0.4) / 0.19, (0.81 * 0.2 + 0.9 * 0.4 + 0.4) / 0.271]
    )
    assert smoothed([3.0] * 20) == pytest.approx([3.0] * 20)
    assert smoothed([]) == []


@pytest.mark.parametrize("lowest", [0.01, 0.3])
def test_a_valley(lowest):
    tried = rates(1e-5, 10, 2000)  # so finely that smoothing hardly moves anything
    found = suggest(tried, valley(tried, lowest))
    assert found.minimum == pytest.approx(lowest, rel=0.1)
    assert found.suggested == found.minimum / 10
    # of 1 − exp(−x²) the slope is steepest at x = −1/√2 decades
    assert found.steepest == pytest.approx(lowest * 10 ** -math.sqrt(0.5), rel=0.1)
    assert found.suggested < found.steepest < found.minimum


def test_scale_and_offset_of_the_loss_do_not_matter():
    tried = rates(1e-4, 10, 100)
    losses = valley(tried, 0.1)
    assert suggest(tried, [5 + 3 * loss for loss in losses]) == suggest(tried, losses)


def test_what_diverges_is_not_suggested():
    tried = rates(1e-3, 10, 50)
    losses = [*valley(tried[:40], 0.5), *[math.nan, math.inf] * 5]
    assert suggest(tried, losses) == suggest(tried[:40], losses[:40])
    rising = suggest(tried, [1.0 + i for i in range(50)])
    assert rising.minimum == rising.steepest == tried[0]
    assert suggest([0.1, 0.2], [1.0, 0.5]).minimum == 0.2


def test_the_picture_is_the_same_every_time():
    tried = rates(1e-3, 10, 20)
    losses = valley(tried, 0.5)
    svg = picture(tried, losses, suggest(tried, losses))
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg == picture(tried, losses, suggest(tried, losses))
