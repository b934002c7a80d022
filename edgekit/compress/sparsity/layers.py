"""Which layers of a network hold zeros, and why the others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.compress.folding import folded
from edgekit.compress.sparsity.plan import SparsePlan
from edgekit.errors import UserError
from edgekit.types import SaliencyName, Sparsity

if TYPE_CHECKING:
    import torch

__all__ = ["sparse_plan"]

GROUP = 4
"""Neighbours along the input channels that 2:4 counts in, and the fewest that a sparse layer has: those that read an
image are a small part of a network, and suffer most (Zhu and Gupta 2017 leave them as well)."""


def sparse_plan(
    network: torch.nn.Module,
    sparsity: Sparsity,
    saliency: SaliencyName = "magnitude",
    rewind: bool = False,
) -> SparsePlan:
    """The plan of zeros in all linear layers and ungrouped convolutions of `network`, all to the same ratio.

    Raises UserError, in one line with the layers' names, where there is none that can hold them.
    """
    network = folded(network)
    owners: dict[int, int] = {}
    for _, parameter in network.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    sparse: dict[str, int] = {}
    dense: dict[str, str] = {}
    total = 0
    for name, layer in network.named_modules():
        if not _multiplies(layer):
            continue
        total += layer.weight.numel()
        why_dense = _why_dense(layer, sparsity, owners[id(layer.weight)] > 1)
        if why_dense:
            dense[name] = why_dense
        else:
            sparse[name] = layer.weight.numel()
    if not sparse:
        named = "; ".join(f"{name}: {reason}" for name, reason in list(dense.items())[:4])
        wanted = "layers whose input channels are a multiple of 4" if sparsity.pattern == "2:4" else ""
        raise UserError(
            f"sparsity {sparsity.text}: no layer can hold it: {named or 'there are no linear layers or convolutions'}",
            allowed=wanted or "linear layers and convolutions without groups, of 4 input channels or more",
        )
    return SparsePlan(
        sparsity, tuple(sparse), tuple(dense.items()), saliency, rewind, sum(sparse.values()), total
    )


def _multiplies(layer: Any) -> bool:
    import torch

    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return isinstance(layer, (torch.nn.Linear, *convolutions))


def _why_dense(layer: Any, sparsity: Sparsity, is_shared: bool) -> str:
    """Empty where it can be sparse."""
    channels = layer.weight.shape[1]
    counted = f"{channels} input channel{'s' if channels > 1 else ''}"
    if getattr(layer, "groups", 1) != 1:
        return "grouped"
    if is_shared:
        return "its weights belong to several layers"
    if sparsity.pattern == "2:4" and channels % GROUP:
        return f"{counted}, not divisible by {GROUP}"
    return f"{counted}, fewer than {GROUP}" if channels < GROUP else ""
