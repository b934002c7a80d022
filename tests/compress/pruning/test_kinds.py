"""Kinds of networks that people bring: each is pruned rightly, or the part that cannot be is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    TrainConfig,
    apply_plan,
    propose,
    prunable,
    prune_iteratively,
)
from edgekit.compress.base import Example
from edgekit.compress.pruning.propose import kept_whole
from edgekit.compress.pruning.soundness import retrace
from tests.compress import nets

MAGNITUDE = PruneConfig(importance="magnitude", round_to=4)


class Chunked(nn.Module):
    """A stem, then what `middle` makes of two halves of 16 channels, then a head. `last`: channels that it gives."""

    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor], last: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.middle = middle
        self.head = nn.Linear(last, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(F.relu(self.stem(x))).mean((2, 3)))


def simple_gate(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, 1)
    return first * second


def sliced_gate(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[1] // 2
    return x[:, :half] * x[:, half:].sigmoid()


def shuffled(x: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = x.shape
    x = x.view(count, 2, channels // 2, height, width).transpose(1, 2)
    return x.reshape(count, channels, height, width)


def fixed_split(x: torch.Tensor) -> torch.Tensor:
    first, second = x.split([16, 16], 1)
    return torch.cat((second, first), 1)


class FixedView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.hidden, self.head = nn.Linear(16 * 4 * 4, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x - self.mean))))
        return self.head(F.relu(self.hidden(x.view(-1, 16 * 4 * 4))))


class Recurrent(nn.Module):
    """Convolutions, a recurrent layer over the positions, a perceptron."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.stem, self.feed = nn.Conv1d(4, 32, 3, padding=1), nn.Conv1d(32, 16, 3, padding=1)
        self.cell = cell(16, 24, batch_first=True)
        self.hidden, self.head = nn.Linear(24, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.feed(F.relu(self.stem(x))))
        states, _ = self.cell(x.transpose(1, 2))
        return self.head(F.relu(self.hidden(states[:, -1])))


class Detector(nn.Module):
    """A mapping with lists of maps, a tuple, and None."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 32, 3, 2, 1)
        self.scores = nn.ModuleList([nn.Conv2d(16, 4, 1), nn.Conv2d(32, 4, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(16, 8, 1), nn.Conv2d(32, 8, 1)])

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        first = F.relu(self.norm(self.stem(x)))
        second = F.relu(self.deep(first))
        maps = (first, second)
        return {
            "scores": [layer(held).sigmoid() for layer, held in zip(self.scores, maps, strict=True)],
            "boxes": tuple(layer(held) for layer, held in zip(self.boxes, maps, strict=True)),
            "aux": None,
        }


class Tied(nn.Module):
    """The decoder takes the encoder's weights; a perceptron before them is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.encode = nn.Linear(12, 32), nn.Linear(32, 12), nn.Linear(12, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = F.relu(self.encode(self.narrow(F.relu(self.wide(x)))))
        return F.linear(code, self.encode.weight.t())


