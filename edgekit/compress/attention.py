"""torch's own attention taken apart: queries, keys and values get a layer each, which pruning can narrow."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["unpacked", "unpacked_state"]


def unpacked(module: torch.nn.Module) -> torch.nn.Module:
    """`module` itself where it holds no nn.MultiheadAttention; else a copy, in eval mode, with layers for its weights.

    Each is replaced by a module that is called alike and computes the same. Those with learned or zero rows added to
    keys and values stay.
    """
    if not any(_can_be_unpacked(part) for part in module.modules()):
        return module
    whole = copy.deepcopy(module).eval()
    if _can_be_unpacked(whole):
        return _taken_apart(whole)
    done: dict[int, torch.nn.Module] = {}
    for name, part in list(whole.named_modules(remove_duplicate=False)):
        if _can_be_unpacked(part):
            parent, _, last = name.rpartition(".")
            if id(part) not in done:
                done[id(part)] = _taken_apart(part)
            setattr(whole.get_submodule(parent), last, done[id(part)])
    return whole


def unpacked_state(tensors: Mapping[str, torch.Tensor], expected: Collection[str]) -> dict[str, torch.Tensor]:
    """Weights that were written before their attention was taken apart, by the names that its layers have now.

    `expected`: the names of all tensors of the network that they are for; what it has under the old name stays.
    """
    state: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        path, _, last = name.rpartition("in_proj_")
        if last not in ("weight", "bias") or name in expected:
            state[name] = tensor
            continue
        for layer, part in zip("qkv", tensor.chunk(3), strict=True):
            state[f"{path}{layer}_proj.{last}"] = part
    return {
        name if name in expected else name.replace("_proj_weight", "_proj.weight"): tensor
        for name, tensor in state.items()
    }


def _can_be_unpacked(part: Any) -> bool:
    import torch

    plain = type(part) is torch.nn.MultiheadAttention
    return plain and part.bias_k is None and not part.add_zero_attn


def _taken_apart(packed: Any) -> torch.nn.Module:
    import torch

    with torch.no_grad():
        layers: torch.nn.Module = _layers_class()(packed)
    return layers.eval()


@functools.cache
def _layers_class() -> Any:
    import torch
    from torch.nn import functional

    class LayeredAttention(torch.nn.Module):
        """Called as nn.MultiheadAttention is, and gives what it gives."""

        in_proj_weight = in_proj_bias = None  # tells torch's encoder to stay off its fused operator
        _qkv_same_embed_dim = False

        def __init__(self, packed: Any) -> None:
            super().__init__()
            self.embed_dim, self.num_heads, self.head_dim = (
                packed.embed_dim,
                packed.num_heads,
                packed.head_dim,
            )
            self.batch_first, self.dropout = packed.batch_first, packed.dropout
            if packed.in_proj_weight is None:
                weights = (packed.q_proj_weight, packed.k_proj_weight, packed.v_proj_weight)
            else:
                weights = packed.in_proj_weight.chunk(3)
            biases = (None,) * 3 if packed.in_proj_bias is None else packed.in_proj_bias.chunk(3)
            self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
            self.out_proj = _linear(packed.out_proj.weight, packed.out_proj.bias)

        def forward(
            self,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            key_padding_mask: torch.Tensor | None = None,
            need_weights: bool = True,
            attn_mask: torch.Tensor | None = None,
            average_attn_weights: bool = True,
            is_causal: bool = False,
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            single = query.ndim == 2
            if single:
                query, key, value = query[None], key[None], value[None]
                key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
            elif not self.batch_first:
                query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
            q, k, v = (
                self._heads(self.q_proj(query)),
                self._heads(self.k_proj(key)),
                self._heads(self.v_proj(value)),
            )
            mask = self._mask(attn_mask, key_padding_mask, query)
            dropped = self.dropout if self.training else 0.0
            weights = None
            if need_weights:
                scores = q * self.head_dim**-0.5 @ k.transpose(-2, -1)
                weights = (scores if mask is None else scores + mask).softmax(-1)
                weights = functional.dropout(weights, dropped) if dropped else weights
                result = weights @ v
                weights = weights.mean(1) if average_attn_weights else weights
            else:
                result = functional.scaled_dot_product_attention(q, k, v, mask, dropped)
            result = self.out_proj(result.transpose(1, 2).flatten(2))
            if single:
                return result[0], None if weights is None else weights[0]
            return (result if self.batch_first else result.transpose(0, 1)), weights

        def _heads(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)

        def _mask(
            self, attention: torch.Tensor | None, padding: torch.Tensor | None, query: torch.Tensor
        ) -> torch.Tensor | None:
            """Both masks as what is added to the scores: [n, heads or 1, queries or 1, keys]."""
            added = None if padding is None else _added(padding, query.dtype)[:, None, None, :]
            if attention is not None:
                more = _added(attention, query.dtype)
                if more.ndim == 3:  # samples and heads in one axis
                    more = more.view(query.shape[0], -1, *more.shape[1:])
                added = more if added is None else added + more
            return added

    def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if mask.dtype != torch.bool:
            return mask.to(dtype)
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))

    def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Linear:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        layer.to(weight)
        layer.weight.copy_(weight)
        layer.weight.requires_grad_(weight.requires_grad)
        if bias is not None:
            layer.bias.copy_(bias)
        return layer

    return LayeredAttention
