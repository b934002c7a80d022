"""Factors: what they keep of a layer's outputs, and that nothing of their rank keeps more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress.lowrank.factors import factor_layers, full_ranks, kept_shares
from edgekit.compress.lowrank.moments import InputMoments, input_moments
from edgekit.compress.lowrank.plan import FactorStep
from edgekit.errors import StageError

LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), (12,)),
    "pointwise": (lambda: nn.Conv2d(12, 20, 1, stride=2, bias=False), (12, 6, 6)),
    "convolution": (lambda: nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1), (6, 9, 9)),
    "wide kernel": (lambda: nn.Conv2d(4, 8, (3, 5), padding=(0, 2), dilation=(1, 2)), (4, 12, 12)),
}
STEPS = [
    ("linear", "svd", (5,)),
    ("pointwise", "svd", (5,)),
    ("convolution", "spatial", (7,)),
    ("convolution", "tucker", (4, 5)),
    ("wide kernel", "spatial", (6,)),
    ("wide kernel", "tucker", (2, 6)),
]


def correlated(shape: tuple[int, ...], count: int = 600, rank: int | None = None) -> torch.Tensor:
    """Inputs [count, channels, …] whose channels go together and whose means are far from 0."""
    generator = torch.Generator().manual_seed(1)
    channels = shape[0]
    mix = torch.randn(channels, rank or channels, generator=generator) * torch.logspace(
        0, -2, rank or channels
    )
    values = torch.randn(count, *shape[1:], rank or channels, generator=generator) @ mix.T
    return (values + 3.0).movedim(-1, 1)


def setup(name: str) -> tuple[nn.Module, torch.Tensor, InputMoments]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make()
    inputs = correlated(shape)
    return layer, inputs, input_moments(nn.Sequential(layer), {"0": layer}, [(inputs,)])["0"]


def lost(layer: nn.Module, factors: nn.Module, inputs: torch.Tensor) -> float:
    """The squared error by the outputs' variance."""
    with torch.no_grad():
        wanted, got = layer(inputs), factors(inputs)
    spread = wanted - wanted.mean(tuple(axis for axis in range(wanted.ndim) if axis != 1), keepdim=True)
    return float((got - wanted).square().sum() / spread.square().sum())


@pytest.mark.parametrize(("name", "form", "ranks"), STEPS)
def test_factors_are_shaped_as_the_layer_and_lose_little_of_what_it_gives(
    name: str, form: Any, ranks: tuple[int, ...]
) -> None:
    layer, inputs, moments = setup(name)
    factors = factor_layers(layer, FactorStep("0", form, ranks), moments)
    with torch.no_grad():
        assert factors(inputs).shape == layer(inputs).shape
    by_weights = InputMoments(torch.zeros_like(moments.mean), torch.eye(len(moments.mean)).double())
    plain = factor_layers(layer, FactorStep("0", form, ranks), by_weights)
    error = lost(layer, factors, inputs)
    assert error < 0.2
    assert error < 0.7 * lost(layer, plain, inputs)  # singular values of the weights alone


@pytest.mark.parametrize(("name", "form", "ranks"), STEPS)
def test_nearly_full_ranks_lose_nearly_nothing(name: str, form: Any, ranks: tuple[int, ...]) -> None:
    layer, inputs, moments = setup(name)
    almost = tuple(rank - 1 for rank in full_ranks(layer, form))
    factors = factor_layers(layer, FactorStep("0", form, almost), moments)
    assert lost(layer, factors, inputs) < 0.1


@pytest.mark.parametrize("name", ["linear", "pointwise"])
def test_the_share_that_is_told_is_the_share_that_is_kept(name: str) -> None:
    layer, inputs, moments = setup(name)
    shares = kept_shares(layer, moments)
    assert torch.all(shares.diff() >= 0)
    assert float(shares[-1]) == pytest.approx(1.0)
    if name == "pointwise":
        inputs = inputs.repeat_interleave(2, 2).repeat_interleave(
            2, 3
        )  # its stride sees every position of the moments
    for rank in (2, 5, 9):
        factors = factor_layers(layer, FactorStep("0", "svd", (rank,)), moments)
        assert 1 - lost(layer, factors, inputs) == pytest.approx(float(shares[rank - 1]), abs=0.01)


def test_inputs_of_a_lower_rank_make_the_product_exact() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(12, 20)
    inputs = correlated((12,), count=20_000, rank=4)
    moments = input_moments(nn.Sequential(layer), {"0": layer}, [(inputs,)])["0"]
    factors = factor_layers(layer, FactorStep("0", "svd", (4,)), moments)
    assert lost(layer, factors, inputs) < 1e-4


def test_a_mean_is_carried_by_the_bias_whatever_the_rank() -> None:
    layer, inputs, moments = setup("linear")
    factors = factor_layers(layer, FactorStep("0", "svd", (1,)), moments)
    with torch.no_grad():
        assert torch.allclose(factors(inputs).mean(0), layer(inputs).mean(0), atol=1e-3)


def test_few_samples_leave_no_direction_without_weight() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    few = torch.randn(8, 64)
    moments = input_moments(nn.Sequential(layer), {"0": layer}, [(few,)])["0"]
    assert float(torch.linalg.eigvalsh(moments.covariance)[0]) > 0.1
    assert float(kept_shares(layer, moments)[7]) < 0.9  # though 8 directions are all that was seen


def test_variances_stand_for_the_covariance_of_very_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.compress.lowrank.moments.WIDEST", 4)
    for name, form, ranks in (("linear", "svd", (9,)), ("convolution", "spatial", (15,))):
        layer, inputs, moments = setup(name)
        assert moments.covariance.ndim == 1
        factors = factor_layers(layer, FactorStep("0", form, ranks), moments)  # type: ignore[arg-type]
        assert lost(layer, factors, inputs) < 0.2


@pytest.mark.parametrize("rank", [0, 12, 13])
def test_a_full_rank_is_none(rank: int) -> None:
    layer, _, moments = setup("linear")
    with pytest.raises(StageError, match="may be up to 11"):
        factor_layers(layer, FactorStep("0", "svd", (rank,)), moments)
