"""Convolutions in a chain as one: what it computes, which modules are such chains, and why others are not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    apply_plan,
    load_pruned,
    propose,
    propose_depth,
    save_pruned,
)
from edgekit.compress.depth.merging import ConvolutionChain, find_mergers
from edgekit.compress.pruning.cost import layer_macs
from edgekit.errors import StageError, UserError
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = (torch.zeros(1, 4, 12, 12),)


class Inverted(nn.Module):
    """1×1 expansion, depthwise 3×3, 1×1 projection, beside a shortcut."""

    def __init__(self, channels: int = 4, wide: int = 12, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.stride == 1 else self.body(x)


class Small(nn.Module):
    """Two inverted residuals between a stem and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, 1, 1)
        self.blocks = nn.Sequential(Inverted(), Inverted(stride=2), Inverted())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def awake(network: nn.Module, seed: int = 0) -> Any:
    """In eval mode, with batch norms that have seen something."""
    chance = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            shape = norm.running_mean.shape  # type: ignore[union-attr]
            norm.running_mean.copy_(torch.randn(shape, generator=chance))  # type: ignore[union-attr]
            norm.running_var.copy_(torch.rand(shape, generator=chance) + 0.5)  # type: ignore[union-attr]
            norm.weight.data.copy_(torch.randn(shape, generator=chance))
            norm.bias.data.copy_(torch.randn(shape, generator=chance))
    return network.eval()


def without_activations(network: nn.Module, chain: ConvolutionChain) -> nn.Module:
    linear = copy.deepcopy(network)
    for name in chain.activations:
        parent, _, last = name.rpartition(".")
        setattr(linear.get_submodule(parent), last, nn.Identity())
    return linear


@st.composite
def chains(draw: st.DrawFn) -> tuple[nn.Sequential, int]:
    """A chain of 2 or 3 convolutions in a module, and the input's channels."""
    groups_of = {"dense": 1, "depthwise": 0}
    channels = channels_in = draw(st.integers(1, 4))
    layers: list[nn.Module] = []
    for index in range(draw(st.integers(2, 3))):
        kind = draw(st.sampled_from(sorted(groups_of)))
        width = channels if kind == "depthwise" else draw(st.integers(1, 5))
        kernel = draw(st.sampled_from([1, 2, 3]))
        layers.append(
            nn.Conv2d(
                channels, width, kernel, draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2)),
                groups=groups_of[kind] or channels, bias=draw(st.booleans()),
            )
        )  # fmt: skip
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(width, affine=draw(st.booleans())))
        if draw(st.booleans()) and index == 0:
            layers.append(nn.SiLU())
        channels = width
    return nn.Sequential(nn.Sequential(*layers)), channels_in


@settings(deadline=None, max_examples=40)
@given(chains(), st.integers(0, 2**16))
def test_it_computes_what_the_chain_does_without_its_activations(
    made: tuple[nn.Sequential, int], seed: int
) -> None:
    network, channels = made
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and not norm.affine:
            norm.running_mean.normal_()  # type: ignore[union-attr]
    network.eval()
    example = (torch.zeros(1, channels, 24, 24),)
    (chain,) = find_mergers(network, example).chains
    x = torch.randn(2, channels, 24, 24, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        wanted = without_activations(network, chain)(x)
        got = find_mergers(network, example).merged(network, ["0"])(x)
    assert got.shape == wanted.shape
    # where padding of a later layer meets the edge they differ; inside they do not
    rows = [slice(3, size - 3) for size in got.shape[2:]]
    scale = float(wanted.abs().max()) + 1e-6
    assert torch.allclose(got[:, :, rows[0], rows[1]], wanted[:, :, rows[0], rows[1]], atol=1e-4 * scale)
    if all(layer.padding == (0, 0) for layer in network.modules() if isinstance(layer, nn.Conv2d)):
        assert torch.allclose(got, wanted, atol=1e-4 * scale)


def test_an_inverted_residual_is_one_dense_convolution_and_its_shortcut() -> None:
    network = awake(Small())
    mergers = find_mergers(network, EXAMPLE)
    assert [chain.name for chain in mergers.chains] == ["blocks.0.body", "blocks.1.body", "blocks.2.body"]
    first, strided, _ = mergers.chains
    assert (first.shape.kernel, first.shape.stride, first.shape.padding) == ((3, 3), (1, 1), (1, 1))
    assert strided.shape.stride == (2, 2)
    merged = mergers.merged(network, ["blocks.0.body"])
    kinds = [type(layer).__name__ for layer in merged.blocks[0].body]
    assert kinds == [*["Identity"] * 6, "Conv2d", "BatchNorm2d"]
    x = torch.randn(1, 4, 12, 12)
    with torch.no_grad():
        block = without_activations(network, first).get_submodule("blocks.0")
        assert torch.allclose(merged.blocks[0](x)[..., 1:-1, 1:-1], block(x)[..., 1:-1, 1:-1], atol=1e-4)
    assert isinstance(network.blocks[0].body[0], nn.Conv2d)  # the network itself stays as it is


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.relu(self.first(x))))


