"""What the papers state of identity shortcuts, checked in numbers on small networks (docs/theory.md)."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, product
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.datasets import open_dataset
from ..data.randomness import fold, order
from ..data.sources import Arrays
from ..families import cifar
from ..models import build, create_model, initialise
from ..models.deepen import deepen
from ..models.shortcuts import Gate
from ..models.unit import ResidualUnit
from ..spec import BASIC, BOTTLENECK, ORIGINAL, PRE_ACTIVATION, Network, Order, Stage, Stem, Unit

Batches = Iterable[tuple[Tensor, Tensor]]
Row = tuple[Any, ...]
Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[Any, Any], None]
_EQUAL = 1e-5  # relative difference of two functions that are the same
_WIDTH, _SIDE = 8, 8  # of the stacks of units
_RATES = (0.03, 0.1)
_KINDS = {"pre-activation": PRE_ACTIVATION, "ReLU after the addition": ORIGINAL}
_STACKS: dict[str, Literal["none", "add"]] = {"plain": "none", "residual": "add"}


@dataclass(frozen=True)
class Check:
    """A statement, where it stands, what was measured as a table, and whether that bears it out."""

    name: str
    says: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    holds: bool

    @property
    def markdown(self) -> str:
        """The table."""
        rows = (self.columns, ("---",) * len(self.columns), *self.rows)
        return "\n".join(f"| {' | '.join(_shown(cell) for cell in row)} |" for row in rows)


def _shown(cell: Any) -> str:
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def everything(quick: bool = False) -> list[Check]:
    """Every check; QUICK trains for half of the updates and with one seed. Torch's random state stays as it is."""
    updates, seeds = (60, 1) if quick else (120, 3)
    with torch.random.fork_rng(devices=[]):
        return [identity_path(), equivalences(), residual_is_easier(updates, seeds), construction(updates, seeds)]


# F(x) of a unit of two layers, written out: he2016 figures 4a and 4e.
_RESIDUALS: dict[Order, Callable[[Any, Tensor], Tensor]] = {
    ORIGINAL: lambda u, x: u.bn2(u.conv2(torch.relu(u.bn1(u.conv1(x))))),
    PRE_ACTIVATION: lambda u, x: u.conv2(torch.relu(u.bn2(u.conv1(torch.relu(u.bn1(x)))))),
}


def identity_path() -> Check:
    """The gradient of a stack is that at its top times Π λ, and that of the summed residuals (he2016 eq. 5 and 8)."""
    rows: list[Row] = []
    for name, kind in _KINDS.items():
        for scale, units in ((1.0, 6), (1.0, 54), (0.9, 6), (0.9, 54), (0.5, 6), (0.5, 54)):
            stack = _stack(Unit(BASIC, kind, merge="scale", scale=(scale, 1.0)), units, seed=0).double()
            x = torch.randn(4, _WIDTH, _SIDE, _SIDE, dtype=torch.float64, requires_grad=True)
            top = stack(x)
            (gradient,) = torch.autograd.grad(top.square().sum() / 2, x)
            direct = scale**units * top.detach()  # the gradient of this loss at the top is the output
            (residual,) = torch.autograd.grad(_summed(stack, kind, x, scale), x, top.detach())
            share = float(direct.norm() / gradient.norm())
            rows.append((name, units, scale, scale**units, share, difference(direct + residual, gradient)))
    return Check(
        "identity path",
        "with identity shortcuts and nothing after the addition, the gradient at x_L reaches x_l unchanged and that of "
        "the summed residuals is added to it; a factor λ on every shortcut scales it by λ^n",
        "he2016 equations 4, 5, 7, 8",
        ("unit", "units n", "λ", "λ^n", "direct part of the gradient", "difference from the equation"),
        tuple(rows),
        all((row[-1] < _EQUAL) == (row[0] == "pre-activation") for row in rows),
    )


def difference(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def _stack(unit: Unit, units: int, seed: int) -> nn.Sequential:
    torch.manual_seed(fold(seed, "init"))
    stack = nn.Sequential(*(ResidualUnit(unit, (_WIDTH, _WIDTH), 1, False, 0.0) for _ in range(units)))
    initialise(stack)
    return stack


def _summed(stack: nn.Sequential, kind: Order, x: Tensor, scale: float = 1.0) -> Tensor:
    """Σ F̂(x_i) along the way of x, F̂ = F times the factors of the shortcuts above it (he2016 equations 4 and 7)."""
    total = torch.zeros_like(x)
    for unit in stack:
        total = scale * total + _RESIDUALS[kind](unit, x)
        x = unit(x)
    return total


def _gates(bias: float) -> Change:
    """Every gate of the second network stays at σ(bias)."""

    def change(one: Any, two: Any) -> None:
        for gate in (m.gate for m in two.modules() if isinstance(m, Gate)):
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, bias)  # type: ignore[arg-type]

    return change


