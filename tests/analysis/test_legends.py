"""Pictures of few and of many networks."""

import pytest

from resnets.analysis.pictures import legend, panels, svg


@pytest.mark.parametrize(("count", "times"), [(1, 0), (2, 2), (6, 2), (7, 1), (60, 1)])
def test_names_stand_in_each_panel_or_of_many_networks_once_beside_them(count, times):
    """Sixty names in a panel left no room for the lines."""
    names = {f"cifar_resnet{number} on cifar10, 3,128 updates (0123456789)": number for number in range(count)}
    figure, (left, right) = panels(1, 2, (4.2, 3.2))
    for name, number in names.items():
        left.plot([0, 1], [0, number], label=name)
        right.plot([0, 1], [number, 0], label=name)
    legend(left, names)
    legend(right, names)
    drawn = svg(figure)
    assert [drawn.count(f"<!-- {name} -->") for name in names] == [times] * count
    assert len(figure.legends) == int(count > 6)
    assert min(axes.get_window_extent().width for axes in (left, right)) > 300