class Called(Shared):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class Branched(Shared):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(y) + y


class Squeezed(Shared):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(y * y.mean((2, 3), keepdim=True))


class Twice(Shared):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.first(self.second(x)))


def dilated() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 1))


def reflecting() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv2d(4, 4, 1))


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Shared(), "by something else than"),
        (Called(), "by something else than"),
        (Branched(), "read in more than one place"),
        (Squeezed(), "read in more than one place"),
        (Twice(), "called more than once"),
        (dilated(), "0.0 is dilated"),
        (reflecting(), "0.0 pads by reflect"),
        (normed(), "by something else than"),
    ],
)
def test_what_is_no_chain_says_why(block: nn.Module, why: str) -> None:
    network = nn.Sequential(block, nn.Conv2d(4, 2, 1))
    mergers = find_mergers(network.eval(), EXAMPLE)
    assert not mergers.chains
    assert why in mergers.reasons["0"]
    with pytest.raises(
        UserError, match=r"'0' is no chain of convolutions that can be merged: .*; allowed: none"
    ):
        mergers.merged(network, ["0"])


def test_a_plan_tries_no_layer_of_many_more_weights() -> None:
    separable = nn.Sequential(
        nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 1)
    )
    network = nn.Sequential(nn.Conv2d(4, 32, 1), separable, nn.Conv2d(32, 4, 1), Inverted()).eval()
    mergers = find_mergers(network, EXAMPLE)
    assert [chain.name for chain in mergers.chains] == ["1", "3.body"]
    assert mergers.chains[0].growth == pytest.approx(32 * 32 * 9 / (32 * 9 + 32 * 32))
    assert [chain.name for chain in mergers.plausible] == ["3.body"]
    mergers.merged(network, ["1"])  # by name all the same


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    network = awake(Small())
    mergers = find_mergers(network, EXAMPLE)
    with pytest.raises(UserError, match=r"allowed: blocks\.0\.body, .*; did you mean 'blocks\.1\.body'"):
        mergers.merged(network, ["blocks.1"])
    with pytest.raises(UserError, match=r"did you mean 'blocks\.2\.body'"):
        mergers.merged(network, ["block.2.body"])


def test_a_plan_merges_then_narrows_and_is_read_back(tmp_path: Path) -> None:
    network = awake(Small())
    depth = propose_depth(network, EXAMPLE, ["blocks.2"], ["blocks.0.body", "blocks.1.body"])
    assert (depth.dropped, depth.merged) == (("blocks.2",), ("blocks.0.body", "blocks.1.body"))
    assert PrunePlan.from_json(depth.to_json()) == depth
    assert depth.lines == ("blocks dropped: blocks.2", "convolutions merged: blocks.0.body, blocks.1.body")
    left = apply_plan(network, EXAMPLE, depth)
    assert depth.macs == sum(layer.macs for layer in layer_macs(left, EXAMPLE))
    config = PruneConfig(importance="magnitude", round_to=2, scope="all")
    plan = propose(left, EXAMPLE, config, 0.6 * depth.fraction, previous=depth)
    assert plan.steps
    assert plan.merged == depth.merged
    pruned = apply_plan(network, EXAMPLE, plan)
    save_pruned(tmp_path / "pruned.safetensors", pruned, plan)
    loaded, read = load_pruned(tmp_path / "pruned.safetensors", network, EXAMPLE)
    x = torch.randn(2, 4, 12, 12)
    assert read == plan
    assert torch.equal(loaded(x), pruned(x))


def test_a_plan_that_does_not_fit_is_a_failure_of_its_stage() -> None:
    with pytest.raises(StageError, match="no chain of convolutions"):
        apply_plan(awake(Small()), EXAMPLE, PrunePlan(merged=("stem",)))
    with pytest.raises(UserError, match="not a pruning plan: TypeError: merged is a str"):
        PrunePlan.from_json('{"original_macs":1,"macs":1,"steps":[],"merged":"blocks.1"}')
