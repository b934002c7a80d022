from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    PruneStep,
    apply_plan,
    propose,
    propose_widths,
    prunable,
)
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.groups import channel_groups
from edgekit.compress.pruning.importance import Importance
from edgekit.compress.pruning.propose import allowed_widths
from edgekit.compress.pruning.soundness import retrace
from edgekit.errors import StageError, UserError
from tests.compress import nets

MAGNITUDE = PruneConfig(importance="magnitude", round_to=4)
NETS = [nets.Plain, nets.Residual, nets.PaddedShortcut, nets.Depthwise, nets.Concat, nets.Attention]


def macs(module: nn.Module) -> int:
    return network_macs(module, nets.image_example())


@pytest.mark.parametrize("factory", NETS)
def test_half_of_the_channels_go_and_the_output_shape_stays(factory: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = factory().eval()
    plan = nets.half_of_all(module, nets.image_example(), MAGNITUDE)
    pruned = apply_plan(module, nets.image_example(), plan)
    assert plan.steps
    assert pruned(torch.zeros(5, 3, 8, 8)).shape == (5, 4)
    assert macs(pruned) == plan.macs < plan.original_macs == macs(module)


@pytest.mark.parametrize("factory", [nets.Residual, nets.Depthwise, nets.Attention])
def test_a_pruned_network_traces_again_and_is_dense(factory: type[nn.Module]) -> None:
    module = factory().eval()
    pruned = apply_plan(
        module, nets.image_example(), nets.half_of_all(module, nets.image_example(), MAGNITUDE)
    )
    retrace(pruned, nets.image_example())
    assert all(
        isinstance(layer, type(before))
        for layer, before in zip(pruned.modules(), module.modules(), strict=True)
    )
    assert not list(pruned.buffers()) or all("mask" not in name for name, _ in pruned.named_buffers())


def test_the_original_is_left_as_it_was() -> None:
    module = nets.Residual().eval()
    before = copy.deepcopy(module.state_dict())
    apply_plan(module, nets.image_example(), propose(module, nets.image_example(), MAGNITUDE, 0.6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_channels_that_do_nothing_go_first_and_the_outputs_stay() -> None:
    torch.manual_seed(0)
    module = nets.Plain().eval()
    dead = [1, 4, 6, 7, 9, 10, 13, 15]
    with torch.no_grad():
        module.conv1.weight[dead] = 0.0
        module.bn1.weight[dead] = 0.0
        module.bn1.bias[dead] = 0.0
    plan = propose_widths(module, nets.image_example(), {"conv1": 8}, MAGNITUDE)
    pruned = apply_plan(module, nets.image_example(), plan)
    x = torch.randn(4, 3, 8, 8)
    assert plan.steps[0].removed == tuple(dead)
    assert torch.allclose(pruned(x), module(x), atol=1e-5)


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "activation"])
def test_every_importance_finds_dead_channels(importance: Importance) -> None:
    torch.manual_seed(0)
    module = nets.Residual().eval()
    with torch.no_grad():
        module.inner1.weight[:12] *= 1e-4
        module.inner1.bias[:12] = 0.0
    config = PruneConfig(importance=importance, round_to=4)
    data = nets.random_samples()
    plan = propose_widths(module, nets.image_example(), {"inner1": 12}, config, data)
    assert plan.steps[0].kept == tuple(range(12, 24))


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_importance_works_without_labels(importance: Importance) -> None:
    module = nets.Concat().eval()
    data = nets.ArraySamples(nets.random_samples().x, None)
    plan = propose(module, nets.image_example(), PruneConfig(importance=importance, round_to=4), 0.6, data)
    assert plan.fraction <= 0.6


def test_importance_from_data_asks_for_data() -> None:
    with pytest.raises(UserError, match="taylor needs samples"):
        propose(nets.Plain(), nets.image_example(), PruneConfig(importance="taylor"), 0.5)


@pytest.mark.parametrize("fraction", [0.9, 0.7, 0.5])
def test_the_wanted_fraction_of_macs_is_reached(fraction: float) -> None:
    module = nets.Residual().eval()
    plan = propose(module, nets.image_example(), MAGNITUDE, fraction)
    assert plan.fraction <= fraction
    assert macs(apply_plan(module, nets.image_example(), plan)) / macs(module) <= fraction


def test_widths_are_multiples_of_what_the_target_likes() -> None:
    module = nets.Residual().eval()
    plan = propose(module, nets.image_example(), PruneConfig(importance="magnitude", round_to=8), 0.5)
    assert {width % 8 for width in plan.widths.values()} == {0}


def test_a_wish_beyond_the_allowed_widths_ends_there() -> None:
    module = nets.Plain().eval()
    plan = propose(module, nets.image_example(), PruneConfig(importance="magnitude", round_to=16), 0.01)
    assert plan.widths == {"conv1": 8, "conv2": 16}


def test_class_outputs_are_never_pruned() -> None:
    for factory in NETS:
        names = {group.layer for group in prunable(factory().eval(), nets.image_example(), MAGNITUDE)}
        assert "head" not in names


def test_a_residual_stream_is_pruned_together() -> None:
    module = nets.Residual().eval()
    plan = propose_widths(module, nets.image_example(), {"stem": 8}, MAGNITUDE)
    pruned = apply_plan(module, nets.image_example(), plan)
    assert [pruned.get_submodule(name).weight.shape[0] for name in ("stem", "outer1", "outer2")] == [8, 8, 8]


def test_scope_inner_leaves_the_residual_stream() -> None:
    config = PruneConfig(importance="magnitude", round_to=4, scope="inner")
    groups = prunable(nets.Residual().eval(), nets.image_example(), config)
    assert [group.layer for group in groups] == ["inner1", "inner2"]


def test_a_padded_shortcut_keeps_its_width() -> None:
    groups = prunable(nets.PaddedShortcut().eval(), nets.image_example(), MAGNITUDE)
    assert [group.layer for group in groups] == ["conv1"]


def test_of_an_attention_block_stream_perceptron_widths_and_heads_are_pruned() -> None:
    groups = prunable(nets.Attention().eval(), nets.image_example(), MAGNITUDE)
    widths = {group.layer: group.width for group in groups}
    assert widths == {"embed": 32, "qkv": 8, "wide": 64, "qkv heads": 4}


def test_a_depthwise_convolution_follows_its_maker() -> None:
    module = nets.Depthwise().eval()
    pruned = apply_plan(
        module,
        nets.image_example(),
        propose_widths(module, nets.image_example(), {"expand": 16}, MAGNITUDE),
    )
    assert (pruned.depthwise.groups, pruned.depthwise.weight.shape[0]) == (16, 16)


def test_kept_layers_are_not_pruned() -> None:
    config = PruneConfig(importance="magnitude", round_to=4, keep=("inner*",))
    groups = prunable(nets.Residual().eval(), nets.image_example(), config)
    assert [group.layer for group in groups] == ["stem"]


def test_a_network_without_prunable_channels_is_refused() -> None:
    example = (np.zeros((1, 12), dtype=np.float32),)
    with pytest.raises(StageError, match="no channels can be pruned"):
        propose(nets.OnlyGroupNorm().eval(), example, MAGNITUDE, 0.5)


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("only works on Tuesdays")

    with pytest.raises(StageError, match="only works on Tuesdays"):
        channel_groups(Detached(), (np.zeros((1, 4), dtype=np.float32),))


def test_pruning_twice_equals_one_plan_from_the_original() -> None:
    torch.manual_seed(0)
    module = nets.Residual().eval()
    example = nets.image_example()
    first = propose(module, example, MAGNITUDE, 0.8)
    once = apply_plan(module, example, first)
    both = propose(once, example, MAGNITUDE, 0.5, previous=first)
    again = apply_plan(module, example, both)
    assert both.original_macs == macs(module)
    assert macs(again) == both.macs <= 0.5 * both.original_macs
    assert both.steps != first.steps


def test_a_plan_travels_as_json() -> None:
    plan = propose(nets.Concat().eval(), nets.image_example(), MAGNITUDE, 0.5)
    assert PrunePlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"steps": [1], "macs": 1, "original_macs": 1}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a pruning plan"):
        PrunePlan.from_json(text)


