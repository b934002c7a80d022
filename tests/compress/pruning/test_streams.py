"""The width of a transformer's residual stream: norms go over the channels that are left, all else is as with zeros."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PrunePlan,
    PruneStep,
    TrainConfig,
    apply_plan,
    load_pruned,
    propose,
    propose_widths,
    prunable,
    prune_iteratively,
    save_pruned,
)
from edgekit.compress.base import Example
from edgekit.compress.folding import folded
from edgekit.compress.probe import make_lively
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.groups import ChannelGroup, channel_groups
from edgekit.compress.pruning.importance import Importance
from edgekit.compress.pruning.propose import kept_whole, sound_grouping
from edgekit.compress.pruning.soundness import retrace
from edgekit.testing.networks import TinyTransformer
from tests.compress import nets
from tests.compress import transformers as written
from tests.compress.nets import inputs_of
from tests.planning.attentions import IMAGES, SENTENCES, small_bert, small_vit

MAGNITUDE = PruneConfig(importance="magnitude", round_to=2)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Example]] = {
    "tiny": (TinyTransformer, written.IMAGE),
    "fused": (written.FusedViT, written.IMAGE),
    "separate": (written.SeparateViT, written.IMAGE),
    "bert": (written.BertLike, written.TOKENS),
    "gpt": (written.GptLike, written.IMAGE),
    "torch": (written.TorchEncoder, written.IMAGE),
    "torch-tokens-first": (
        functools.partial(written.TorchEncoder, batch_first=False, norm_first=True),
        written.IMAGE,
    ),
    "library-vit": (functools.partial(small_vit, depth=1), IMAGES),
    "library-bert": (small_bert, SENTENCES),
}


@functools.cache
def network(name: str) -> nn.Module:
    """In plain layers, lively, with class tokens and positions that are not almost zero."""
    torch.manual_seed(0)
    module = folded(NETWORKS[name][0]().eval())
    make_lively(module)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 3:
                parameter.copy_(torch.randn(parameter.shape))
    return module


@functools.cache
def stream_of(name: str) -> ChannelGroup:
    """Its group that norms go across."""
    grouping = sound_grouping(network(name), NETWORKS[name][1], MAGNITUDE)
    (stream,) = (group for group in grouping.groups if group.normalizing)
    return stream


class OverSome(nn.Module):
    """A layer norm in which only some channels count; the others come out as noise that nobody may read."""

    def __init__(self, norm: nn.LayerNorm, kept: tuple[int, ...]) -> None:
        super().__init__()
        self.norm, self.kept = norm, list(kept)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.randn_like(x)
        weight, bias = self.norm.weight[self.kept], self.norm.bias[self.kept]
        y[..., self.kept] = F.layer_norm(x[..., self.kept], (len(self.kept),), weight, bias, self.norm.eps)
        return y


def ignoring(name: str, kept: tuple[int, ...]) -> nn.Module:
    """The network with its norms over these channels, and zeros where any layer reads another of the stream."""
    module, stream = copy.deepcopy(network(name)), stream_of(name)
    gone = [channel for channel in range(stream.width) if channel not in kept]
    with torch.no_grad():
        for reader in stream.readers:
            module.get_submodule(reader.layer).get_parameter("weight")[:, gone] = 0.0
    for layer in stream.normalizing:
        owner, _, own = layer.rpartition(".")
        setattr(module.get_submodule(owner), own, OverSome(module.get_submodule(layer), kept))
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_a_narrower_stream_computes_what_norms_over_its_channels_give(name: str) -> None:
    example, stream = NETWORKS[name][1], stream_of(name)
    kept = tuple(range(1, stream.width, 3))
    pruned = apply_plan(network(name), example, PrunePlan((PruneStep(stream.layer, stream.width, kept),)))
    retrace(pruned, example)
    torch.backends.mha.set_fastpath_enabled(False)  # it would not call the norms as layers
    try:
        wanted = ignoring(name, kept)(*inputs_of(example))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    got = pruned(*inputs_of(example))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(got, network(name)(*inputs_of(example)), atol=1e-2)
    for tensor in stream.stored:
        cut = dict((*pruned.named_parameters(), *pruned.named_buffers()))[tensor.name]
        assert cut.shape[tensor.axis] == len(kept)


def test_all_that_holds_the_stream_is_told() -> None:
    stream = stream_of("library-bert")
    assert {tensor.name.split(".")[-2] for tensor in stream.stored} == {
        "word_embeddings", "token_type_embeddings", "position_embeddings"
    }  # fmt: skip
    assert {tensor.axis for tensor in stream.stored} == {1}
    assert len(stream.normalizing) == 3
    vit = stream_of("library-vit")
    assert [tensor.name.rpartition(".")[2] for tensor in vit.stored] == ["cls_token", "position_embeddings"]


@pytest.mark.parametrize("name", ["fused", "bert", "torch"])
def test_stream_heads_and_perceptrons_go_together_and_are_counted_rightly(name: str) -> None:
    example = NETWORKS[name][1]
    groups = prunable(network(name), example, MAGNITUDE)
    widths = {group.layer: group.allowed[len(group.allowed) // 2] for group in groups}
    plan = propose_widths(network(name), example, widths, MAGNITUDE)
    pruned = apply_plan(network(name), example, plan)
    assert len(plan.steps) == len(groups)
    assert plan.macs == network_macs(pruned, example)
    assert pruned(*inputs_of(example)).shape == network(name)(*inputs_of(example)).shape


@pytest.mark.parametrize("name", ["fused", "tiny", "bert"])
def test_a_stream_pruned_twice_is_pruned_once(name: str) -> None:
    """Forwards that compute sizes from the width of their input keep them both times."""
    example, stream = NETWORKS[name][1], stream_of(name).layer
    first = propose_widths(network(name), example, {stream: 24}, MAGNITUDE)
    once = apply_plan(network(name), example, first)
    assert stream in {group.layer for group in prunable(once, example, MAGNITUDE)}
    second = propose_widths(once, example, {stream: 10}, MAGNITUDE)
    x = inputs_of(example)
    twice = apply_plan(once, example, second)
    assert torch.allclose(twice(*x), apply_plan(network(name), example, first.then(second))(*x), atol=1e-5)


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "activation"])
def test_every_importance_finds_dead_channels_behind_the_norms(importance: Importance) -> None:
    """Norms that scale a channel to nothing hide it from every reader."""
    torch.manual_seed(0)
    module = written.FusedViT(depth=1).eval()
    dead = (3, 17, 30)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.LayerNorm):
                part.weight[list(dead)] = 1e-4
                part.bias[list(dead)] = 0.0
    samples = np.random.default_rng(0).standard_normal((64, 1, 8, 8)).astype(np.float32)
    data = nets.ArraySamples(samples, np.arange(64) % 10)
    config = PruneConfig(importance=importance, round_to=1)
    plan = propose_widths(module, written.IMAGE, {"patches": 29}, config, data)
    assert plan.steps[0].removed == dead


def test_a_saved_one_is_made_again_from_a_fresh_original(tmp_path: Path) -> None:
    module = small_bert()
    stream = "net.bert.encoder.layer.0.attention.output.dense"
    plan = propose_widths(module, SENTENCES, {stream: 40}, MAGNITUDE)
    pruned = apply_plan(module, SENTENCES, plan)
    save_pruned(tmp_path / "pruned.safetensors", pruned, plan)
    again, read = load_pruned(tmp_path / "pruned.safetensors", small_bert(), SENTENCES)
    assert read == plan
    assert torch.equal(again(*inputs_of(SENTENCES)), pruned(*inputs_of(SENTENCES)))


def test_a_stream_is_pruned_step_by_step_and_trained() -> None:
    rng = np.random.default_rng(0)
    data = nets.ArraySamples(rng.standard_normal((64, 1, 8, 8)).astype(np.float32), np.arange(64) % 10)
    config = PruneConfig(round_to=4, ratio_step=0.35, keep=("*.qkv", "*.up"))
    outcome = prune_iteratively(
        written.FusedViT(depth=1), written.IMAGE, data, lambda _: 1.0, config,
        TrainConfig(epochs=1, batch_size=32, device="cpu"),
        limit=1.0, target_fraction=0.4, steps=IterateConfig(step_epochs=0.5),
    )  # fmt: skip
    assert outcome.plan.fraction <= 0.4
    assert list(outcome.plan.widths) == ["patches"]


def test_by_work_alone_a_stream_is_no_cheaper_than_what_each_block_has_of_its_own() -> None:
    """All blocks read less of it: it would go first, for the price of a single group."""
    module = written.FusedViT(depth=2).eval()
    plan = propose(module, written.IMAGE, MAGNITUDE, 0.6)
    assert plan.widths.get("patches", 32) >= 24
    assert any(name.endswith("mlp.up") for name in plan.widths)


def test_scope_inner_leaves_the_stream() -> None:
    inner = PruneConfig(importance="magnitude", round_to=4, scope="inner")
    names = {group.layer for group in prunable(written.FusedViT().eval(), written.IMAGE, inner)}
    assert "patches" not in names
    assert "blocks.0.attn.qkv" in names


class Refused(nn.Module):
    """A stream of 16 channels with something in it that no narrower one could do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)
        self.norm: nn.Module = nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.head(self.inside(x + self.second(x)))

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(x)
        return normed


