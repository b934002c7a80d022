"""Which weights become zero."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress.sparsity.masks import ZeroWeights, lowest
from edgekit.compress.sparsity.plan import SparsePlan
from edgekit.types import Sparsity

PATTERN: dict[str, Sparsity] = {"2:4": Sparsity("2:4", 0.5), "unstructured": Sparsity("unstructured", 0.7)}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99), st.floats(0, 1))
def test_of_each_four_along_the_input_channels_two_at_most_are_taken(
    rows: int, fours: int, kernel: int, seed: int, share: float
) -> None:
    scores = torch.rand(rows, 4 * fours, kernel, kernel, generator=torch.Generator().manual_seed(seed))
    count = round(share * 0.5 * scores.numel())
    taken = lowest(scores, "2:4", count)
    assert int(taken.sum()) == count
    per_group = taken.reshape(rows, fours, 4, kernel, kernel).sum(2)
    assert int(per_group.max()) <= 2
    if share == 1.0:
        assert bool((per_group == 2).all())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.floats(0, 1))
def test_anywhere_the_lowest_are_taken(seed: int, share: float) -> None:
    scores = torch.rand(6, 5, generator=torch.Generator().manual_seed(seed))
    taken = lowest(scores, "unstructured", round(share * 30))
    if bool(taken.any()) and not bool(taken.all()):
        assert scores[taken].max() <= scores[~taken].min()


def test_2_4_keeps_the_two_largest_of_each_four() -> None:
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.4, 0.3, 0.2, 0.1]])
    assert lowest(scores, "2:4", 4).tolist() == [[False, True, False, True, False, False, True, True]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 4))


def plan(pattern: str = "unstructured", saliency: Literal["magnitude", "obd"] = "magnitude") -> SparsePlan:
    return SparsePlan(PATTERN[pattern], ("0", "2"), saliency=saliency)


@pytest.mark.parametrize("pattern", PATTERN)
def test_zeros_only_grow_and_end_at_the_ratio(pattern: str) -> None:
    made, zeros = network(), ZeroWeights(plan(pattern), {})
    before = torch.zeros_like(made[0].weight, dtype=torch.bool)
    for share in (0.0, 0.1, 0.3, 0.45, 0.6, 1.0):
        zeros.advance(made, share)
        now = made[0].weight == 0
        assert bool((now | ~before).all())
        before = now
        with torch.no_grad():  # the others move on meanwhile
            made[0].weight.mul_(1 + torch.rand(made[0].weight.shape))
    for layer in (made[0], made[2]):
        assert int((layer.weight == 0).sum()) == round(PATTERN[pattern].ratio * layer.weight.numel())


def test_a_step_moves_no_zero_and_no_gradient_reaches_it() -> None:
    made, zeros = network(), ZeroWeights(plan(), {})
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    made(torch.rand(2, 4, 3, 3)).sum().backward()
    optimizer.step()  # momenta of weights that become zero later
    zeros.advance(made, 1.0)
    gone = made[0].weight == 0
    optimizer.zero_grad()
    made(torch.rand(2, 4, 3, 3)).sum().backward()
    zeros.stop_gradients(made)
    assert made[0].weight.grad is not None
    assert not bool(made[0].weight.grad[gone].any())
    optimizer.step()
    assert bool(made[0].weight[gone].any())  # by momentum alone
    zeros.restore(made)
    assert not bool(made[0].weight[gone].any())
    assert bool(made[0].weight[~gone].all())


def test_a_training_that_goes_on_makes_the_zeros_that_the_unbroken_one_makes() -> None:
    whole, broken = network(), network()
    zeros = ZeroWeights(plan("2:4"), {})
    for share in (0.0, 0.2, 0.4, 1.0):
        zeros.advance(whole, share)
    for share in (0.0, 0.2, 0.2, 0.4, 1.0):
        ZeroWeights(plan("2:4"), {}).advance(broken, share)
    assert torch.equal(whole[0].weight, broken[0].weight)


def test_by_the_hessian_a_small_weight_that_matters_stays() -> None:
    made = nn.Sequential(nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([[1.0, 0.5, 2.0, 0.1]]))
    hessian = {"0": torch.tensor([[0.0, 0.1, 0.01, 100.0]])}
    half = SparsePlan(Sparsity("unstructured", 0.5), ("0",), saliency="obd")
    ZeroWeights(half, hessian).advance(made, 1.0)
    assert made[0].weight.tolist() == [[0.0, 0.0, 2.0, pytest.approx(0.1)]]
