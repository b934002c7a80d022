"""Channels of parameters and buffers that no layer has for its weights: class tokens, positions, tables of tokens.

Which axis of one holds channels is only known where what was made of it meets them. So each axis of the right size is
tried: followed through the operators between by the same rules, one of them arrives where the channels are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.program import operator_name
from edgekit.compress.pruning.channels import ChannelSets, TensorChannels
from edgekit.compress.pruning.flow import Left

if TYPE_CHECKING:
    import torch

__all__ = ["StoredAxis", "StoredChannels", "is_table_or_plain"]

StoredAxis = tuple[str, int]
"""Name of a parameter or buffer, and one of its axes."""

_TRIED = 64  # ways to place the channels in all tensors that one is made of


def is_table_or_plain(owner: torch.nn.Module) -> bool:
    """Whether a module's own parameters are plain tensors or rows that are looked up, not weights of a layer."""
    import torch

    if isinstance(owner, torch.nn.Embedding):
        return True
    return not type(owner).__module__.startswith("torch.nn.") and not isinstance(
        owner, (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.GroupNorm)
    )


class StoredChannels:
    """What is known of the stored tensors of one graph. `elements`: of each axis that holds channels.

    `names`: placeholder → name of a stored tensor that may be cut. `follow`: gives the channels of a node's result from
    those of the nodes before.
    """

    def __init__(
        self,
        sets: ChannelSets,
        names: Mapping[str, str],
        follow: Callable[[Any, Mapping[Any, Left]], Left],
    ) -> None:
        self.elements: dict[StoredAxis, tuple[int, ...]] = {}
        self._sets, self._names, self._follow = sets, names, follow
        self._made: dict[Any, bool] = {}

    def along(self, node: Any, axis: int) -> tuple[TensorChannels, Mapping[Any, Left]] | None:
        """Channels along this axis of a tensor that stored ones alone make, and of what is between them and it.

        None where it is none, or no axis of these arrives there.
        """
        width = int(node.meta["val"].shape[axis])
        if width <= 1 or not self._is_stored(node):
            return None
        chain = self._chain(node)
        leaves = [step for step in chain if step.op == "placeholder"]
        axes = [self._axes(leaf, width) for leaf in leaves]
        for choice in itertools.islice(itertools.product(*axes), _TRIED):
            placed = {
                leaf: TensorChannels(at, self._sets.new(width))
                for leaf, at in zip(leaves, choice, strict=True)
                if at is not None
            }
            channels: dict[Any, Left] = dict(placed)
            for step in chain:
                if step.op != "placeholder":
                    channels[step] = self._follow(step, channels)
            left = channels.get(node)
            if (
                isinstance(left, TensorChannels)
                and (left.axis, len(left.ids)) == (axis, width)
                and not any(map(self._sets.why_fixed, (e for held in placed.values() for e in held.ids)))
            ):
                for leaf, held in placed.items():
                    at = self._names[leaf.name], held.axis
                    self._sets.join_all(self.elements.setdefault(at, held.ids), held.ids)
                return left, channels
        return None

    def _axes(self, leaf: Any, width: int) -> Sequence[int | None]:
        """Where its channels may lie, the last axis first; None where it has none of them."""
        shape = leaf.meta["val"].shape
        return (*(axis for axis in reversed(range(len(shape))) if shape[axis] == width), None)

    def _is_stored(self, node: Any) -> bool:
        """Whether stored tensors alone make this one. Which rows of a table are looked up does not count."""
        if node not in self._made:
            sources = _sources(node)
            self._made[node] = node.name in self._names if not sources else all(map(self._is_stored, sources))
        return self._made[node]

    def _chain(self, node: Any) -> list[Any]:
        """The node and all before it, each behind what it reads."""
        chain: dict[Any, None] = {}

        def add(step: Any) -> None:
            if step not in chain:
                for source in _sources(step):
                    add(source)
                chain[step] = None

        add(node)
        return list(chain)


def _sources(node: Any) -> list[Any]:
    sources = list(node.all_input_nodes)
    return sources[:1] if operator_name(node) == "embedding" else sources
