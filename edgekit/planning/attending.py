"""The groups of an attention brought together: its heads, and what each head has of channels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.compress.pruning.groups import ChannelGroup

__all__ = ["CoupledAttention", "attentions_of"]


@dataclass(frozen=True)
class CoupledAttention:
    """One attention, by names of its groups; "" for a width of each head that stays.

    `reader`: the layer that its result goes into; `makers`: those that make queries, keys and values. Where one layer
    makes them all, `key` and `value` are one group.
    """

    reader: str
    makers: tuple[str, ...]
    heads: str
    key: str
    value: str

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that there are, each once."""
        return tuple(dict.fromkeys(name for name in (self.heads, self.key, self.value) if name))


def attentions_of(groups: Collection[ChannelGroup]) -> tuple[CoupledAttention, ...]:
    """Those whose heads may go and whose result one layer reads, in the order of their heads' groups."""
    told = []
    attended = [group for group in groups if group.attended and group.unit == "channel"]
    for heads in groups:
        readers = [member.layer for member in heads.readers]
        if heads.unit != "head" or len(readers) != 1:
            continue
        makers = {member.layer for member in heads.makers}
        inner = [group for group in attended if {member.layer for member in group.makers} <= makers]
        keys = [group.layer for group in inner if group.summed]
        values = [group.layer for group in inner if [member.layer for member in group.readers] == readers]
        told.append(
            CoupledAttention(
                readers[0],
                tuple(member.layer for member in heads.makers),
                heads.layer,
                keys[0] if len(keys) == 1 else "",
                values[0] if len(values) == 1 else "",
            )
        )
    return tuple(told)
