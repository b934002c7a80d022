"""Numbers of a forward that follow the channels, and what happens where they cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import PruneConfig, prunable
from edgekit.compress.base import Example
from edgekit.compress.pruning.calls import NumberPlace, record_calls
from edgekit.compress.pruning.channels import ChannelSets, TensorChannels
from edgekit.compress.pruning.mending import Pinned, Resized, mend
from edgekit.compress.pruning.views import viewed
from edgekit.errors import StageError

X: Example = (torch.zeros(1, 12),)

VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "view": lambda x: x.view(-1, 12),
    "view of a list": lambda x: x.view([-1, 12]),
    "reshape": lambda x: x.reshape(-1, 12),
    "function": lambda x: torch.reshape(x, (-1, 12)),
    "by name": lambda x: torch.reshape(x, shape=(-1, 12)),
}


def number(module: nn.Module, position: int, x: torch.Tensor = X[0]) -> NumberPlace:
    """A number of the one call that the module's forward makes of a kind that is noted."""
    (seen,) = record_calls(module, (x,))[""]
    return NumberPlace(seen.call, position)


class Written(nn.Module):
    def __init__(self, body: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.mark.parametrize("way", VIEWS)
def test_a_size_follows_however_it_is_written(way: str) -> None:
    module = Written(VIEWS[way])
    (seen,) = record_calls(module, X)[""]
    assert seen.numbers == (-1, 12)
    mend(module, {number(module, 1): Resized(12, 6)})
    assert isinstance(module, Written)
    assert copy.deepcopy(module)(torch.zeros(4, 6)).shape == (4, 6)


def test_a_size_that_counts_samples_too_is_a_multiple() -> None:
    module = Written(lambda x: x.view(-1, 3 * len(x)))
    mend(module, {number(module, 1, torch.zeros(1, 3)): Resized(3, 2)})
    assert module(torch.zeros(5, 2)).shape == (1, 10)


def test_a_size_that_follows_by_itself_is_left() -> None:
    module = Written(lambda x: x.view(-1, x.shape[1]))
    mend(module, {number(module, 1): Resized(12, 5)})
    assert module(torch.zeros(2, 5)).shape == (2, 5)


def test_mended_twice_starts_from_the_first() -> None:
    module = Written(lambda x: x.view(-1, 12))
    mend(module, {number(module, 1): Resized(12, 6)})
    (seen,) = record_calls(module, (torch.zeros(1, 6),))[""]
    assert seen.numbers == (-1, 6)
    mend(module, {NumberPlace(seen.call, 1): Resized(6, 4)})
    assert module(torch.zeros(3, 4)).shape == (3, 4)


def test_what_was_not_expected_is_an_error() -> None:
    module = Written(lambda x: x.view(-1, 7))
    mend(module, {number(module, 1, torch.zeros(1, 7)): Resized(12, 6)})
    with pytest.raises(RuntimeError, match="asks for a size of 7 where 12 was expected"):
        module(torch.zeros(1, 7))
    scaled = Written(lambda x: x * 0.9)
    mend(scaled, {number(scaled, 0): Pinned(-0.5, 12**-0.5)})
    with pytest.raises(RuntimeError, match=r"scales by 0\.9 where"):
        scaled(torch.zeros(1, 7))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("body", [lambda x: x * x.shape[1] ** -0.5, lambda x: x.shape[1] ** -0.5 * x])
def test_a_scale_stays_that_of_the_original(body: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module = Written(body)
    mend(module, {number(module, 0): Pinned(-0.5, 16**-0.5)})
    assert torch.equal(module(torch.ones(1, 4)), torch.full((1, 4), 0.25))
    traced = torch.jit.trace(module, torch.ones(1, 4))
    assert torch.equal(traced(torch.ones(1, 4)), torch.full((1, 4), 0.25))


def test_a_forward_of_ones_own_is_refused() -> None:
    module = Written(VIEWS["view"])
    size = number(module, 1)
    module.forward = lambda x: x.view(-1, 12)  # type: ignore[method-assign]
    with pytest.raises(StageError, match="a forward that is not its class's own"):
        mend(module, {size: Resized(12, 6)})


def test_what_hooks_do_meanwhile_does_not_count() -> None:
    module = nn.Sequential(nn.Identity(), nn.Flatten())
    module[1] = Written(lambda x: x * 12**-0.5)
    wrapped = Written(lambda x: module[1](module[0](x).view(-1, 12)) * 2.0)
    wrapped.inner = module
    mend(wrapped, {NumberPlace(record_calls(wrapped, X)[""][0].call, 1): Resized(12, 6)})
    module[0].register_forward_hook(lambda _, __, output: output.view(1, 6) * 2.0)
    assert wrapped(torch.zeros(1, 6)).shape == (1, 6)


class OtherwiseInTraining(nn.Module):
    """Asks for the size by its attribute, and in training once more before that."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(x)
        if self.training:
            x = x.view(-1, 4, 4).flip(1).reshape(-1, 16)
        return self.narrow(x.view(-1, 16))


def test_a_forward_that_makes_other_calls_in_training_keeps_its_sizes() -> None:
    module = OtherwiseInTraining().eval()
    assert "" not in record_calls(module, X)
    assert prunable(module, X, PruneConfig(importance="magnitude", round_to=4)) == ()


@settings(deadline=None)
@given(front=st.integers(1, 4), width=st.integers(2, 6), behind=st.integers(1, 4))
def test_channels_survive_being_merged_and_split_again(front: int, width: int, behind: int) -> None:
    sets = ChannelSets()
    source = TensorChannels(2, sets.new(width))
    shape = (1, front, width, behind, 5)
    flat = viewed(sets, source, shape, (1, front * width * behind, 5))
    assert flat is not None
    assert len(flat.ids) == front * width * behind
    again = viewed(sets, flat, (1, front * width * behind, 5), shape)
    if front == behind == 1 or again == source:
        assert again == source
    else:  # an axis of equal size cannot be told from it, but never are two channels joined
        assert again is not None
    assert len({sets.root(element) for element in source.ids}) == width


@settings(deadline=None)
@given(heads=st.integers(2, 5), width=st.integers(2, 5))
def test_a_split_axis_is_followed_along_the_heads_or_the_channels_of_one(heads: int, width: int) -> None:
    for wanted, axis, apart in ((frozenset({heads}), 1, heads), (frozenset(), 2, width)):
        sets = ChannelSets()
        source = TensorChannels(1, sets.new(heads * width))
        split = viewed(sets, source, (1, heads * width), (1, heads, width), wanted)
        assert split is not None
        assert (split.axis, len({sets.root(element) for element in source.ids})) == (axis, apart)
