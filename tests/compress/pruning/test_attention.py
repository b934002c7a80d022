"""Transformers: heads, widths of queries and keys, of values and of perceptrons; attention shapes stay valid."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PrunePlan,
    PruneStep,
    TrainConfig,
    apply_plan,
    droppable_blocks,
    load_pruned,
    propose,
    propose_depth,
    propose_widths,
    prunable,
    prune_iteratively,
    save_pruned,
)
from edgekit.compress.base import Example
from edgekit.compress.folding import folded
from edgekit.compress.probe import make_lively
from edgekit.compress.pruning import groups
from edgekit.compress.pruning.cost import layer_macs, network_macs
from edgekit.compress.pruning.groups import ChannelGroup, channel_groups
from edgekit.compress.pruning.importance import Importance
from edgekit.compress.pruning.propose import kept_whole, sound_grouping
from edgekit.compress.pruning.slicing import cut
from edgekit.compress.pruning.soundness import retrace
from edgekit.model.export import export_onnx
from edgekit.planning.coupling import coupled
from tests.compress import nets
from tests.compress import transformers as written
from tests.compress.nets import inputs_of

MAGNITUDE = PruneConfig(importance="magnitude", round_to=2)


@dataclass(frozen=True)
class Kind:
    """A way to write an attention. `queries`, `values`: the layers that make them (one for all where `fused`)."""

    make: Callable[[], nn.Module]
    example: Example
    queries: str
    keys: str
    values: str
    out: str
    heads: int = 4
    width: int = 8

    @property
    def fused(self) -> bool:
        return self.queries == self.values


FUSED, SEPARATE = ("blocks.0.attn.qkv",) * 3, [f"blocks.0.attn.{name}" for name in ("query", "key", "value")]
TORCH = [f"encoder.layers.0.self_attn.{name}_proj" for name in ("q", "k", "v")]
KINDS = {
    "fused": Kind(written.FusedViT, written.IMAGE, *FUSED, "blocks.0.attn.proj"),
    "fused-operator": Kind(
        functools.partial(written.FusedViT, explicit=False), written.IMAGE, *FUSED, "blocks.0.attn.proj"
    ),
    "three-heads": Kind(
        functools.partial(written.FusedViT, 24, 3, 1), written.IMAGE, *FUSED, "blocks.0.attn.proj", heads=3
    ),
    "as-many-heads-as-channels": Kind(
        functools.partial(written.FusedViT, 16, 4, 1), written.IMAGE, *FUSED, "blocks.0.attn.proj", width=4
    ),
    "separate": Kind(written.SeparateViT, written.IMAGE, *SEPARATE, "blocks.0.attn.out"),
    "separate-operator": Kind(
        functools.partial(written.SeparateViT, explicit=False), written.IMAGE, *SEPARATE, "blocks.0.attn.out"
    ),
    "bert": Kind(
        written.BertLike, written.TOKENS, "layers.0.query", "layers.0.key", "layers.0.value", "layers.0.dense"
    ),
    "gpt": Kind(written.GptLike, written.IMAGE, "attend", "attend", "attend", "proj"),
    "torch": Kind(written.TorchEncoder, written.IMAGE, *TORCH, "encoder.layers.0.self_attn.out_proj"),
    "torch-tokens-first": Kind(
        functools.partial(written.TorchEncoder, batch_first=False, norm_first=True),
        written.IMAGE, *TORCH, "encoder.layers.0.self_attn.out_proj",
    ),
}  # fmt: skip


@functools.cache
def network(name: str) -> nn.Module:
    """In plain layers, with attention that is far from uniform."""
    torch.manual_seed(0)
    module = folded(KINDS[name].make().eval())
    make_lively(module)
    return module


@functools.cache
def groups_of(name: str) -> dict[str, ChannelGroup]:
    return {group.layer: group for group in channel_groups(network(name), KINDS[name].example).groups}


def masked(name: str, heads: set[int], queries: set[int], values: set[int]) -> nn.Module:
    """The network as it was, with zeros instead of these heads, and of these channels of each head."""
    kind = KINDS[name]
    module = copy.deepcopy(network(name))
    layers = dict(module.named_modules())
    whole = kind.heads * kind.width
    with torch.no_grad():
        for head in range(kind.heads):
            for part, layer in enumerate((kind.queries, kind.keys)):
                first = whole * part * kind.fused + head * kind.width
                rows = [first + channel for channel in queries]
                layers[layer].weight[rows] = 0.0
                layers[layer].bias[rows] = 0.0
            gone = range(kind.width) if head in heads else values
            layers[kind.out].weight[:, [head * kind.width + channel for channel in gone]] = 0.0
    return module


def fewer(most: int) -> st.SearchStrategy[set[int]]:
    """What goes of `most`: never all."""
    return st.sets(st.integers(0, most - 1), max_size=most - 1)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_without_heads_and_channels_it_computes_what_it_does_with_zeros_for_them(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    heads, queries = data.draw(fewer(kind.heads)), data.draw(fewer(kind.width))
    values = queries if kind.fused else data.draw(fewer(kind.width))
    gone = {f"{kind.queries} heads": heads, kind.queries: queries, kind.values: values}
    known = groups_of(name)
    steps = tuple(
        PruneStep(group, known[group].width, tuple(sorted(set(range(known[group].width)) - removed)))
        for group, removed in gone.items()
        if removed
    )
    pruned = cut(network(name), list(known.values()), PrunePlan(steps))
    x = inputs_of(kind.example)
    wanted = masked(name, heads, queries, values)(*x)
    assert torch.allclose(pruned(*x), wanted, atol=1e-5)
    left = (kind.heads - len(heads)) * (kind.width - len(values))
    assert pruned.get_submodule(kind.out).in_features == left


def test_the_networks_here_attend_to_some_more_than_to_others() -> None:
    """Else a wrong query would not show."""
    for name, kind in KINDS.items():
        x = inputs_of(kind.example)
        with torch.no_grad():
            distance = network(name)(*x) - masked(name, set(), set(range(kind.width)), set())(*x)
        assert float(distance.abs().max()) > 0.05, name


@pytest.mark.parametrize("name", KINDS)
def test_all_of_it_is_found_sound(name: str) -> None:
    kind = KINDS[name]
    found = {group.layer: group for group in prunable(kind.make().eval(), kind.example, MAGNITUDE)}
    assert found[f"{kind.queries} heads"].allowed == tuple(range(kind.heads, 0, -1))
    assert found[kind.queries].width == found[kind.values].width == kind.width
    assert found[kind.queries].allowed == tuple(range(kind.width, 0, -2))


@pytest.mark.parametrize("name", ["fused", "separate", "bert", "torch"])
def test_half_of_the_work_goes_and_it_is_counted_rightly(name: str) -> None:
    kind = KINDS[name]
    module = kind.make().eval()
    plan = propose(module, kind.example, MAGNITUDE, 0.5)
    pruned = apply_plan(module, kind.example, plan)
    retrace(pruned, kind.example)
    assert plan.fraction <= 0.5
    assert plan.macs == network_macs(pruned, kind.example)
    assert pruned(*inputs_of(kind.example)).shape[0] == 3


@pytest.mark.parametrize("name", KINDS)
def test_products_of_activations_are_counted_by_the_graph_as_by_a_run(name: str) -> None:
    kind = KINDS[name]
    module = folded(kind.make().eval())
    layers = sum(layer.macs for layer in layer_macs(module, kind.example))
    grouping = channel_groups(module, kind.example)
    assert grouping.products
    assert network_macs(module, kind.example) - layers == sum(product.macs for product in grouping.products)
    attended = {f"{kind.queries} heads", kind.queries, kind.values}
    assert attended <= {name for product in grouping.products for name in product.groups}


@pytest.mark.parametrize("name", ["separate", "separate-operator"])
def test_a_scale_that_changed_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "scales_of", lambda recorded, width: iter(()))
    kind = KINDS[name]
    found = {group.layer for group in prunable(kind.make().eval(), kind.example, MAGNITUDE)}
    assert kind.queries not in found
    assert {kind.values, f"{kind.queries} heads"} <= found
    assert kind.queries not in kept_whole(kind.make().eval(), kind.example, MAGNITUDE)  # its heads go


def test_both_layers_of_a_gated_perceptron_are_narrowed() -> None:
    module = written.SeparateViT().eval()
    pruned = apply_plan(
        module, written.IMAGE, propose_widths(module, written.IMAGE, {"blocks.0.mlp.up": 24}, MAGNITUDE)
    )
    mlp = pruned.blocks[0].mlp
    assert (mlp.up.out_features, mlp.gate.out_features, mlp.down.in_features) == (24, 24, 24)


def test_shared_keys_and_values_go_with_all_heads_that_ask_them() -> None:
    torch.manual_seed(0)
    module = written.GroupedQueries().eval()
    plan = propose_widths(module, written.IMAGE, {"q heads": 1, "q": 6, "v": 4}, MAGNITUDE)
    pruned = apply_plan(module, written.IMAGE, plan)
    assert (pruned.q.out_features, pruned.k.out_features, pruned.v.out_features) == (12, 6, 4)
    assert pruned.out.in_features == 8
    assert pruned(*inputs_of(written.IMAGE)).shape == (3, 10)


@pytest.mark.parametrize("name", ["fused", "separate", "separate-operator", "bert"])
def test_pruned_twice_is_pruned_once(name: str) -> None:
    kind = KINDS[name]
    module = network(name)
    first = propose_widths(module, kind.example, {f"{kind.queries} heads": 3, kind.queries: 6}, MAGNITUDE)
    once = apply_plan(module, kind.example, first)
    second = propose_widths(once, kind.example, {f"{kind.queries} heads": 2, kind.queries: 4}, MAGNITUDE)
    x = inputs_of(kind.example)
    twice = apply_plan(once, kind.example, second)
    assert torch.allclose(twice(*x), apply_plan(module, kind.example, first.then(second))(*x), atol=1e-5)
    kept = {step.layer: set(range(step.width)) - set(step.kept) for step in first.then(second).steps}
    values = kept[kind.queries] if kind.fused else set()
    wanted = masked(name, kept[f"{kind.queries} heads"], kept[kind.queries], values)
    assert torch.allclose(twice(*x), wanted(*x), atol=1e-5)


@pytest.mark.parametrize("name", ["fused", "separate", "separate-operator", "bert", "torch"])
def test_a_pruned_one_is_the_same_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    pruned = apply_plan(network(name), kind.example, propose(network(name), kind.example, MAGNITUDE, 0.5))
    x = [tensor.numpy() for tensor in inputs_of(kind.example, 1)]
    export_onnx(pruned, x, tmp_path / "pruned.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "pruned.onnx")
    names = [given.name for given in session.get_inputs()]
    (got,) = session.run(None, dict(zip(names, x, strict=True)))
    wanted = pruned(*map(torch.from_numpy, x)).detach().numpy()
    assert np.abs(got - wanted).max() <= 1e-4


@pytest.mark.parametrize("name", ["fused", "separate-operator", "torch"])
def test_a_saved_one_is_made_again_from_a_fresh_original(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    pruned = apply_plan(network(name), kind.example, propose(network(name), kind.example, MAGNITUDE, 0.4))
    plan = propose(network(name), kind.example, MAGNITUDE, 0.4)
    save_pruned(tmp_path / "pruned.safetensors", pruned, plan)
    again, read = load_pruned(tmp_path / "pruned.safetensors", kind.make().eval(), kind.example)
    x = inputs_of(kind.example)
    assert read == plan
    assert torch.equal(again(*x), pruned(*x))


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "activation"])
def test_every_importance_finds_dead_heads_and_channels(importance: Importance) -> None:
    torch.manual_seed(0)
    module = written.SeparateViT().eval()
    attention = module.blocks[0].attn
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value):
            layer.weight[8:16] *= 1e-3  # the second head
            layer.bias[8:16] = 0.0
            layer.weight[5::8] *= 1e-3  # the sixth channel of each
            layer.bias[5::8] = 0.0
    samples = np.random.default_rng(0).standard_normal((64, 1, 8, 8)).astype(np.float32)
    data = nets.ArraySamples(samples, np.arange(64) % 10)
    config = PruneConfig(importance=importance, round_to=1)
    names = [f"blocks.0.attn.{name}" for name in ("query heads", "query", "value")]
    plan = propose_widths(module, written.IMAGE, dict(zip(names, (3, 7, 7), strict=True)), config, data)
    assert {step.layer: step.removed for step in plan.steps} == dict(
        zip(names, ((1,), (5,), (5,)), strict=True)
    )


def test_a_transformer_is_pruned_step_by_step_and_trained() -> None:
    rng = np.random.default_rng(0)
    data = nets.ArraySamples(rng.standard_normal((64, 1, 8, 8)).astype(np.float32), np.arange(64) % 10)
    outcome = prune_iteratively(
        written.FusedViT(depth=1), written.IMAGE, data, lambda _: 1.0, PruneConfig(round_to=4, ratio_step=0.3),
        TrainConfig(epochs=1, batch_size=32, device="cpu"),
        limit=1.0, target_fraction=0.5, steps=IterateConfig(step_epochs=0.5),
    )  # fmt: skip
    assert outcome.plan.fraction <= 0.5
    assert "head gives an output" not in outcome.kept


@pytest.mark.parametrize(
    "make", [written.FusedViT, functools.partial(written.BertLike, depth=2), written.TorchEncoder]
)
def test_blocks_go_whole_and_the_others_are_narrowed(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    module = make().eval()
    example = written.TOKENS if isinstance(module, written.BertLike) else written.IMAGE
    blocks = [block.name for block in droppable_blocks(module, example)]
    assert len(blocks) == 2
    begun = propose_depth(module, example, blocks[:1])
    shallow = apply_plan(module, example, begun)
    plan = propose(shallow, example, MAGNITUDE, 0.3, previous=begun)
    assert plan.fraction <= 0.3
    assert any(name.endswith(" heads") for name in plan.widths)
    pruned = apply_plan(module, example, plan)
    save_pruned(tmp_path / "pruned.safetensors", pruned, plan)
    again, _ = load_pruned(tmp_path / "pruned.safetensors", make().eval(), example)
    x = inputs_of(example)
    assert torch.equal(again(*x), pruned(*x))


class Biased(nn.Module):
    """A bias of its own for each head, and normalized queries and keys. `looked_up`: it is read from a table."""

    def __init__(self, *, looked_up: bool) -> None:
        super().__init__()
        self.looked_up = looked_up
        self.inside, self.qkv, self.out = nn.Linear(4, 16), nn.Linear(16, 48), nn.Linear(16, 4)
        self.norm = nn.LayerNorm(4)
        self.bias = nn.Parameter(torch.randn(4, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inside(x.reshape(-1, 16, 4))
        q, k, v = self.qkv(x).view(-1, 16, 3, 4, 4).permute(2, 0, 3, 1, 4)
        bias = self.bias[torch.arange(4)] if self.looked_up else self.bias
        scores = self.norm(q) @ self.norm(k).mT / 2 + bias
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, 16))


def test_what_is_looked_up_for_each_head_keeps_all_heads() -> None:
    module = Biased(looked_up=True).eval()
    assert [group.layer for group in prunable(module, written.IMAGE, MAGNITUDE)] == ["inside"]
    assert kept_whole(module, written.IMAGE, MAGNITUDE)["qkv"] == "would compute something else"


def test_what_is_stored_for_each_head_goes_with_it_and_normalized_queries_keep_their_width() -> None:
    module = Biased(looked_up=False).eval()
    found = {group.layer: group.width for group in prunable(module, written.IMAGE, MAGNITUDE)}
    assert found == {"inside": 16, "qkv heads": 4}
    pruned = apply_plan(
        module, written.IMAGE, propose_widths(module, written.IMAGE, {"qkv heads": 1}, MAGNITUDE)
    )
    assert pruned.bias.shape == (1, 16, 16)
    assert pruned(*inputs_of(written.IMAGE)).shape == (3, 16, 4)


def test_scope_inner_takes_heads_and_widths_and_leaves_the_stream() -> None:
    config = PruneConfig(importance="magnitude", round_to=4, scope="inner")
    names = {group.layer for group in prunable(written.BertLike().eval(), written.TOKENS, config)}
    assert names == {"layers.0.query", "layers.0.value", "layers.0.up", "layers.0.query heads"}


def test_a_plan_by_layer_times_may_narrow_attentions() -> None:
    coupling = coupled(written.SeparateViT().eval(), written.IMAGE, MAGNITUDE)
    (attention,) = coupling.attentions
    assert attention.reader == "blocks.0.attn.out"
    assert set(attention.groups) < {group.name for group in coupling.groups}
    assert "blocks.0.attn.query" not in coupling.kept


def test_kept_globs_hold_for_heads() -> None:
    config = PruneConfig(importance="magnitude", round_to=4, keep=("*.key",))
    module = written.SeparateViT().eval()
    grouping = sound_grouping(module, written.IMAGE, config)
    assert [group.layer for group in grouping.groups] == [
        "patches", "blocks.0.attn.value", "blocks.0.mlp.up"
    ]  # fmt: skip
    assert grouping.kept["blocks.0.attn.query"] == "is to be kept"