def hooked(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.weight_norm(layer)


def normed(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(
        wrap(nn.Conv1d(4, 16, 5, padding=2)), nn.ReLU(), wrap(nn.Conv1d(16, 32, 5, 2, 2)), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


SIGNAL = (np.zeros((1, 4, 24), dtype=np.float32),)
WRAPS = [hooked, nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm]


def widths(module: nn.Module, example: Example) -> dict[str, int]:
    return {group.layer: group.width for group in prunable(module, example, MAGNITUDE)}


@pytest.mark.parametrize("middle", [simple_gate, sliced_gate, lambda x: F.glu(x, 1)])
def test_halves_that_are_multiplied_are_pruned_together(
    middle: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    module = Chunked(middle, 16).eval()
    plan = propose(module, nets.image_example(), MAGNITUDE, 0.5)
    pruned = apply_plan(module, nets.image_example(), plan)
    assert plan.widths == {"stem": 8}
    assert (pruned.stem.out_channels, pruned.head.in_features) == (16, 8)


@pytest.mark.parametrize("middle", [nn.PixelShuffle(2), nn.ChannelShuffle(2), shuffled])
def test_shuffled_channels_are_pruned_in_whole_groups_or_kept(
    middle: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    module = Chunked(middle, 8 if isinstance(middle, nn.PixelShuffle) else 32).eval()
    if isinstance(middle, nn.ChannelShuffle):
        assert kept_whole(module, nets.image_example(), MAGNITUDE) == {"stem": "goes into channel_shuffle"}
        return
    plan = propose(module, nets.image_example(), MAGNITUDE, 0.5)
    assert plan.fraction <= 0.5
    assert apply_plan(module, nets.image_example(), plan).stem.out_channels == 16


def test_halves_of_a_fixed_size_are_pruned_together_and_the_size_follows() -> None:
    module = Chunked(fixed_split, 32).eval()
    plan = propose(module, nets.image_example(), MAGNITUDE, 0.5)
    pruned = apply_plan(module, nets.image_example(), plan)
    assert plan.widths == {"stem": 8}
    assert pruned(torch.zeros(3, 3, 8, 8)).shape == (3, 4)


def test_a_view_of_fixed_size_follows_and_is_trained() -> None:
    torch.manual_seed(0)
    module = FixedView().eval()
    assert widths(module, nets.image_example()) == {"conv1": 16, "conv2": 16, "hidden": 32}
    outcome = prune_iteratively(
        module, nets.image_example(), nets.random_samples(), lambda _: 1.0, PruneConfig(round_to=4),
        TrainConfig(epochs=1, batch_size=32, device="cpu"),
        limit=1.0, target_fraction=0.3, steps=IterateConfig(step_epochs=0.5),
    )  # fmt: skip
    assert outcome.plan.fraction <= 0.3
    assert outcome.kept == ""
    assert outcome.module.conv2.out_channels < 16
    assert outcome.module(torch.zeros(5, 3, 8, 8)).shape == (5, 4)


@pytest.mark.parametrize("wrap", WRAPS)
def test_normed_weights_are_folded_before_pruning(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    module = normed(wrap).eval()
    x = torch.randn(3, 4, 24)
    before = module(x)
    plan = propose(module, SIGNAL, MAGNITUDE, 0.5)
    pruned = apply_plan(module, SIGNAL, plan)
    retrace(pruned, SIGNAL)
    assert plan.fraction <= 0.5
    assert [name for name, _ in pruned.named_parameters() if "weight_" in name or "original" in name] == []
    assert torch.equal(module(x), before)


@pytest.mark.parametrize("wrap", WRAPS)
def test_normed_networks_are_pruned_and_trained(wrap: Callable[[nn.Module], nn.Module]) -> None:
    chance = np.random.default_rng(0)
    x = chance.standard_normal((64, 4, 24)).astype(np.float32)
    data = nets.ArraySamples(x, chance.integers(0, 4, 64).astype(np.int64))
    outcome = prune_iteratively(
        normed(wrap), SIGNAL, data, lambda _: 1.0, MAGNITUDE,
        TrainConfig(epochs=1, batch_size=32, device="cpu"),
        limit=1.0, target_fraction=0.6, steps=IterateConfig(step_epochs=0.5),
    )  # fmt: skip
    assert outcome.plan.fraction <= 0.6


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_what_feeds_a_recurrent_layer_keeps_its_width_and_the_rest_is_pruned(cell: type[nn.Module]) -> None:
    module = Recurrent(cell).eval()
    assert widths(module, SIGNAL) == {"stem": 32, "hidden": 32}
    (reason,) = kept_whole(module, SIGNAL, MAGNITUDE).values()
    assert reason == f"goes into {'rnn_tanh' if cell is nn.RNN else cell.__name__.lower()}"
    plan = propose(module, SIGNAL, MAGNITUDE, 0.6)
    assert apply_plan(module, SIGNAL, plan)(torch.zeros(2, 4, 24)).shape == (2, 4)


def test_outputs_in_mappings_and_lists_and_none_are_no_hindrance() -> None:
    module = Detector().eval()
    plan = propose(module, nets.image_example(), MAGNITUDE, 0.5)
    pruned = apply_plan(module, nets.image_example(), plan)(torch.zeros(2, 3, 8, 8))
    assert widths(module, nets.image_example()) == {"stem": 16, "deep": 32}
    assert plan.fraction <= 0.5
    assert [tuple(scores.shape) for scores in pruned["scores"]] == [(2, 4, 4, 4), (2, 4, 2, 2)]
    assert pruned["aux"] is None


def test_tied_weights_keep_their_width() -> None:
    module, example = Tied().eval(), (np.zeros((1, 12), dtype=np.float32),)
    assert widths(module, example) == {"wide": 32}
    assert kept_whole(module, example, MAGNITUDE)["encode"] == "has weights that are used elsewhere too"
