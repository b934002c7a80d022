"""nn.MultiheadAttention in layers computes what it did, however it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import PruneConfig, load_pruned, propose_widths, save_pruned
from edgekit.compress.attention import unpacked
from tests.compress import transformers as written

PADDED = torch.tensor([[False] * 7, [False] * 5 + [True] * 2])
CAUSAL = torch.triu(torch.ones(5, 7, dtype=torch.bool), 3)
CALLS: list[dict[str, Any]] = [
    {},
    {"need_weights": False},
    {"key_padding_mask": PADDED},
    {"attn_mask": CAUSAL},
    {"attn_mask": torch.linspace(-2, 2, 8 * 5 * 7).view(8, 5, 7), "average_attn_weights": False},
    {"attn_mask": CAUSAL, "key_padding_mask": PADDED, "need_weights": False},
    {
        "attn_mask": torch.triu(torch.ones(5, 7, dtype=torch.bool), 1),
        "is_causal": True,
        "need_weights": False,
    },
]
LAYOUTS: list[dict[str, Any]] = [{}, {"batch_first": True}, {"kdim": 8, "vdim": 12}, {"bias": False}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: "+".join(call) or "plain")
def test_it_computes_what_it_did(layout: dict[str, Any], call: dict[str, Any]) -> None:
    torch.manual_seed(0)
    packed = nn.MultiheadAttention(16, 4, **layout).eval()
    if packed.in_proj_bias is not None:
        nn.init.normal_(packed.in_proj_bias)
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 7, packed.kdim), torch.randn(2, 7, packed.vdim)
    if not packed.batch_first:
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    layers = unpacked(packed)
    assert not isinstance(layers, nn.MultiheadAttention)
    wanted, wanted_weights = packed(query, key, value, **call)
    result, weights = layers(query, key, value, **call)
    assert torch.allclose(result, wanted, atol=1e-6)
    assert (weights is None) == (wanted_weights is None)
    if weights is not None:
        assert torch.allclose(weights, wanted_weights, atol=1e-6)


def test_one_sample_without_its_axis() -> None:
    torch.manual_seed(0)
    packed = nn.MultiheadAttention(16, 4).eval()
    x = torch.randn(5, 16)
    for got, wanted in zip(unpacked(packed)(x, x, x), packed(x, x, x), strict=True):
        assert got.shape == wanted.shape
        assert torch.allclose(got, wanted, atol=1e-6)


def test_one_that_stands_in_two_places_still_does() -> None:
    shared = nn.MultiheadAttention(16, 4)
    layers = unpacked(nn.ModuleList([shared, nn.Identity(), shared]))
    assert layers.get_submodule("0") is layers.get_submodule("2")
    assert not isinstance(layers.get_submodule("0"), nn.MultiheadAttention)


@pytest.mark.parametrize("extra", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_one_with_rows_of_its_own_stays(extra: dict[str, bool]) -> None:
    packed = nn.MultiheadAttention(16, 4, **extra)
    assert unpacked(packed) is packed


def test_a_network_without_any_is_not_copied() -> None:
    module = nn.Linear(2, 2)
    assert unpacked(module) is module


def test_weights_written_before_are_still_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = PruneConfig(importance="magnitude", round_to=4)
    module = written.TorchEncoder().eval()
    plan = propose_widths(module, written.IMAGE, {"encoder.layers.0.linear1": 32}, config)
    before = written.TorchEncoder().eval()
    before.load_state_dict(module.state_dict())
    narrow, linear = before.encoder.layers[0], nn.Linear
    kept = list(plan.steps[0].kept)
    first, second = linear(32, 32), linear(32, 32)
    first.load_state_dict({"weight": narrow.linear1.weight[kept], "bias": narrow.linear1.bias[kept]})
    second.load_state_dict({"weight": narrow.linear2.weight[:, kept], "bias": narrow.linear2.bias})
    narrow.linear1, narrow.linear2 = first, second
    save_pruned(tmp_path / "pruned.safetensors", before, plan)
    again, _ = load_pruned(tmp_path / "pruned.safetensors", module, written.IMAGE)
    x = torch.randn(3, 1, 8, 8)
    assert torch.allclose(again(x), before(x), atol=1e-5)
