"""Rates by hand, and the optimizer's arithmetic."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnets.families import network
from resnets.recipe import Training
from resnets.recipes import recipe
from resnets.training.optimizer import Average, named_state, optimizer, restore_state, set_rate
from resnets.training.schedule import Schedule


def rates(training, total, updates):
    schedule = Schedule(training, total)
    return [schedule.rate(update) for update in updates]


def test_steps_of_the_paper():
    """he2015 section 4.2: 0.1, divided by 10 at 32k and 48k."""
    training = recipe("cifar-2015", network("cifar_resnet20"), "cifar10").training
    found = rates(training, 64_000, [0, 31_999, 32_000, 47_999, 48_000, 63_999])
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


def test_one_cycle():
    training = Training(lr=0.4, schedule="one-cycle")
    found = rates(training, 200, range(200))
    assert found[0] == pytest.approx(0.4 / 30)
    assert found[29] == found[30] == max(found) == 0.4  # 15 % of the run
    assert found[14] == pytest.approx(0.2)
    assert found[115] == pytest.approx(0.2)
    assert found[199] == pytest.approx(0.4 / 170)
    assert sorted(found[:30]) == found[:30]
    assert sorted(found[30:], reverse=True) == found[30:]
    assert Schedule(training, 200).rate(200) == 0
    assert rates(replace(training, warmup_updates=2), 10, range(3)) == pytest.approx([0.2, 0.4, 0.4])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["steps", "one-cycle", "cosine", "plateau", "constant"]),
    st.integers(1, 300),
    st.integers(0, 400),
    st.sampled_from(["none", "until-error", "updates"]),
)
def test_every_rate_is_positive_and_no_larger_than_lr(kind, total, warmup_updates, warmup):
    training = Training(schedule=kind, warmup=warmup, warmup_updates=warmup_updates, milestones=(10, 20))
    assert all(0 < rate <= 0.1 for rate in rates(training, total, range(total)))


def test_cosine_and_constant():
    found = rates(Training(schedule="cosine", lr=2.0), 100, [0, 25, 50, 75, 99])
    assert found == pytest.approx([2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 1 + math.cos(0.99 * math.pi)])
    assert rates(Training(schedule="constant", lr=0.3), 9, [0, 8]) == [0.3, 0.3]


def test_plateau():
    schedule = Schedule(Training(schedule="plateau", patience=2), 100)
    found = []
    for error in [50, 40, 40, 41, 39, 39, 39, 39, 39, 38, 99, math.nan]:
        schedule.observe_epoch(error)
        found.append(schedule.drops)
    assert found == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4]
    assert schedule.rate(0) == pytest.approx(1e-5)
    steady = Schedule(Training(schedule="constant"), 100)
    for _ in range(20):
        steady.observe_epoch(50)
    assert (steady.drops, steady.rate(5)) == (0, 0.1)


def test_warm_up_by_updates():
    training = Training(schedule="steps", milestones=(3, 6), warmup="updates", warmup_updates=4, warmup_lr=0.02)
    assert rates(training, 9, range(9)) == pytest.approx([0.02] * 4 + [0.01] * 2 + [0.001] * 3)


@pytest.mark.parametrize(("mistakes", "warm"), [(80, False), (79, True), (0, True), (100, False)])
def test_warm_up_ends_below_eighty_per_cent(mistakes, warm):
    schedule = Schedule(Training(schedule="constant", warmup="until-error"), 1000)
    for update in range(100):
        assert schedule.rate(update) == 0.01
        schedule.observe(mistakes, 100)
    assert schedule.rate(100) == (0.1 if warm else 0.01)
    if not warm:  # the next hundred are judged by themselves
        for update in range(100, 200):
            assert schedule.rate(update) == 0.01
            schedule.observe(79, 100)
    for _ in range(300):  # and what was reached is kept
        schedule.observe(100, 100)
    assert schedule.rate(999) == 0.1


def test_warm_up_weighs_batches_by_their_images():
    schedule = Schedule(Training(warmup="until-error"), 1000)
    for _ in range(99):
        schedule.observe(79, 100)
    schedule.observe(1000, 1000)
    assert not schedule.warm


@pytest.mark.parametrize("at", [0, 1, 57, 99, 100, 250])
def test_a_restored_schedule_goes_on(at):
    training = Training(schedule="plateau", patience=2, warmup="until-error", warmup_lr=0.02)
    errors = [50.0, 60.0, 61.0, 62.0, 63.0, 64.0]

    def play(schedule, start, stop):
        found = []
        for update in range(start, stop):
            found.append(schedule.rate(update))
            schedule.observe(90 - update // 10, 100)
            if update % 50 == 49:
                schedule.observe_epoch(errors[update // 50])
        return found

    unbroken, first, second = (Schedule(training, 300) for _ in range(3))
    expected = play(unbroken, 0, 300)
    start = play(first, 0, at)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second == first
    assert start + play(second, at, 300) == expected
    assert sorted(set(expected)) == pytest.approx([0.001, 0.01, 0.02])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.bn = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 3)
        self.fc2 = nn.Linear(3, 3)  # not the classifier, though its name begins like it

    def forward(self, images):
        return self.fc2(self.fc(self.bn(self.conv(images)).mean((2, 3))))


def settings_of(training):
    model = Net()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizer(model, "fc", training).param_groups
    found = {names[id(p)]: (g["weight_decay"], g["scale"]) for g in groups for p in g["params"]}
    assert len(found) == len(names) == sum(len(g["params"]) for g in groups)
    assert all((g["momentum"], g["nesterov"]) == (training.momentum, training.nesterov) for g in groups)
    return found


def test_groups():
    names = [name for name, _ in Net().named_parameters()]
    assert settings_of(Training()) == dict.fromkeys(names, (1e-4, 1.0))
    weights = {"conv.weight", "fc.weight", "fc2.weight"}
    found = settings_of(Training(decay="no-norm-bias", body_lr=0.1, weight_decay=0.5, nesterov=True, momentum=0.8))
    assert found == {n: (0.5 * (n in weights), 1.0 if n in ("fc.weight", "fc.bias") else 0.1) for n in names}


def steps(model, optim, count, rate=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        model(torch.randn(8, 1, 2, 2, generator=generator)).square().mean().backward()
        set_rate(optim, rate)
        optim.step()
        optim.zero_grad()


@pytest.mark.parametrize("body_lr", [1.0, 0.1])
def test_momentum_is_pytorchs_form(body_lr):
    """Correctness point 26: v = m v + g, w = w − lr v, with g = gradient + decay · w, also where the rate drops."""
    torch.manual_seed(0)
    model = Net().double()
    training = Training(momentum=0.9, weight_decay=0.01, body_lr=body_lr)
    optim = optimizer(model, "fc", training)
    mine = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    velocity = {name: torch.zeros_like(w) for name, w in mine.items()}
    for rate in (0.1, 0.1, 0.01, 0.01, 0.5):
        model(torch.randn(8, 1, 2, 2, dtype=torch.float64)).square().mean().backward()
        for name, parameter in model.named_parameters():
            velocity[name] = 0.9 * velocity[name] + parameter.grad + 0.01 * mine[name]
            mine[name] = mine[name] - rate * (1.0 if name.startswith("fc.") else body_lr) * velocity[name]
        set_rate(optim, rate)
        optim.step()
        optim.zero_grad()
        for name, parameter in model.named_parameters():
            assert torch.allclose(parameter, mine[name], rtol=1e-12, atol=1e-15), name


def test_a_restored_optimizer_goes_on():
    torch.manual_seed(0)
    one, two = Net(), Net()
    training = Training(body_lr=0.5)
    first, second = optimizer(one, "fc", training), optimizer(two, "fc", training)
    steps(one, first, 3)
    kept = {name: tensor.clone() for name, tensor in named_state(first, one).items()}
    assert set(kept) == {f"{name}:momentum_buffer" for name, _ in one.named_parameters()}
    two.load_state_dict(one.state_dict())
    restore_state(second, two, kept)
    for model, optim in ((one, first), (two, second)):
        steps(model, optim, 3, rate=0.02, seed=9)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.mark.parametrize("decay", [0.998, 0.3])
def test_average(decay):
    torch.manual_seed(0)
    model = Net()
    optim, average = optimizer(model, "fc", Training()), Average(model, decay)
    mine = {name: tensor.clone().double() for name, tensor in model.state_dict().items()}
    for n in range(12):
        steps(model, optim, 1, seed=n)
        average.update(model)
        keep = min(decay, (1 + n) / (10 + n))
        for name, tensor in model.state_dict().items():
            whole = not tensor.is_floating_point()
            mine[name] = tensor.double() if whole else keep * mine[name] + (1 - keep) * tensor.double()
    for name, tensor in average.tensors.items():
        assert torch.allclose(tensor.double(), mine[name], rtol=1e-5, atol=1e-7), name
    assert average.tensors["bn.num_batches_tracked"] == 12
    assert not torch.equal(average.tensors["bn.running_mean"], model.bn.running_mean)


def test_milestones_in_epochs_and_in_updates():
    training = Training(schedule="steps", milestones=(5,), milestone_epochs=(1, 2))
    schedule = Schedule(training, 12, per_epoch=4)
    found = [schedule.rate(update) for update in range(12)]
    assert found == pytest.approx([0.1] * 4 + [0.01] + [0.001] * 3 + [0.0001] * 4)
    training = recipe("imagenet-2016", network("resnet50_v1"), "imagenet").training
    schedule = Schedule(training, 90 * 5005, 5005)
    edges = [schedule.rate(epoch * 5005 + step) for epoch in (30, 60) for step in (-1, 0)]
    assert edges == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert "per_epoch" not in schedule.state()


@pytest.mark.parametrize("body_lr", [1.0, 0.1])
@pytest.mark.parametrize("broken_off", [None, 2, 3, 4])
def test_momentum_in_caffes_form(body_lr, broken_off):
    """Correctness point 26: v = m v + lr g, w = w − v; a run that is resumed at a drop of the rate goes on with it."""
    torch.manual_seed(0)
    model = Net().double()
    training = Training(momentum=0.9, weight_decay=0.01, body_lr=body_lr, momentum_form="caffe")
    optim, before = optimizer(model, "fc", training), 0.0
    mine = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    velocity = {name: torch.zeros_like(w) for name, w in mine.items()}
    for update, rate in enumerate((0.1, 0.1, 0.01, 0.01, 0.5)):
        if update == broken_off:
            kept = {name: tensor.clone() for name, tensor in named_state(optim, model).items()}
            optim = optimizer(model, "fc", training)
            restore_state(optim, model, kept)
        model(torch.randn(8, 1, 2, 2, dtype=torch.float64)).square().mean().backward()
        for name, parameter in model.named_parameters():
            scaled = rate * (1.0 if name.startswith("fc.") else body_lr)
            velocity[name] = 0.9 * velocity[name] + scaled * (parameter.grad + 0.01 * mine[name])
            mine[name] = mine[name] - velocity[name]
        set_rate(optim, rate, before)
        optim.step()
        optim.zero_grad()
        before = rate
        for name, parameter in model.named_parameters():
            assert torch.allclose(parameter, mine[name], rtol=1e-12, atol=1e-15), name
