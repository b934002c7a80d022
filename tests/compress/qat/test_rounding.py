"""Rounding to integers, and the gradients that go through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.qat.rounding import LEVELS, clipped, rounded, rounded_by_channel, rounded_weights
from edgekit.quantize import Range, Scheme, affine_parameters
from edgekit.quantize.simulate import fake_quantize_weights

ENDS = st.floats(0.015625, 50.0, width=32)


def ends(low: float | list[float], high: float | list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(low, requires_grad=True), torch.tensor(high, requires_grad=True)


@settings(deadline=None, max_examples=60)
@given(ENDS, ENDS, st.integers(0, 1000))
def test_values_lie_on_the_grid_that_a_plan_writes(below: float, above: float, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, above, 200).astype(np.float32))
    y = rounded(x, *ends(-below, above)).detach().double().numpy()
    grid = affine_parameters(Range(-below, above), 0, LEVELS)
    integers = y / grid.scale + grid.zero_point
    assert np.abs(integers - integers.round()).max() < 0.02
    assert integers.round().min() >= 0
    assert integers.round().max() <= LEVELS
    inside = (x.numpy() > -below) & (x.numpy() < above)
    assert np.abs(y - x.numpy())[inside].max(initial=0.0) <= 0.51 * grid.scale


def test_a_gradient_passes_inside_and_stops_where_values_are_clipped() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.7, 5.0], requires_grad=True)
    rounded(x, *ends(-1.0, 2.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_range_learns_from_what_it_clips() -> None:
    low, high = ends(-1.0, 2.0)
    x = torch.tensor([-3.0, 5.0])
    (rounded(x, low, high) - x).square().sum().backward()
    assert low.grad is not None
    assert high.grad is not None
    assert low.grad > 0 > high.grad  # a step against them widens both ends


def test_a_range_learns_from_the_rounding_within_it() -> None:
    """The gradient of the step size is the error in steps, as in LSQ (equation 3)."""
    low, high = ends(0.0, 255.0)
    x = torch.tensor([10.3, 20.4])
    rounded(x, torch.tensor(0.0), high).sum().backward()
    assert high.grad is not None
    assert float(high.grad) == pytest.approx((-0.3 - 0.4) / LEVELS, abs=1e-5)
    assert low.grad is None


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([7, 8]), st.booleans(), st.integers(0, 100))
def test_weights_are_rounded_as_a_plan_simulates_them(bits: int, per_channel: bool, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(4, 3, 2, 2)).astype(np.float32)
    weights[1] = 0.0
    scheme = Scheme(weight_bits=bits, per_channel=per_channel)
    expected = fake_quantize_weights(weights, scheme, 0)
    given_back = rounded_weights(torch.from_numpy(weights), 0 if per_channel else None, bits).numpy()
    assert np.allclose(given_back, expected, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.booleans(), st.integers(0, 100))
def test_rounded_weights_are_found_again_by_a_runtime_that_rounds_them_anew(
    per_channel: bool, seed: int
) -> None:
    weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float32))
    axis = 1 if per_channel else None
    once = rounded_weights(weights, axis, 8)
    assert torch.allclose(rounded_weights(once, axis, 8), once, atol=1e-6)


def test_weights_pass_their_gradients_on() -> None:
    weights = torch.randn(3, 4, requires_grad=True)
    rounded_weights(weights, 0, 8).sum().backward()
    assert weights.grad is not None
    assert torch.equal(weights.grad, torch.ones_like(weights))


def test_channels_are_rounded_and_learn_as_each_alone() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (4, 3, 5)).astype(np.float32))
    weight = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (4, 3, 5)).astype(np.float32))
    low, high = ends([-1.0, 0.0, -0.2], [0.5, 1.0, 0.2])
    together = x.clone().requires_grad_()
    y = rounded_by_channel(together, low, high, 1)
    (y * weight).sum().backward()
    assert low.grad is not None
    assert high.grad is not None
    assert together.grad is not None
    for channel in range(3):
        below, above = ends(float(low[channel].detach()), float(high[channel].detach()))
        alone = x[:, channel].clone().requires_grad_()
        expected = rounded(alone, below, above)
        (expected * weight[:, channel]).sum().backward()
        assert torch.allclose(y[:, channel], expected, atol=1e-6)
        assert torch.allclose(together.grad[:, channel], alone.grad)
        assert below.grad is not None
        assert above.grad is not None
        assert float(low.grad[channel]) == pytest.approx(float(below.grad), rel=1e-3, abs=1e-3)
        assert float(high.grad[channel]) == pytest.approx(float(above.grad), rel=1e-3, abs=1e-3)


def test_what_is_clipped_alone_keeps_its_values_between_the_ends_of_the_grid() -> None:
    low, high = ends(-1.0, 2.0)
    x = torch.tensor([-3.0, 0.123456, 5.0])
    y = clipped(x, low, high)
    inside, outside = y[1].detach(), y[[0, 2]].detach()
    grid = affine_parameters(Range(-1.0, 2.0), 0, LEVELS)
    assert float(inside) == float(x[1])
    assert outside.tolist() == pytest.approx(
        [-grid.zero_point * grid.scale, (LEVELS - grid.zero_point) * grid.scale]
    )
    y.sum().backward()
    assert high.grad is not None
    assert float(high.grad) != 0.0
