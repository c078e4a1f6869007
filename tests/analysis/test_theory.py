import pytest
import torch
from torch import nn

from resnets.analysis import theory
from resnets.models.unit import ResidualUnit
from resnets.spec import BASIC, ORIGINAL, PRE_ACTIVATION, Unit

torch.set_num_threads(1)  # the tensors are small


def test_the_gradient_is_that_of_equations_5_and_8():
    check = theory.identity_path()
    assert check.holds
    for unit, units, scale, factor, share, difference in check.rows:
        assert factor == pytest.approx(scale**units)
        assert share > 0
        assert difference < 1e-10 if unit == "pre-activation" else difference > 0.01


def test_without_residuals_the_factor_alone_is_the_gradient():
    """Equation 8 by hand: with F = 0, λ = 0.5 and three units the gradient is an eighth."""
    stack = theory._stack(Unit(BASIC, PRE_ACTIVATION, merge="scale", scale=(0.5, 1.0)), 3, seed=0)
    for unit in stack:
        nn.init.zeros_(unit.conv2.weight)
    x = torch.randn(2, 8, 8, 8, requires_grad=True)
    stack(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.125), rtol=0, atol=0)
    assert theory._summed(stack, PRE_ACTIVATION, x, 0.5).abs().max() == 0


@pytest.mark.parametrize("kind", [ORIGINAL, PRE_ACTIVATION])
def test_residuals_written_out_are_those_of_the_unit(kind):
    torch.manual_seed(0)
    unit = ResidualUnit(Unit(BASIC, kind, merge="none"), (8, 8), 1, False, 0.0).eval()
    x = torch.randn(2, 8, 5, 5)
    written = theory._RESIDUALS[kind](unit, x)
    torch.testing.assert_close(torch.relu(written) if kind == ORIGINAL else written, unit(x))


def test_equivalences_hold_and_the_others_do_not():
    check = theory.equivalences()
    assert check.holds
    found = {row[0]: row[1:] for row in check.rows}
    assert len(found) == 11
    assert found["option A with zeros on both sides, or at the end"][1] > 0.1
    assert found["ReLU after the addition: x_L = x_l + Σ F(x_i)"] == ("no", pytest.approx(0.5, abs=0.5))


def test_a_network_compared_with_itself_is_the_same():
    unit = Unit(BASIC, shortcut="A")
    assert theory._compared(unit, unit, lambda one, two: None) == 0
    assert theory._compared(unit, unit, theory._select) == 0  # nothing to select

    def changed(one, two):
        two.fc.weight.mul_(1.001)

    assert theory._compared(unit, unit, changed) > theory._EQUAL


def test_a_residual_stack_learns_the_identity_sooner():
    check = theory.residual_is_easier(updates=30, seeds=1, units=4)
    assert check.holds
    assert [row[:3] for row in check.rows] == [
        (kind, stack, 0) for kind in ("pre-activation", "ReLU after the addition") for stack in ("plain", "residual")
    ]
    assert check.columns[4:] == tuple(f"loss, update {n}" for n in (1, 7, 15, 22, 30))
    for row in check.rows:
        assert row[-1] > 0.8 if row[1] == "plain" else row[-1] < 0.8
    again = [theory.residual_is_easier(updates=2, seeds=1, units=1) for _ in range(2)]
    assert again[0] == again[1]


def test_the_constructed_solution_is_as_good_and_trains_on():
    check = theory.construction(updates=30, seeds=1, more=1)
    assert check.holds
    assert check.columns[2:6] == (
        "error: 8 layers", "error: deepened to 14", "error: trained on", "error: as deep, from scratch",
    )  # fmt: skip
    for row in check.rows:
        assert row[2] == row[3] > row[4]
        assert row[6] == pytest.approx(row[7], rel=1e-5)


def test_a_check_is_a_table_in_markdown():
    check = theory.Check("n", "s", "p", ("a", "b"), (("x", 0.123456), ("y", 3)), True)
    assert check.markdown == "| a | b |\n| --- | --- |\n| x | 0.123 |\n| y | 3 |"


@pytest.mark.slow
def test_everything_holds_and_leaves_the_random_state():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    checks = theory.everything(quick=True)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert [check.name for check in checks] == [
        "identity path", "equivalences", "residual is easier", "construction",
    ]  # fmt: skip
    assert all(check.holds for check in checks)
