"""Batch norms re-estimated."""

from __future__ import annotations

import copy

import torch
from torch import nn

from edgekit.compress import reestimate_norms
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
