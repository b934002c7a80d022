"""Plans that drop blocks: written and read, one after the other, and the networks that they make."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PrunePlan,
    PruneStep,
    TrainConfig,
    accuracy,
    apply_plan,
    load_pruned,
    propose,
    propose_depth,
    prunable,
    prune_iteratively,
    save_pruned,
)
from edgekit.compress.pruning.cost import layer_macs
from edgekit.compress.pruning.groups import channel_groups
from edgekit.errors import UserError
from tests.compress import nets
from tests.compress.depth.test_blocks import EXAMPLE, Stages
from tests.one_thread import one_thread

__all__ = ["one_thread"]

MAGNITUDE = PruneConfig(importance="magnitude", round_to=4)


def macs(module: nn.Module) -> int:
    return sum(layer.macs for layer in layer_macs(module, EXAMPLE))


def test_a_plan_is_read_back_and_old_plans_stay_readable() -> None:
    plan = PrunePlan((PruneStep("stem", 4, (0, 2)),), 100, 50, ("blocks.1", "blocks.3"))
    assert PrunePlan.from_json(plan.to_json()) == plan
    old = '{"original_macs":100,"macs":50,"steps":[{"layer":"stem","width":4,"kept":[0,2]}]}'
    assert PrunePlan.from_json(old) == PrunePlan(plan.steps, 100, 50)
    assert PrunePlan(plan.steps, 100, 50).to_json() == old
    with pytest.raises(UserError, match="not a pruning plan: TypeError: dropped is a str"):
        PrunePlan.from_json('{"original_macs":1,"macs":1,"steps":[],"dropped":"blocks.1"}')


def test_channels_follow_blocks_and_not_the_other_way_round() -> None:
    blocks, channels = PrunePlan((), 100, 80, ("a",)), PrunePlan((PruneStep("stem", 4, (0, 2)),), 80, 40)
    assert blocks.then(channels) == PrunePlan(channels.steps, 100, 40, ("a",))
    assert blocks.then(PrunePlan((), 80, 60, ("b",))) == PrunePlan((), 100, 60, ("a", "b"))
    with pytest.raises(UserError, match="drop and merge blocks first"):
        channels.then(blocks)


def test_macs_are_those_of_the_network_that_is_left() -> None:
    network = Stages().eval()
    plan = propose_depth(network, EXAMPLE, ["blocks.1", "blocks.2"])
    left = apply_plan(network, EXAMPLE, plan)
    assert plan.dropped == ("blocks.1", "blocks.2")
    assert plan.original_macs == macs(network)
    assert plan.macs == macs(left) < macs(network)


def test_groups_that_are_within_a_dropped_block_vanish() -> None:
    network = Stages().eval()
    left = apply_plan(network, EXAMPLE, propose_depth(network, EXAMPLE, ["blocks.1"]))
    before = {group.layer for group in prunable(network, EXAMPLE, MAGNITUDE)}
    assert before - {group.layer for group in prunable(left, EXAMPLE, MAGNITUDE)} == {"blocks.1.conv1"}
    layers = {member.layer for group in channel_groups(left, EXAMPLE).groups for member in group.members}
    assert not any(layer.startswith("blocks.1.") for layer in layers)


def test_blocks_and_channels_are_kept_on_disk_as_one_plan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Stages().eval()
    depth = propose_depth(network, EXAMPLE, ["blocks.0", "blocks.2"])
    plan = propose(apply_plan(network, EXAMPLE, depth), EXAMPLE, MAGNITUDE, 0.3, previous=depth)
    assert plan.fraction <= 0.3
    pruned = apply_plan(network, EXAMPLE, plan)
    assert macs(pruned) == plan.macs
    save_pruned(tmp_path / "pruned.safetensors", pruned, plan)
    loaded, read = load_pruned(tmp_path / "pruned.safetensors", network, EXAMPLE)
    x = torch.randn(3, 16, 8, 8)
    assert read == plan
    assert torch.equal(loaded(x), pruned(x))


@pytest.mark.parametrize(("target", "steps"), [(1.0, 0), (0.4, 1)])
def test_dropped_blocks_are_trained_alone_or_before_channels(target: float, steps: int) -> None:
    torch.manual_seed(0)
    network, data = Stages().eval(), nets.random_samples(channels=16)
    outcome = prune_iteratively(
        network,
        EXAMPLE,
        data,
        lambda module: accuracy(module, data) or 0.0,
        PruneConfig(importance="magnitude", round_to=4, ratio_step=0.6),
        TrainConfig(epochs=1, batch_size=32, learning_rate=0.01),
        limit=1.0,
        target_fraction=target,
        dropped=["blocks.1"],
        steps=IterateConfig(step_epochs=1),
    )
    assert outcome.plan.dropped == ("blocks.1",)
    assert len(outcome.history) == steps + 1
    assert bool(outcome.plan.steps) == bool(steps)
    assert macs(outcome.module) == outcome.plan.macs <= target * macs(network)
