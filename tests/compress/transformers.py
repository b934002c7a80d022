"""Small transformers, written in the ways that people write them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.compress.base import Example

__all__ = [
    "IMAGE",
    "TOKENS",
    "BertLike",
    "FusedViT",
    "GptLike",
    "GroupedQueries",
    "SeparateViT",
    "TorchEncoder",
]

IMAGE: Example = (np.zeros((1, 1, 8, 8), dtype=np.float32),)
TOKENS: Example = (
    np.arange(6, dtype=np.int64)[None] % 5,
    np.array([[1, 1, 1, 1, 0, 0]], dtype=np.int64),
)


class FusedAttention(nn.Module):
    """One layer for queries, keys and values; the last reshape takes its width from the input."""

    def __init__(self, width: int, heads: int, *, explicit: bool) -> None:
        super().__init__()
        self.num_heads, self.explicit = heads, explicit
        self.scale = (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.explicit:
            weights = self.drop((q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1))
            x = weights @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class SeparateAttention(nn.Module):
    """A layer each; sizes from attributes, the scale from the shape, if not explicit from the operator's own rule."""

    def __init__(self, width: int, heads: int, *, explicit: bool) -> None:
        super().__init__()
        self.heads, self.head_dim, self.explicit = heads, width // heads, explicit
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        if self.explicit:
            scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(q.shape[-1])
            y = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, *, gated: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gate = nn.Linear(width, 2 * width) if gated else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate is None:
            return self.down(F.gelu(self.up(x)))
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module, *, gated: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = attention, Mlp(width, gated=gated)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _ViT(nn.Module):
    """Patches of 8x8 images, blocks, a class token or the mean, a head."""

    def __init__(self, blocks: list[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class FusedViT(_ViT):
    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2, *, explicit: bool = True) -> None:
        blocks = [
            Block(width, FusedAttention(width, heads, explicit=explicit), gated=False) for _ in range(depth)
        ]
        super().__init__(blocks, width, 10)


class SeparateViT(_ViT):
    def __init__(self, width: int = 32, heads: int = 4, depth: int = 1, *, explicit: bool = True) -> None:
        blocks = [
            Block(width, SeparateAttention(width, heads, explicit=explicit), gated=True) for _ in range(depth)
        ]
        super().__init__(blocks, width, 10)


class BertLayer(nn.Module):
    """Normalization after each sum, and a mask of zeros and -inf's like."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.all_head_size = heads, width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down, self.last = nn.Linear(width, 64), nn.Linear(64, width), nn.LayerNorm(width)

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.heads, self.all_head_size // self.heads).permute(0, 2, 1, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.turned(self.query(x)), self.turned(self.key(x)), self.turned(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.all_head_size // self.heads)
        y = torch.matmul(F.softmax(scores + mask, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        y = y.view(*y.shape[:-2], self.all_head_size)
        x = self.norm(x + self.dense(y))
        return self.last(x + self.down(F.gelu(self.up(x))))


class BertLike(nn.Module):
    """Token numbers and an attention mask."""

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 1) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, width), nn.Embedding(6, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(depth))
        self.head = nn.Linear(width, 3)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1])))
        added = (1.0 - mask[:, None, None, :].float()) * -1e4
        for layer in self.layers:
            x = layer(x, added)
        return self.head(x[:, 0])


class GptLike(nn.Module):
    """Fused, split by a size from the configuration, causal."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.n_head, self.n_embd = heads, width
        self.patches = nn.Linear(4, width)
        self.norm, self.attend, self.proj = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.reshape(x.shape[0], 16, 4))
        b, t, c = x.shape
        q, k, v = self.attend(self.norm(x)).split(self.n_embd, dim=2)
        q, k, v = (part.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, c))
        return self.head(x.mean(1))


class GroupedQueries(nn.Module):
    """Two queries' heads share the keys and values of one."""

    def __init__(self, width: int = 32, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared = heads, shared
        self.patches, self.norm = nn.Linear(4, width), nn.LayerNorm(width)
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.k, self.v = (nn.Linear(width, width // shared) for _ in range(2))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.reshape(x.shape[0], 16, 4))
        b, t, c = x.shape
        y, size = self.norm(x), c // self.heads
        q = self.q(y).view(b, t, self.heads, size).transpose(1, 2)
        k, v = (self.repeated(layer(y).view(b, t, -1, size).transpose(1, 2)) for layer in (self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1)
        return self.head((x + self.out(y)).mean(1))

    def repeated(self, x: torch.Tensor) -> torch.Tensor:
        b, heads, t, size = x.shape
        return x[:, :, None].expand(b, heads, self.shared, t, size).reshape(b, heads * self.shared, t, size)


class TorchEncoder(nn.Module):
    """torch's own encoder layers."""

    def __init__(
        self, width: int = 32, heads: int = 4, *, batch_first: bool = True, norm_first: bool = False
    ) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Linear(4, width)
        layer = nn.TransformerEncoderLayer(width, heads, 64, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.reshape(x.shape[0], 16, 4))
        x = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))