class Sliced(Refused):
    """It takes a part of the channels by number."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(11, 3)

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        return super().inside(x)[..., 5:]


class InGroups(Refused):
    """Narrower, its channels would be in other groups."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return normed


class ByHand(Refused):
    """A norm that is no layer takes its mean over whatever is there."""

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm.weight * (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


class OverTokens(Refused):
    """One norm over tokens and channels, which has weights for each."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((5, 16))


class Tied(Refused):
    """The table of tokens gives the outputs, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 16), nn.Linear(16, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.table((x[..., 0] > 0).long())
        return self.head(self.inside(table + self.second(table)))


REFUSED: dict[type[nn.Module], str] = {
    Sliced: "would compute something else",
    InGroups: "goes into group_norm, whose statistics are taken across its channels",
    ByHand: "goes into mean",
    OverTokens: "goes into layer_norm, whose statistics are taken across its channels",
    Tied: "goes into linear",  # which layer's weights these are, nothing tells
}


@pytest.mark.parametrize("make", REFUSED)
def test_a_stream_that_could_not_be_narrower_keeps_its_width_and_the_reason_is_told(
    make: type[nn.Module],
) -> None:
    example: Example = (np.random.default_rng(0).standard_normal((1, 5, 4)).astype(np.float32),)
    torch.manual_seed(0)
    module = make().eval()
    assert not any(group.layer in ("first", "second") for group in prunable(module, example, MAGNITUDE))
    assert kept_whole(module, example, MAGNITUDE)["second"] == REFUSED[make]


class Normed(Refused):
    """With a norm of another kind across all channels."""

    def __init__(self, norm: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.norm = norm()

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.norm, nn.GroupNorm):
            normed: torch.Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
            return normed
        return super().inside(x)


def root_mean_square(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()


def over_all(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), keepdim=True, unbiased=False) + 1e-3).sqrt()


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (lambda: nn.RMSNorm(16, eps=1e-3), root_mean_square),
        (lambda: nn.GroupNorm(1, 16, eps=1e-3), over_all),
    ],
)
def test_other_norms_go_over_the_channels_that_are_left(
    make: Callable[[], nn.Module], formula: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    module: Any = Normed(make).eval()
    make_lively(module)
    example: Example = (np.zeros((1, 5, 4), dtype=np.float32),)
    kept = [0, 2, 3, 7, 8, 15]
    pruned = apply_plan(module, example, PrunePlan((PruneStep("first", 16, tuple(kept)),)))
    assert "first" in {group.layer for group in prunable(module, example, MAGNITUDE)}
    x = torch.randn(3, 5, 4)
    with torch.no_grad():
        stream = module.first(x)[..., kept]
        stream = stream + (stream @ module.second.weight[kept][:, kept].mT + module.second.bias[kept])
        normed = formula(stream) * module.norm.weight[kept]
        if isinstance(module.norm, nn.GroupNorm):
            normed = normed + module.norm.bias[kept]
        wanted = normed @ module.head.weight[:, kept].mT + module.head.bias
        torch.testing.assert_close(pruned(x), wanted, rtol=1e-4, atol=1e-5)


class WrongNorm(nn.LayerNorm):
    """It says that it is a layer norm, and centres its result once more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y - y.amax(-1, keepdim=True)


def test_a_norm_that_does_more_than_a_norm_is_not_believed() -> None:
    example: Example = (np.random.default_rng(0).standard_normal((1, 5, 4)).astype(np.float32),)
    module = Normed(lambda: WrongNorm(16)).eval()
    assert [group.layer for group in channel_groups(module, example).groups] == []
    assert kept_whole(module, example, MAGNITUDE)["first"] == "goes into amax"
