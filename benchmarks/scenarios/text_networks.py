"""A sentence classifier on MiniLM's encoder, and one with half of its layers."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BertConfig, BertModel

__all__ = ["TOKENS", "make", "make_half"]

TOKENS = 48
"""Of a sentence, padded; 99 % of SST-2's are shorter."""


class Classifier(nn.Module):
    """Token numbers int64 [N, TOKENS] and their mask → logits [N, 2]."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        # all-MiniLM-L6-v2, as its config.json says
        config = BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=layers, num_attention_heads=12,
            intermediate_size=1536, max_position_embeddings=512, attn_implementation="eager",
        )  # fmt: skip
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        seen = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.classifier((hidden * seen).sum(1) / seen.sum(1))


def make() -> nn.Module:
    """All six layers."""
    return Classifier(6)


def make_half() -> nn.Module:
    """Three layers."""
    return Classifier(3)
