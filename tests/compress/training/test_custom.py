"""Losses and steps of the user's own: which arguments they are given, and what is told before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.arguments import read_function
from edgekit.compress import TrainConfig, load_loss, load_step, try_training
from edgekit.compress.training.custom import takes_teacher
from edgekit.compress.training.loss import make_loss
from edgekit.errors import UserError
from tests.compress.nets import ArraySamples

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

X = np.random.default_rng(0).standard_normal((24, 6)).astype(np.float32)
Y = np.arange(24) % 4


class Criterion(nn.Module):
    def __init__(self, gamma: float = 2.0, smoothing: float = 0.1) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Any, labels: Any) -> Any:
        return self.gamma * F.cross_entropy(logits, labels)


def held(function: object, kind: str = "loss") -> str:
    spec = read_function(kind, function)  # type: ignore[arg-type]
    assert spec is not None
    return spec


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("function", "teacher"),
    [
        (lambda outputs, labels: outputs.sum(), False),
        (lambda outputs, labels, guide: outputs.sum(), True),
        (lambda outputs, labels, teacher_outputs=None: outputs.sum(), True),
        (lambda *arguments: arguments[0].sum(), True),
        (lambda outputs, labels, *, gamma=2.0: outputs.sum(), False),
        (Criterion(), False),
        (nn.CrossEntropyLoss(), False),
    ],
)
def test_the_teacher_is_given_where_it_is_asked_for(function: Callable[..., Any], teacher: bool) -> None:
    spec = held(function)
    assert takes_teacher(load_loss(spec), spec) == teacher


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Criterion, r"loss Criterion@\w+ is a class; allowed: a function; give an object, as Criterion\(\)"),
        (
            lambda outputs: outputs.sum(),
            r"takes \(outputs\); allowed: \(outputs, labels, teacher_outputs\) or",
        ),
        (
            F.cross_entropy,
            r"third parameter with a default, 'weight'.*lambda outputs, labels: cross_entropy\(",
        ),
        (lambda outputs, labels, gamma=2.0: outputs.sum(), r"third parameter with a default, 'gamma'"),
    ],
)
def test_a_loss_that_cannot_be_called_as_meant_is_refused(function: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_loss(held(function))


def test_a_step_takes_four() -> None:
    with pytest.raises(
        UserError, match=r"takes \(student, inputs\); allowed: \(student, inputs, labels, teacher\)"
    ):
        load_step(held(lambda student, inputs: None, "step"))


def test_a_criterion_stands_for_cross_entropy_and_the_teacher_stays() -> None:
    student, teacher = net().eval(), nn.Sequential(net(), nn.Linear(4, 4)).eval()
    inputs, labels = (torch.from_numpy(X),), torch.from_numpy(Y)
    own = make_loss(TrainConfig(alpha=0.3, loss=held(nn.CrossEntropyLoss())), teacher, Y)(
        student, inputs, labels
    )
    standard = make_loss(TrainConfig(alpha=0.3), teacher, Y)(student, inputs, labels)
    assert own.item() == pytest.approx(standard.item())
    alone = make_loss(TrainConfig(alpha=1.0, loss=held(Criterion(3.0))), teacher, Y)(student, inputs, labels)
    assert alone.item() == pytest.approx(3 * F.cross_entropy(student(*inputs), labels).item())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda o, y: F.nll_loss(o, y[:3]), r"<lambda>@\w+ of \(outputs, labels\) raised ValueError: "),
        (lambda o, y: o, r"gave a tensor of shape \(8, 4\); give one scalar tensor with a gradient"),
        (lambda o, y: 3.0, "gave float"),
        (lambda o, y: o.detach().sum(), "give one scalar tensor with a gradient"),
    ],
)
def test_what_would_end_each_training_is_told_before(function: Callable[..., Any], message: str) -> None:
    network = net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        try_training(network, ArraySamples(X, Y), TrainConfig(loss=held(function)))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_good_loss_goes_through_and_leaves_the_network_as_it_is() -> None:
    network = net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    try_training(network, ArraySamples(X, Y), TrainConfig(loss=held(Criterion())))
    try_training(network, ArraySamples(X, Y), TrainConfig(step=held(lambda s, x, y, t: s(*x).sum(), "step")))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
