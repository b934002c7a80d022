"""Batch norms re-estimated."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import TrainConfig, finetune, reestimate_norms
from edgekit.compress.norms import NormPace
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]


class Normed(nn.Module):
    """A norm that is called, one that is not, one without statistics, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.idle = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.plain = nn.BatchNorm2d(3, track_running_stats=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(x)) + self.plain(x)


def test_statistics_are_the_averages_over_the_batches() -> None:
    torch.manual_seed(0)
    network = Normed().train()
    before = copy.deepcopy(network.state_dict())
    batches = [(torch.randn(4, 3, 5, 5) * 3 + 2,) for _ in range(3)]
    reestimate_norms(network, batches)
    means = torch.stack([x.mean((0, 2, 3)) for (x,) in batches]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for (x,) in batches]).mean(0)
    norm = network.norm
    assert torch.allclose(norm.get_buffer("running_mean"), means, atol=1e-5)
    assert torch.allclose(norm.get_buffer("running_var"), variances, atol=1e-4)
    assert torch.equal(norm.weight, before["norm.weight"])
    assert norm.momentum == 0.1
    assert not any(layer.training for layer in network.modules())


def test_a_norm_that_no_batch_reaches_stays_as_it_was() -> None:
    network = Normed()
    network.idle.get_buffer("running_mean").fill_(7.0)
    network.idle.get_buffer("num_batches_tracked").fill_(5)
    before = copy.deepcopy(network.idle.state_dict())
    reestimate_norms(network, [(torch.randn(4, 3, 5, 5),)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.idle.state_dict().items())


def test_nothing_random_is_drawn() -> None:
    first, second = Normed(), Normed()
    batches = [(torch.randn(4, 3, 5, 5),) for _ in range(2)]
    reestimate_norms(first, batches)
    reestimate_norms(second, batches)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@given(steps=st.integers(2, 2000))
@settings(max_examples=50, deadline=None)
def test_little_of_the_statistics_of_before_is_left_however_short_the_training(steps: int) -> None:
    norm, left = nn.BatchNorm2d(3, momentum=0.001), 1.0
    pace = NormPace(norm)
    for step in range(1, steps + 1):
        pace.set(step)
        left *= 1.0 - norm.momentum
    rounding = 1 + 1e-12
    assert left <= 0.9 ** min(steps, 19) * rounding
    assert left <= (20 / (steps + 1)) ** 2 * rounding
    pace.restore()
    assert norm.momentum == 0.001


@pytest.mark.parametrize(("own", "first", "late"), [(0.1, 0.1, 0.1), (0.3, 0.3, 0.3), (0.0, 0.0, 0.0),
                                                    (0.01, 0.1, 0.01), (None, 0.1, 0.002)])  # fmt: skip
def test_momenta_are_only_raised(own: float | None, first: float, late: float) -> None:
    norm = nn.BatchNorm2d(3, momentum=own)
    pace = NormPace(norm)
    pace.set(1)
    assert norm.momentum == first
    pace.set(999)
    assert norm.momentum == pytest.approx(late)
    pace.restore()
    assert norm.momentum == own


def test_a_training_leaves_momenta_as_they_were_and_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    network = nets.Plain()
    for norm in (network.bn1, network.bn2):
        norm.momentum = 0.001
        norm.get_buffer("running_mean").fill_(100.0)
    samples = nets.random_samples()
    finetune(network, samples, TrainConfig(epochs=4, batch_size=16, device="cpu"))
    assert network.bn1.momentum == network.bn2.momentum == 0.001
    assert float(network.bn1.get_buffer("running_mean").abs().max()) < 15.0  # 98 by a momentum of 0.001
    broken = nets.ArraySamples(samples.x, samples.y, fail_after=3)
    with pytest.raises(nets.PowerCut):
        finetune(network, broken, TrainConfig(epochs=4, batch_size=16, device="cpu"))
    assert network.bn1.momentum == 0.001