def test_a_plan_for_another_network_is_refused() -> None:
    plan = PrunePlan((PruneStep("conv1", 99, (0, 1)),))
    with pytest.raises(StageError, match="99 channels"):
        apply_plan(nets.Plain(), nets.image_example(), plan)


def test_an_unknown_width_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UserError, match="cannot prune head to 2 channels; allowed: conv1 1-16"):
        propose_widths(nets.Plain().eval(), nets.image_example(), {"head": 2}, MAGNITUDE)


@pytest.mark.parametrize(
    "fields", [{"ratio_step": 0.0}, {"importance": "luck"}, {"round_to": 0}, {"scope": "outer"}]
)
def test_a_wrong_configuration_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        PruneConfig(**fields)  # type: ignore[arg-type]


@given(width=st.integers(2, 4096), round_to=st.integers(1, 64))
def test_every_width_is_a_multiple_or_half_of_a_small_group(width: int, round_to: int) -> None:
    first, *smaller = allowed_widths(width, round_to)
    assert first == width
    assert all(0 < count < width for count in smaller)
    assert all(count % round_to == 0 for count in smaller) or (width <= round_to and smaller == [width // 2])


@given(width=st.integers(2, 4096), round_to=st.integers(1, 64))
def test_nothing_goes_below_the_floor(width: int, round_to: int) -> None:
    assert min(allowed_widths(width, round_to)) >= min(round_to, width // 2)


@given(width=st.integers(2, 512), least=st.integers(1, 512))
def test_at_least_min_channels_stay(width: int, least: int) -> None:
    assert all(count >= least for count in allowed_widths(width, 8, least)[1:])
