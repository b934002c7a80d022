"""Which channels are narrowed together, which blocks can go, and which be merged: what a network lets a plan choose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.compress import (
    PruneConfig,
    ResidualBlock,
    droppable_blocks,
)
from edgekit.compress.depth.merging import ConvolutionChain, find_mergers
from edgekit.compress.folding import folded
from edgekit.compress.pruning.groups import ChannelUnit
from edgekit.compress.pruning.propose import sound_grouping, widths_of
from edgekit.errors import StageError
from edgekit.planning.attending import CoupledAttention, attentions_of

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.groups import ChannelGroup

__all__ = ["CoupledGroup", "Coupling", "GroupChannels", "MergeableBlock", "coupled"]

PROJECTED = "its channels are read beside those of other groups by"
ATTENDED = "its channels go into an attention whose heads cannot be told apart"
UNEVEN = "one of its channels is not the same number of channels everywhere"


@dataclass(frozen=True)
class GroupChannels:
    """What a layer has of a group: `per_channel` of its channels go with one of the group's."""

    group: str
    per_channel: int


@dataclass(frozen=True)
class CoupledGroup:
    """Channels or heads that are narrowed together. `widths`: ascending, the full one last; `layers`: that make or read
    them. In an attention a channel is one of each head. `normalizing`: norms whose statistics go across the channels.
    """

    name: str
    widths: tuple[int, ...]
    makers: tuple[str, ...]
    layers: tuple[str, ...]
    unit: ChannelUnit = "channel"
    normalizing: tuple[str, ...] = ()


@dataclass(frozen=True)
class MergeableBlock:
    """`chain`: whose convolutions become one. `name`: of the residual block that it is in, else its own."""

    name: str
    chain: ConvolutionChain


@dataclass(frozen=True)
class Coupling:
    """`reads`, `makes`: layer → its side. `kept`: layers that stay whole → why. `blocks`: those that can be dropped."""

    groups: tuple[CoupledGroup, ...]
    reads: Mapping[str, GroupChannels]
    makes: Mapping[str, GroupChannels]
    kept: Mapping[str, str]
    blocks: tuple[ResidualBlock, ...] = ()
    block_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mergeable: tuple[MergeableBlock, ...] = ()
    attentions: tuple[CoupledAttention, ...] = ()

    def told_of(self, group: CoupledGroup) -> tuple[str, ...]:
        """What stays whole where a group does: its makers; of an attention its heads, or the width of each."""
        if not any(group.name in attention.groups for attention in self.attentions):
            return group.makers
        return (group.name if group.unit == "head" else f"{group.name} within each head",)


def coupled(module: torch.nn.Module, example: Example, config: PruneConfig) -> Coupling:
    """What can be chosen: groups that are proved sound, and blocks. Raises StageError when it cannot be traced."""
    grouping = sound_grouping(folded(module), example, config)
    kept = {layer: f"{layer} {reason}" for layer, reason in grouping.kept.items()}
    attentions = attentions_of(grouping.groups)
    attended = {name for attention in attentions for name in attention.groups}
    reasons = unusable(grouping.groups, attended)
    reads: dict[str, GroupChannels] = {}
    makes: dict[str, GroupChannels] = {}
    groups = []
    for group in grouping.groups:
        makers = tuple(member.layer for member in group.makers)
        if group.layer in reasons:
            kept.update(dict.fromkeys(makers, reasons[group.layer]))
            continue
        for member in () if group.layer in attended else group.members:
            side = GroupChannels(group.layer, len(member.channels[0]))
            if member.role != "out":
                reads[member.layer] = side
            if member.role != "in":
                makes[member.layer] = side
        widths = tuple(sorted(widths_of(group, group.width, config)))
        layers = tuple(dict.fromkeys(member.layer for member in group.members if member.role != "through"))
        groups.append(CoupledGroup(group.layer, widths, makers, layers, group.unit, group.normalizing))
    try:
        blocks = droppable_blocks(module, example)
        chains = find_mergers(module, example).plausible
    except StageError:
        blocks, chains = (), ()
    mergeable = mergeable_blocks(chains, blocks, groups)
    layers_of = {item.name: item.chain.convolutions for item in mergeable}
    layers_of.update({block.name: block.layers for block in blocks})
    inside = {
        name: tuple(group.name for group in groups if set(group.layers) <= set(layers))
        for name, layers in layers_of.items()
    }
    return Coupling(tuple(groups), reads, makes, kept, blocks, inside, mergeable, attentions)


def mergeable_blocks(
    chains: Collection[ConvolutionChain], blocks: Collection[ResidualBlock], groups: Collection[CoupledGroup]
) -> tuple[MergeableBlock, ...]:
    """Chains that a plan may merge. One in a residual block counts where it is the only one there, and nothing else in
    that block has channels of its own: these would be taken to go with it.
    """
    mergeable = []
    for chain in chains:
        around = [block for block in blocks if not set(block.layers).isdisjoint(chain.convolutions)]
        if not around:
            mergeable.append(MergeableBlock(chain.name, chain))
            continue
        (block, *others) = around
        within = set(block.layers)
        alone = sum(not within.isdisjoint(other.convolutions) for other in chains) == 1
        own = [group for group in groups if set(group.layers) <= within]
        if not others and alone and all(set(group.layers) <= set(chain.convolutions) for group in own):
            mergeable.append(MergeableBlock(block.name, chain))
    return tuple(mergeable)


def unusable(groups: Collection[ChannelGroup], attended: Collection[str]) -> Mapping[str, str]:
    """Groups that are left at full width, since a time of two widths does not say what they would do → why.

    `attended`: those of attentions, whose units say what they do.
    """
    reasons: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for group in groups:
        if group.layer in attended:
            continue
        if group.attended:
            reasons[group.layer] = ATTENDED
            continue
        for member in group.members:
            if len({len(channels) for channels in member.channels}) != 1:
                reasons[group.layer] = UNEVEN
            if member.role == "in":
                readers.setdefault(member.layer, []).append(group.layer)
    for layer, read in readers.items():
        if len(set(read)) > 1:
            reasons.update(dict.fromkeys(read, f"{PROJECTED} {layer}"))
    return reasons
