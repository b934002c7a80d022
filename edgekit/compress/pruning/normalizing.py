"""Norms whose statistics are taken across channels: what one over fewer channels means.

It normalizes over the channels that are left, with the same eps: mean and variance of a layer norm, the mean square of
an RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4). This is no longer what the network did, so it is a
definition, and what a pruned network is held against.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["NORM_WEIGHT", "normalizes", "over_kept", "weighted_norms"]

NORM_WEIGHT = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2}
"""Operator → the place of its weight among its arguments."""


def weighted_norms() -> tuple[type[torch.nn.Module], ...]:
    """Classes of layers that normalize across channels."""
    import torch

    return torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.GroupNorm


def normalizes(layer: torch.nn.Module) -> bool:
    """Whether it normalizes over all channels of a tensor and no further axis that has weights of its own.

    Not so a norm of several groups: fewer channels would be in other groups.
    """
    import torch

    if isinstance(layer, torch.nn.GroupNorm):
        return layer.num_groups == 1
    return isinstance(layer, (torch.nn.LayerNorm, torch.nn.RMSNorm)) and len(layer.normalized_shape) == 1


def over_kept(network: torch.nn.Module, removed: Mapping[str, Collection[int]]) -> Any:
    """While it is entered, norms of `network` take their statistics without these channels. `removed`: layer → them.

    All channels of a result are there; those removed are normalized by the statistics of the others.
    """
    without = {
        id(network.get_submodule(name).get_parameter("weight")): frozenset(gone)
        for name, gone in removed.items()
        if gone
    }
    return _over_kept_class()(without)


@functools.cache
def _over_kept_class() -> Any:
    from torch.overrides import TorchFunctionMode

    class OverKept(TorchFunctionMode):
        def __init__(self, without: Mapping[int, frozenset[int]]) -> None:
            super().__init__()
            self._without = without

        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            options = kwargs or {}
            name = str(getattr(function, "__name__", ""))
            if name in NORM_WEIGHT:
                given = {**dict(zip(_arguments(name), args, strict=False)), **options}
                gone = self._without.get(id(given.get("weight")))
                if gone:
                    return _normalized(name, given, gone)
            return function(*args, **options)

    return OverKept


def _arguments(name: str) -> tuple[str, ...]:
    return ("input", "", "weight", "eps") if name == "rms_norm" else ("input", "", "weight", "bias", "eps")


def _normalized(name: str, given: Mapping[str, Any], gone: frozenset[int]) -> torch.Tensor:
    import torch

    x: torch.Tensor = given["input"]
    weight, bias = given["weight"], given.get("bias")
    axis = 1 if name == "group_norm" else x.ndim - 1
    axes = list(range(axis, x.ndim))
    kept = torch.tensor([channel for channel in range(x.shape[axis]) if channel not in gone])
    seen = x.index_select(axis, kept)
    mean = 0.0 if name == "rms_norm" else seen.mean(axes, keepdim=True)
    eps = given.get("eps", 1e-5)
    square = (seen - mean).square().mean(axes, keepdim=True)
    result: torch.Tensor = (x - mean) / (square + (torch.finfo(x.dtype).eps if eps is None else eps)).sqrt()
    shape = [-1 if at == axis else 1 for at in range(x.ndim)]
    result = result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)
