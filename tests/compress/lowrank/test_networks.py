"""Factorized networks: which layers, which ranks, and what comes of training, saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import (
    FactorStep,
    LowRankPlan,
    RankOption,
    TrainConfig,
    accuracy,
    asked_ranks,
    chosen_steps,
    factorized,
    load_low_rank,
    plan_of,
    rank_options,
    sample_batches,
    save_pruned,
    train_low_rank,
)
from edgekit.compress.lowrank.applying import apply_low_rank, factorizable
from edgekit.errors import ModelError, StageError, UserError
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
SAMPLES = nets.random_samples(96, channels=1, classes=10)
TRAIN = TrainConfig(epochs=2, batch_size=32, learning_rate=0.02, device="cpu", augment="none")


class Tied(nn.Module):
    """One weight in two layers, one that is read and not called, one layer that stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.read, self.asked, self.free = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x.flatten(1)))
        x = nn.functional.linear(x, self.read.weight)
        x = self.asked(x).to(self.asked.weight.dtype)
        logits: torch.Tensor = self.free(x)
        return logits


class Encoder(nn.Module):
    """torch's own encoder layer between two linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(self.embed(x[:, 0])).mean(1))
        return logits


def network(kind: type[nn.Module]) -> Any:
    torch.manual_seed(3)
    return kind().eval()


def test_only_what_is_called_with_weights_of_its_own_is_factorized() -> None:
    assert list(factorizable(network(Tied), EXAMPLE)) == ["free"]
    names = list(factorizable(network(DepthwiseNet), nets.image_example(3, 32)))
    assert "block1.expand.0" in names
    assert not any("depthwise" in name for name in names)


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        (TinyConvNet, (("conv1", (8,)), ("conv2", (8, 4)), ("head", (4,)))),
        (TinyTransformer, (("embed", (8, 0)), ("qkv", (8,)), ("mlp.0", (4,)))),
        (Encoder, (("encoder.layers.0.self_attn.q_proj", (4,)), ("encoder.layers.0.linear1", (4,)))),
    ],
)
def test_a_factorized_network_runs_is_smaller_and_leaves_the_original_alone(kind: Any, ranks: Any) -> None:
    ranks = tuple(pair for pair in ranks if all(pair[1]))
    original = network(kind)
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    plan = asked_ranks(original, EXAMPLE, ranks)
    assert [(step.layer, step.ranks) for step in plan.steps] == list(ranks)
    assert 0 < plan.macs < plan.original_macs
    small = factorized(original, EXAMPLE, plan, SAMPLES)
    assert small(torch.from_numpy(SAMPLES.x)).shape == (96, 10)
    assert not small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        (
            (("head", (10,)),),
            "low rank: head has a full rank of 10, and 10 would not be lower; allowed: up to 9",
        ),
        ((("conv1", (48,)),), "conv1 has a full rank of 48, and 48 would not be lower"),
        (
            (("conv1", (4, 16)),),
            "conv1 has a full rank of 16x16, and 4x16 would not be lower; allowed: up to 15x15",
        ),
        (
            (("conv3", (4,)),),
            r"'conv3' is no layer that can be factorized; allowed: stem, conv1.*did you mean 'conv",
        ),
        ((("head", (4, 4)),), "head has 2 ranks; allowed: one rank"),
        ((("norm", (4,)),), "'norm' is no layer that can be factorized"),
    ],
)
def test_ranks_that_cannot_be_are_refused_in_one_line(ranks: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        asked_ranks(network(TinyConvNet), EXAMPLE, ranks)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (FactorStep("nowhere", "svd", (2,)), "no such layer"),
        (FactorStep("conv1", "svd", (2,)), "as svd, which it cannot be"),
        (FactorStep("head", "svd", (10,)), "may be up to 9"),
    ],
)
def test_a_plan_of_another_network_is_a_stage_error(step: FactorStep, told: str) -> None:
    with pytest.raises(StageError, match=told):
        apply_low_rank(network(TinyConvNet), EXAMPLE, LowRankPlan((step,)))


@pytest.mark.parametrize("kind", [TinyConvNet, TinyTransformer])
def test_options_save_macs_and_plans_keep_what_they_say(kind: Any) -> None:
    original = network(kind)
    options = rank_options(original, EXAMPLE, sample_batches(SAMPLES), 4)
    assert options == rank_options(original, EXAMPLE, sample_batches(SAMPLES), 4)
    assert all(option.saved > 0 and all(rank % 4 == 0 for rank in option.step.ranks) for option in options)
    assert all(-0.1 <= option.kept <= 1.0 + 1e-9 for option in options)
    fractions = []
    for energy in (0.95, 0.8, 0.6):
        chosen = chosen_steps(options, energy)
        plan = plan_of(original, EXAMPLE, [option.step for option in chosen.values()])
        assert plan.original_macs - plan.macs == sum(option.saved for option in chosen.values())
        fractions.append(plan.fraction)
    assert fractions == sorted(fractions, reverse=True)


OPTIONS = st.lists(
    st.builds(
        RankOption,
        st.builds(FactorStep, st.sampled_from("abc"), st.just("svd"), st.tuples(st.integers(1, 99))),
        st.integers(1, 1000),
        st.integers(1, 1000),
        st.floats(0.0, 1.0),
    )
)


@settings(deadline=None)
@given(OPTIONS, st.floats(0.0, 1.0))
def test_of_each_layer_the_cheapest_that_keeps_enough_is_chosen(
    options: list[RankOption], energy: float
) -> None:
    chosen = chosen_steps(options, energy)
    for layer in "abc":
        enough = [option for option in options if option.step.layer == layer and option.kept >= energy]
        assert (layer in chosen) is bool(enough)
        if enough:
            assert chosen[layer] in enough
            assert chosen[layer].macs == min(option.macs for option in enough)
    less = chosen_steps(options, energy / 2)
    assert all(less[layer].macs <= option.macs for layer, option in chosen.items())


def test_training_is_kept_comes_back_and_is_loaded_as_it_was(tmp_path: Path) -> None:
    original = network(TinyConvNet)
    plan = asked_ranks(original, EXAMPLE, (("conv1", (8,)), ("head", (4,))))

    def trained(folder: Path) -> Any:
        return train_low_rank(
            original, EXAMPLE, SAMPLES, lambda module: accuracy(module, SAMPLES) or 0.0, plan, TRAIN,
            limit=1.0, folder=folder,
        )  # fmt: skip

    outcome = trained(tmp_path)
    assert [record.kind for record in outcome.history] == ["final"]
    assert outcome.history[0].accepted
    begun = factorized(original, EXAMPLE, plan, SAMPLES).state_dict()
    assert any(not torch.equal(tensor, begun[name]) for name, tensor in outcome.module.state_dict().items())
    again, anew = trained(tmp_path), trained(tmp_path / "anew")
    save_pruned(tmp_path / "x.safetensors", outcome.module, outcome.plan)
    loaded = load_low_rank(tmp_path / "x.safetensors", original, EXAMPLE)
    for other in (again.module, anew.module, loaded):
        for name, tensor in outcome.module.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name])
    with pytest.raises(ModelError, match="does not fit"):
        load_low_rank(tmp_path / "x.safetensors", TinyConvNet(8).eval(), EXAMPLE)


def test_a_plan_that_changes_nothing_is_not_trained() -> None:
    with pytest.raises(StageError, match="factorizes nothing"):
        train_low_rank(network(TinyConvNet), EXAMPLE, SAMPLES, lambda _: 0.0, LowRankPlan(), TRAIN, limit=1.0)


def test_the_share_of_a_convolution_is_that_on_its_own_inputs() -> None:
    original = network(TinyConvNet)
    batches = sample_batches(SAMPLES)
    (option,) = [
        option
        for option in rank_options(original, EXAMPLE, batches, 4)
        if option.step == FactorStep("conv1", "spatial", (8,))
    ]
    small = apply_low_rank(original, EXAMPLE, LowRankPlan((option.step,)), batches)
    seen: list[torch.Tensor] = []
    original.conv1.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output)))
    with torch.no_grad():
        for batch in batches:
            original(*batch)
        inputs, outputs = torch.cat(seen[::2]), torch.cat(seen[1::2])
        error = (small.conv1(inputs) - outputs).square().sum()
    spread = (outputs - outputs.mean((0, 2, 3), keepdim=True)).square().sum()
    assert option.kept == pytest.approx(1 - float(error / spread), abs=1e-4)
    assert np.isfinite(option.kept)