def _select(one: Any, two: Any) -> None:
    """The projections of the second network take the channels of the old ones to the middle of the new ones."""
    for unit in (stage[0] for stage in two.stages):
        if isinstance(unit.downsample, nn.Sequential):
            weight: Any = unit.downsample[0].weight
            new, old = weight.shape[:2]
            nn.init.zeros_(weight)
            weight[(new - old) // 2 : (new + old) // 2, :, 0, 0] = torch.eye(old)


def _lesion(one: Any, two: Any) -> None:
    """The last BN of a unit at 0 in the first network, in the second the unit's shortcut and ReLU in its place."""
    last = one.stages[0][1].last_bn
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    two.stages[0][1] = nn.ReLU()


_A, _NARROW = Unit(BASIC, shortcut="A"), Unit(BOTTLENECK)
# Two networks of the same weights: what is said, whether they are the same function, both units, and what is changed.
_PAIRS: tuple[tuple[str, bool, Unit, Unit, Change], ...] = (
    ("shortcuts scaled by 0: the plain net", True,
     replace(_A, merge="none"), replace(_A, merge="scale", scale=(0.0, 1.0)), lambda one, two: None),
    ("scaled by (0.5, 0.5): an exclusive gate that stays at 0.5", True,
     replace(_A, merge="scale", scale=(0.5, 0.5)), replace(_A, merge="gate"), _gates(0.0)),
    ("an exclusive gate that stays at 1: the plain net", True,
     replace(_A, merge="none"), replace(_A, merge="gate"), _gates(100.0)),
    ("a shortcut-only gate that stays at 0: the residual net", True,
     _A, replace(_A, merge="shortcut-gate"), _gates(-100.0)),
    ("dropout p on the shortcut, in testing: a factor of 1 − p", True,
     replace(_A, merge="dropout", dropout=0.3), replace(_A, merge="scale", scale=(0.7, 1.0)), lambda one, two: None),
    ("option A: a projection that is fixed at 0 and 1", True,
     _A, Unit(BASIC, shortcut="B", shortcut_bn=False), _select),
    ("a unit whose last BN is 0: its shortcut alone", True, _A, _A, _lesion),
    ("option A with zeros on both sides, or at the end", False, _A, replace(_A, option_a="end"), lambda one, two: None),
    ("a bottleneck with the stride in its first 1×1, or in its 3×3", False,
     _NARROW, replace(_NARROW, strided=1), lambda one, two: None),
)  # fmt: skip


def equivalences() -> Check:
    """Networks of the same weights that are the same function, and some that are not though every tensor fits."""
    rows = [(says, same, _compared(one, two, change)) for says, same, one, two, change in _PAIRS]
    for name, kind in _KINDS.items():
        stack = _stack(Unit(BASIC, kind), 6, seed=0).double()
        x = torch.rand(4, _WIDTH, _SIDE, _SIDE, dtype=torch.float64)
        with torch.no_grad():
            found = difference(x + _summed(stack, kind, x), stack(x))
            rows.append((f"{name}: x_L = x_l + Σ F(x_i)", kind == PRE_ACTIVATION, found))
    return Check(
        "equivalences",
        "some of the variants are others in disguise",
        "he2016 section 3.1, veit2016 section 3",
        ("with the same weights", "the same function", "difference"),
        tuple((says, "yes" if same else "no", found) for says, same, found in rows),
        all((found < _EQUAL) == same for _, same, found in rows),
    )


@torch.no_grad()
def _compared(first: Unit, second: Unit, change: Change) -> float:
    """The difference of two small networks with the same weights, after CHANGE, in eval mode."""
    torch.manual_seed(fold(0, "pairs"))
    spec = Network(Stem(3, 8), (Stage(2, 8, 1), Stage(2, 16, 2)), first, classes=5, size=12)
    one, two = build(spec), build(replace(spec, unit=second))
    for bn in (m for m in one.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low, high in ((bn.weight, 0.5, 1.5), (bn.bias, -0.5, 0.5), (bn.running_mean, -0.5, 0.5)):
            tensor.uniform_(low, high)  # type: ignore[union-attr]
    two.load_state_dict({**two.state_dict(), **one.state_dict()})
    change(one, two)
    images = torch.randn(4, 3, 12, 12)
    return difference(two.eval()(images), one.eval()(images))


def residual_is_easier(updates: int = 120, seeds: int = 3, units: int = 10) -> Check:
    """Stacks of units with and without shortcuts, from the same weights, learn to put out what they are given.

    Inputs are |x| of normal x, at variance 1: to answer their mean costs 1. Of two rates the better one is shown.
    """
    marks = [max(1, updates * part // 4) for part in range(5)]
    rows: list[Row] = []
    for kind, name, seed in product(_KINDS, _STACKS, range(seeds)):
        losses: dict[float, list[float]] = {}
        for rate in _RATES:
            stack = _stack(Unit(BASIC, _KINDS[kind], merge=_STACKS[name]), units, seed)
            losses[rate] = _descend(stack, _noise(), updates, F.mse_loss, rate)
        best = min(_RATES, key=lambda rate: losses[rate][-1] if losses[rate][-1] < math.inf else math.inf)
        rows.append((kind, name, seed, best, *(losses[best][mark - 1] for mark in marks)))
    ends = {key: [row[-1] for row in rows if row[:2] == key] for key in product(_KINDS, _STACKS)}
    return Check(
        "residual is easier",
        f"it is easier to drive residuals to 0 than to fit the identity by {2 * units} stacked layers",
        "he2015 section 3.1",
        ("unit", "stack", "seed", "rate", *(f"loss, update {mark}" for mark in marks)),
        tuple(rows),
        all(max(ends[kind, "residual"]) < min(ends[kind, "plain"]) for kind in _KINDS),
    )


def _noise() -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        x = torch.randn(32, _WIDTH, _SIDE, _SIDE).abs() / math.sqrt(1 - 2 / math.pi)
        yield x, x


def _descend(model: nn.Module, way: Batches, updates: int, loss: Loss, rate: float) -> list[float]:
    """The loss of every update of SGD with momentum, at a rate that falls along a line to 0."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    losses: list[float] = []
    model.train()
    for x, wanted in islice(way, updates):
        optimizer.param_groups[0]["lr"] = rate * (1 - len(losses) / updates)
        value = loss(model(x), wanted)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def construction(updates: int = 120, seeds: int = 3, more: int = 4) -> Check:
    """A trained 8-layer network on digits is deepened and trained on, beside one of that depth from scratch.

    The shallow one has a third of the UPDATES, then its deeper self the others; the one from scratch has all of them.
    Errors (percent) and losses (nats) are those of all training images.
    """
    images, labels = _digits()
    rows: list[Row] = []
    for name, merge in _STACKS.items():
        for seed in range(seeds):
            torch.manual_seed(fold(seed, "init"))
            spec = replace(cifar(8, Unit(BASIC, shortcut="A", merge=merge)), channels=1, size=8)
            shallow, way = create_model(spec), _drawn(images, labels, seed)
            _descend(shallow, way, updates // 3, F.cross_entropy, _RATES[0])
            deeper = deepen(shallow, more, images[:256])
            scratch = create_model(deeper.spec)
            found = [_figures(shallow, images, labels), _figures(deeper, images, labels)]
            _descend(deeper, way, updates - updates // 3, F.cross_entropy, _RATES[0])
            _descend(scratch, _drawn(images, labels, seed), updates, F.cross_entropy, _RATES[0])
            found += [_figures(deeper, images, labels), _figures(scratch, images, labels)]
            rows.append((name, seed, *(error for error, _ in found), *(loss for _, loss in found)))
    steps = ("8 layers", f"deepened to {8 + 6 * more}", "trained on", "as deep, from scratch")
    return Check(
        "construction",
        "a deeper network has a solution that is no worse than the shallower one's: its layers, and identities",
        "he2015 section 1",
        ("network", "seed", *(f"error: {step}" for step in steps), *(f"loss: {step}" for step in steps)),
        tuple(rows),
        all(row[2] == row[3] and abs(row[6] / row[7] - 1) < _EQUAL and row[8] < row[7] for row in rows),
    )


def _digits() -> tuple[Tensor, Tensor]:
    """The training part: images (N, 1, 8, 8) in 0..1, labels (N,)."""
    part = open_dataset("digits").train
    assert isinstance(part, Arrays)
    return torch.from_numpy(part.images).movedim(-1, 1).float() / 255, torch.from_numpy(part.labels)


def _drawn(images: Tensor, labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of 64, epoch after epoch, without end."""
    for epoch in count():
        for chosen in torch.from_numpy(order(seed, epoch, len(labels))).split(64):
            yield images[chosen], labels[chosen]


@torch.no_grad()
def _figures(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Error in percent and mean loss, in eval mode."""
    logits = model.eval()(images)
    wrong = int((logits.argmax(1) != labels).sum())
    return 100 * wrong / len(labels), F.cross_entropy(logits, labels).item()
