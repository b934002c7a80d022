"""The diagonal of the Hessian by random signs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress.sparsity.hessian import hessian_diagonal
from edgekit.errors import StageError
from tests.compress import nets


class OneLayer(nn.Module):
    """Images of 3 channels, pooled, through a matrix: its Hessian is known."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)) * torch.tensor([0.0, 1.0, 10.0]))


def test_of_a_linear_layer_it_is_the_mean_square_of_its_inputs() -> None:
    samples = nets.random_samples()
    made = hessian_diagonal(OneLayer(), ["fc"], samples, 0)["fc"]
    (batch,) = samples.batches(len(samples))
    means = torch.from_numpy(np.asarray(batch.inputs[0])).mean((2, 3)) * torch.tensor([0.0, 1.0, 10.0])
    exact = means.square().mean(0)
    assert not bool(made[:, 0].any())
    torch.testing.assert_close(made.mean(0), exact, rtol=0.5, atol=1e-6)


def test_the_same_seed_gives_the_same_and_the_network_is_left_alone() -> None:
    network, samples = nets.Plain().train(), nets.random_samples()
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (hessian_diagonal(network, names, samples, 3) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert all(bool((first[name] >= 0).all()) and bool(first[name].any()) for name in names)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_without_a_gradient_there_is_none() -> None:
    class Counting(OneLayer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).argmax(1)

    with pytest.raises(StageError, match="no output of the network has a gradient"):
        hessian_diagonal(Counting(), ["fc"], nets.random_samples(), 0)
