"""Harm as it is measured: nothing for what does nothing, the same for the same seed, and the network as it was."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import (
    PruneConfig,
    Sensitivity,
    SensitivityConfig,
    joined,
    measure_blocks,
    measure_sensitivity,
    sensitivity_parts,
)
from edgekit.compress.sensitivity.divergence import OriginalOutputs
from edgekit.errors import DataError, StageError, UserError
from tests.compress import nets
from tests.compress.depth.test_blocks import EXAMPLE, Basic
from tests.one_thread import one_thread

__all__ = ["one_thread"]

PRUNING = PruneConfig(importance="magnitude", round_to=4)
CONFIG = SensitivityConfig(fractions=(0.5, 0.25), samples=64, batch_size=32)
SAMPLES = nets.random_samples(128, channels=16)


class Deep(nn.Module):
    """Three blocks: one whose inner channels are half dead, one that does next to nothing, one as any."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(Basic(), Basic(), Basic())
        self.head = nn.Linear(16, 4)
        with torch.no_grad():
            self.head.weight *= 5.0
            self.blocks[0].bn1.weight[:8] = 0.0
            self.blocks[0].bn1.bias[:8] = 0.0
            self.blocks[1].bn2.weight.fill_(1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> Deep:
    return Deep().eval()


@pytest.fixture(scope="module")
def measured(network: Deep) -> Sensitivity:
    before = copy.deepcopy(network.state_dict())
    result = measure_sensitivity(network, EXAMPLE, SAMPLES, PRUNING, CONFIG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return result


def test_everything_is_measured(measured: Sensitivity) -> None:
    assert [group.layer for group in measured.groups] == [f"blocks.{number}.conv1" for number in range(3)]
    assert [[point.width for point in group.measured] for group in measured.groups] == [[8, 4]] * 3
    assert [block.name for block in measured.blocks] == [f"blocks.{number}" for number in range(3)]
    assert len(measured.layers) == 7
    assert measured.samples == 64


def test_channels_that_are_dead_and_blocks_that_do_nothing_do_no_harm(measured: Sensitivity) -> None:
    half, quarter = measured.groups[0].measured
    assert half.harm < 1e-6 < quarter.harm
    assert measured.groups[0].lost[8] == pytest.approx(0.0, abs=1e-9)
    idle, busy = measured.blocks[1].harm, measured.blocks[2].harm
    assert idle < 1e-3 * busy


def test_a_layer_in_int8_does_less_harm_than_one_that_is_gone(measured: Sensitivity) -> None:
    harms = [layer.harm["int8"] for layer in measured.layers]
    assert all(0.0 <= harm < measured.blocks[2].harm for harm in harms)
    assert max(harms) > 0.0


def test_the_same_is_measured_again_and_other_samples_say_otherwise(
    network: Deep, measured: Sensitivity
) -> None:
    assert measure_sensitivity(network, EXAMPLE, SAMPLES, PRUNING, CONFIG) == measured
    blocks = measure_blocks(network, EXAMPLE, SAMPLES, CONFIG)
    assert blocks == measured.blocks
    assert measure_blocks(network, EXAMPLE, SAMPLES, replace(CONFIG, seed=1)) != blocks


def test_too_few_samples_and_bad_numbers_are_refused(network: Deep) -> None:
    few = nets.ArraySamples(SAMPLES.x[:1], None)
    with pytest.raises(DataError, match="sensitivity got 1 samples; allowed: 32 or more"):
        measure_blocks(network, EXAMPLE, few, CONFIG)
    with pytest.raises(UserError, match="fractions are"):
        SensitivityConfig(fractions=(1.0,))
    with pytest.raises(UserError, match="batch_size is 1"):
        SensitivityConfig(batch_size=1)


def test_all_that_it_depends_on_is_in_its_key() -> None:
    parts = [sensitivity_parts("model", "samples", PRUNING, CONFIG)]
    others = {"fractions": (0.9,), "samples": 96, "batch_size": 16, "seed": 3}
    assert set(others) == {field.name for field in fields(CONFIG)}
    parts += [
        sensitivity_parts("model", "samples", PRUNING, replace(CONFIG, **{name: value}))
        for name, value in others.items()
    ]
    parts += [
        sensitivity_parts("other", "samples", PRUNING, CONFIG),
        sensitivity_parts("model", "other", PRUNING, CONFIG),
        sensitivity_parts("model", "samples", replace(PRUNING, round_to=8), CONFIG),
    ]
    assert len({repr(part) for part in parts}) == len(parts)


class Giving(nn.Module):
    """Gives its input plus something."""

    def __init__(self, plus: float) -> None:
        super().__init__()
        self.plus = plus

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = x.clone()
        moved[:, 0] += self.plus
        return moved


def test_class_scores_diverge_as_kullback_and_leibler_say() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    p, q = x.double().softmax(1), (x.double() + torch.tensor([1.0, 0.0, 0.0])).softmax(1)
    wanted = float((p * (p / q).log()).sum(1).mean())
    assert OriginalOutputs(Giving(0.0), [(x,)]).divergence(Giving(1.0)) == pytest.approx(wanted, rel=1e-5)


def test_other_outputs_diverge_by_their_error_over_their_spread() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 4, 2, 2)).astype(np.float32))
    wanted = 0.25 / float(x.var(unbiased=False))
    original = OriginalOutputs(Giving(0.0), [(x[:4],), (x[4:],)])
    assert original.divergence(Giving(1.0)) == pytest.approx(wanted, rel=1e-5)
    assert original.divergence(Giving(0.0)) == 0.0


def test_what_is_not_finite_is_as_far_as_can_be_and_cannot_be_compared_with() -> None:
    x = torch.ones(2, 3)
    assert OriginalOutputs(Giving(0.0), [(x,)]).divergence(Giving(float("nan"))) == 1e9
    with pytest.raises(StageError, match="not finite"):
        OriginalOutputs(Giving(float("inf")), [(x,)])


def test_shares_that_are_joined_are_the_whole(network: Deep, measured: Sensitivity) -> None:
    shares = [
        measure_sensitivity(network, EXAMPLE, SAMPLES, PRUNING, CONFIG, share=(place, 2))
        for place in range(2)
    ]
    assert all(len(share.groups) < len(measured.groups) for share in shares)
    assert joined(shares) == measured
