"""Blocks that are dropped whole or merged, as the beginning of a pruning plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.depth.merging import find_mergers
from edgekit.compress.depth.shallow import shallower
from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.plan import PrunePlan

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["propose_all_merged", "propose_depth"]


def propose_all_merged(module: torch.nn.Module, example: Example) -> PrunePlan:
    """The plan that merges every chain that a plan may. Raises StageError when the network cannot be traced."""
    chains = find_mergers(module, example).plausible
    return propose_depth(module, example, (), [chain.name for chain in chains])


def propose_depth(
    module: torch.nn.Module, example: Example, dropped: Sequence[str], merged: Sequence[str] = ()
) -> PrunePlan:
    """The plan that drops and merges these blocks and no channels; `propose(previous=…)` goes on from it.

    Raises UserError for a name that is no such block, StageError when the network cannot be traced.
    """
    module = folded(module)
    names = tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(merged))
    before = network_macs(module, example)
    if not any(names):
        return PrunePlan((), before, before)
    shallow = shallower(module, example, *names)
    return PrunePlan((), before, network_macs(shallow, example), *names)
