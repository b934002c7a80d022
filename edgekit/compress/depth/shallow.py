"""A network of fewer layers: without some blocks, and with some chains of convolutions as one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgekit.compress.depth.blocks import find_depth
from edgekit.compress.depth.merging import find_mergers
from edgekit.compress.folding import folded

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["depth_text", "shallower"]


def shallower(
    module: torch.nn.Module, example: Example, dropped: Collection[str], merged: Collection[str]
) -> torch.nn.Module:
    """A copy of `module` without the blocks `dropped` and with the chains `merged`, of what is left, as one; eval mode.

    Some of either have to be named.

    Raises UserError for names that are no such blocks, StageError when the network cannot be traced.
    """
    result = folded(module)
    if dropped:
        result = find_depth(module, example).without(result, dropped)
    if merged:
        result = find_mergers(result, example).merged(result, merged)
    return result


def depth_text(dropped: Sequence[str], merged: Sequence[str]) -> str:
    """What is done to a network's blocks: `without blocks.3, blocks.7, blocks.5 merged`; "" where nothing is."""
    parts = (
        f"without {', '.join(dropped)}" if dropped else "",
        f"{', '.join(merged)} merged" if merged else "",
    )
    return ", ".join(part for part in parts if part)
