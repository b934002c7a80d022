"""Blocks that are dropped whole, as the beginning of a pruning plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.depth.blocks import find_depth
from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.plan import PrunePlan

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["propose_depth"]


def propose_depth(module: torch.nn.Module, example: Example, dropped: Sequence[str]) -> PrunePlan:
    """The plan that drops these blocks and no channels; `propose(previous=…)` goes on from it.

    Raises UserError for a name that is no droppable block, StageError when the network cannot be traced.
    """
    module = folded(module)
    names = tuple(dict.fromkeys(dropped))
    before = network_macs(module, example)
    if not names:
        return PrunePlan((), before, before)
    shallow = find_depth(module, example).without(module, names)
    return PrunePlan((), before, network_macs(shallow, example), names)
