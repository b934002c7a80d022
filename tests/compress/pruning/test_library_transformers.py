"""ViT and BERT as the `transformers` package defines them, tiny and with random weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    PruneStep,
    apply_plan,
    droppable_blocks,
    propose,
    prunable,
)
from edgekit.compress.base import Example
from edgekit.compress.probe import make_lively
from edgekit.compress.pruning.soundness import retrace
from tests.compress import transformers as written

library: Any = pytest.importorskip("transformers")

MAGNITUDE = PruneConfig(importance="magnitude", round_to=2)
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}


class Scores(nn.Module):
    """Of what the package's networks return, the scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(*given).logits
        return scores


def vit(attention: str) -> nn.Module:
    config = library.ViTConfig(
        **SIZES, image_size=8, patch_size=2, num_channels=1, attn_implementation=attention
    )
    return Scores(library.ViTForImageClassification(config))


def bert(attention: str) -> nn.Module:
    config = library.BertConfig(
        **SIZES, vocab_size=20, max_position_embeddings=8, attn_implementation=attention
    )
    return Scores(library.BertForSequenceClassification(config))


def named(module: nn.Module, *ends: str) -> list[str]:
    """The layers that are called so: releases of the package call the same ones differently."""
    found = [name for name, _ in module.named_modules() if name.rpartition(".")[2] in ends]
    assert len(found) == 1
    return found


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("make", "example"), [(vit, written.IMAGE), (bert, written.TOKENS)])
def test_heads_and_widths_go_and_the_rest_computes_what_it_did(
    make: Any, example: Example, attention: str
) -> None:
    torch.manual_seed(0)
    module = make(attention).eval()
    make_lively(module)
    (query,), (key,) = named(module, "query", "q_proj"), named(module, "key", "k_proj")
    (value,) = named(module, "value", "v_proj")
    group = {group.layer: group.width for group in prunable(module, example, MAGNITUDE)}
    assert (group[f"{query} heads"], group[query], group[value]) == (4, 8, 8)

    steps = (
        PruneStep(f"{query} heads", 4, (0, 2)),
        PruneStep(query, 8, (0, 1, 2, 4, 5, 7)),
        PruneStep(value, 8, (1, 2, 6)),
    )
    pruned = apply_plan(module, example, PrunePlan(steps))
    retrace(pruned, example)

    masked = copy.deepcopy(module)
    layers = dict(masked.named_modules())
    with torch.no_grad():
        for layer in (layers[query], layers[key]):
            for tensor in (layer.weight, layer.bias):
                tensor.view(4, 8, -1)[:, [3, 6]] = 0.0
        values = layers[value]
        for tensor in (values.weight, values.bias):  # attention of zeros is zero
            grid = tensor.view(4, 8, -1)
            grid[[1, 3]] = 0.0
            grid[:, [0, 3, 4, 5, 7]] = 0.0
    x = tuple(
        torch.randn(3, *tensor.shape[1:])
        if tensor.dtype == np.float32
        else torch.from_numpy(tensor).repeat(3, 1)
        for tensor in map(np.asarray, example)
    )
    assert torch.allclose(pruned(*x), masked(*x), atol=1e-5)
    assert not torch.allclose(pruned(*x), module(*x), atol=1e-2)


@pytest.mark.parametrize(("make", "example"), [(vit, written.IMAGE), (bert, written.TOKENS)])
def test_half_of_the_work_goes_and_blocks_can_be_dropped(make: Any, example: Example) -> None:
    module = make("sdpa").eval()
    plan = propose(module, example, MAGNITUDE, 0.5)
    assert plan.fraction <= 0.5
    assert apply_plan(module, example, plan)(*map(torch.as_tensor, example)).shape[0] == 1
    assert len(droppable_blocks(module, example)) == 1
