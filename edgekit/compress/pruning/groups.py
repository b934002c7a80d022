"""Groups of channels that go together, and the layers that make, read and carry them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.compress.pruning.trace import Role, TracedChannels, is_maker, trace_channels

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["ChannelGroup", "Grouping", "Member", "channel_groups"]


@dataclass(frozen=True)
class Member:
    """One layer of a group. `channels[i]` are the layer's channels that go when the group's channel i goes.

    role: "out" makes the channels (convolution, linear), "in" reads them, "through" carries them on
    (batch norm, depthwise convolution, PReLU). `norm` names the batch norm behind a maker.
    """

    layer: str
    role: Role
    channels: tuple[tuple[int, ...], ...]
    norm: str | None = None


@dataclass(frozen=True)
class ChannelGroup:
    """`width` channels that may be chosen among, named by `layer`, the first layer to make them.

    A group's channel is what goes at once: mostly one channel of each layer, two where the halves of a tensor stay
    equal.
    """

    layer: str
    width: int
    members: tuple[Member, ...]

    @property
    def makers(self) -> tuple[Member, ...]:
        """Members that make the channels; more than one where a residual adds them up."""
        return tuple(member for member in self.members if member.role == "out")

    @property
    def readers(self) -> tuple[Member, ...]:
        """Members that read the channels."""
        return tuple(member for member in self.members if member.role == "in")


@dataclass(frozen=True)
class Grouping:
    """The groups of a network, and its other layers, with the reason why they keep their width."""

    groups: tuple[ChannelGroup, ...]
    kept: Mapping[str, str]


def channel_groups(module: torch.nn.Module, example: Example) -> Grouping:
    """All groups whose channels flow through known operators only, in the order of their first layers.

    Not yet checked for soundness (see soundness.py). Channels that are outputs, that meet a recurrent layer, an
    attention, a bare parameter or any operator without a rule are in no group. Raises StageError when tracing fails.
    """
    traced = trace_channels(copy.deepcopy(module), example)
    order = {name: place for place, (name, _) in enumerate(module.named_modules())}
    made = [
        name for name, layer in module.named_modules() if is_maker(layer) and (name, "out") in traced.roles
    ]
    groups, kept = [], {}
    for makers in _coupled(traced, made):
        sets = sorted({traced.sets.root(e) for name in makers for e in traced.roles[name, "out"]})
        reason = next((why for element in sets if (why := traced.sets.why_fixed(element))), "")
        if reason:
            kept.update(dict.fromkeys(makers, reason))
        else:
            groups.append(_group(traced, makers[0], sets, order))
    return Grouping(tuple(groups), kept)


def _coupled(traced: TracedChannels, makers: Sequence[str]) -> list[list[str]]:
    """Makers that share a channel, together; each list, and the lists, in the order of the network's layers."""
    coupled: list[list[str]] = []
    held: list[set[int]] = []
    for name in makers:
        roots = {traced.sets.root(element) for element in traced.roles[name, "out"]}
        met = [place for place, others in enumerate(held) if roots & others]
        if not met:
            coupled.append([name])
            held.append(roots)
            continue
        first, *others = met
        coupled[first].append(name)
        held[first] |= roots
        for place in reversed(others):
            coupled[first].extend(coupled.pop(place))
            held[first] |= held.pop(place)
    rank = {name: place for place, name in enumerate(makers)}
    return sorted(
        (sorted(names, key=rank.__getitem__) for names in coupled), key=lambda names: rank[names[0]]
    )


def _group(traced: TracedChannels, first: str, sets: Sequence[int], order: dict[str, int]) -> ChannelGroup:
    """The group of these channels; they are numbered as its first layer makes them, the rest behind."""
    made = [traced.sets.root(element) for element in traced.roles[first, "out"]]
    place = {root: number for number, root in enumerate(dict.fromkeys((*made, *sets)))}
    members = []
    for (layer, role), elements in traced.roles.items():
        channels: list[list[int]] = [[] for _ in place]
        for channel, element in enumerate(elements):
            root = traced.sets.root(element)
            if root in place:
                channels[place[root]].append(channel)
        if any(channels):
            norm = traced.norms.get(layer) if role == "out" else None
            members.append(Member(layer, role, tuple(map(tuple, channels)), norm))
    members.sort(key=lambda member: (order[member.layer], member.role))
    return ChannelGroup(first, len(place), tuple(members))
