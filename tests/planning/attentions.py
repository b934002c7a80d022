"""Small transformers from the library, with biases as trained ones have, and a table by a formula for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekit.compress.base import Example
from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit, Unit
from edgekit.types import BackendName, Estimate

__all__ = ["IMAGES", "SENTENCES", "attention_table", "digits_vit", "small_bert", "small_vit", "with_biases"]

IMAGES: Example = (np.zeros((1, 3, 16, 16), np.float32),)
SENTENCES: Example = (
    np.arange(12, dtype=np.int64)[None] % 7,
    np.ones((1, 12), np.int64),
)


class Logits(nn.Module):
    """A classifier of the library, without its dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(*inputs).logits
        return logits


def with_biases(net: nn.Module) -> nn.Module:
    """Such as training gives: zeros that many layers share are stored once, and name none of them."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, 0.0, 0.1)
    return net


def lively(net: nn.Module) -> Logits:
    """Biases and attentions as of a network that learnt something: a fresh one attends to all alike."""
    for name, parameter in with_biases(net).named_parameters():
        with torch.no_grad():
            if (
                "query" in name or "key" in name or "q_proj" in name or "k_proj" in name
            ) and parameter.ndim == 2:
                parameter.mul_(8.0)
    return Logits(net).eval()


def small_vit(width: int = 64, heads: int = 4, depth: int = 2) -> Logits:
    """float32 [N, 3, 16, 16] → logits [N, 10]; 17 tokens, heads of 16 channels."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    return lively(
        ViTForImageClassification(
            ViTConfig(image_size=16, patch_size=4, num_labels=10, **sizes(width, heads, depth))
        )
    )


def digits_vit() -> Logits:
    """float32 [N, 1, 8, 8] → logits [N, 10]; one layer of four heads, as made anew."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    return Logits(
        ViTForImageClassification(
            ViTConfig(
                image_size=8,
                patch_size=2,
                num_channels=1,
                num_labels=10,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                **sizes(64, 4, 1),
            )
        )
    )


def small_bert(width: int = 64, heads: int = 4, depth: int = 1) -> Logits:
    """int64 [N, 12] tokens and mask → logits [N, 3]."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, max_position_embeddings=16, num_labels=3, **sizes(width, heads, depth))
    return lively(BertForSequenceClassification(config))


def sizes(width: int, heads: int, depth: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
    }


def parted(unit: Unit) -> Unit:
    """An attention with a projection each for queries, keys and values."""
    form = unit.family.attention
    return unit if form is None else replace(unit, family=replace(unit.family, attention=form.parted))


def formula_ms(unit: Unit) -> float:
    """By its work, beside what each unit takes anyway."""
    return 0.001 + 1e-8 * unit.work


def attention_table(
    units: Sequence[Unit], runtime: BackendName = "onnxruntime", *, only_heads: bool = False
) -> LatencyTable:
    """All multiples of 8 up to each unit's own widths, and all numbers of heads; or no narrower head, GELU or norm."""
    timed = []
    for unit in (*units, *map(parted, units)):
        heads = range(1, unit.family.groups + 1) if unit.family.kind == "attention" else (None,)
        step = 10**6 if only_heads and unit.family.kind in ("attention", "norm", "pointwise") else 8
        ins, outs = (
            sorted({channels, *range(step, channels, 8)})
            for channels in (unit.channels_in, unit.channels_out)
        )
        pairs = [(a, a) for a in ins] if unit.family.is_square else list(itertools.product(ins, outs))
        for (a, b), count in itertools.product(pairs, heads):
            point = unit.resized(channels_in=a, channels_out=b, heads=count)
            value = formula_ms(point)
            timed.append(TimedUnit(point, Estimate(value, value, value)))
    return LatencyTable(MeasuredOn("test", "cpu", "x86_64", (), runtime, "1", 1)).with_timed(timed)
