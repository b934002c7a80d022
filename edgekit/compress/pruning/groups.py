"""Groups of channels that go together, and the layers that make, read and carry them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.compress.pruning.calls import NumberPlace
from edgekit.compress.pruning.mending import Pinned, scales_of, shares_of
from edgekit.compress.pruning.stored import StoredAxis
from edgekit.compress.pruning.trace import is_maker, trace_channels
from edgekit.compress.pruning.traced import Role, TracedChannels
from edgekit.compress.pruning.tracing import Traced, trace

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = [
    "ChannelGroup",
    "ChannelUnit",
    "Grouping",
    "Member",
    "ProductMacs",
    "StoredTensor",
    "ViewSize",
    "channel_groups",
    "group_name",
]

ChannelUnit = Literal["channel", "head"]


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
class StoredTensor:
    """A parameter or buffer that is no layer's weight, as positions and tables of tokens are.

    Of its `axis`, `channels[i]` go when the group's channel i goes.
    """

    name: str
    axis: int
    channels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ViewSize:
    """A number that a module's forward gives a view: of the axis' `size` places, channels[i] go with channel i."""

    place: NumberPlace
    size: int
    channels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChannelGroup:
    """`width` channels that may be chosen among, named by `layer`, the first layer to make them.

    A group's channel is what goes at once: mostly one channel of each layer, two where the halves of a tensor stay
    equal, in an attention the same channel of each head. With the unit "head" it is a whole head, and the name says so:
    the same layers can be in a group of heads and in one of channels, which cut rows and columns of one grid.

    `sizes`: numbers in the network's forwards that follow. `attended`: the channels reach a product of activations.
    `summed`: one sums over them, so that no layer reads them; `scales`: numbers in that forward that may be computed
    from how many they are, which must stay as they are. `shares`: sizes in forwards that may be computed from the
    width though these channels do not lie there, as those of heads from a stream's → the sizes as they must stay.

    `stored`: tensors that hold the channels beside the layers. `normalizing`: layers that take statistics across the
    channels; they mean that over the channels that are left (see normalizing.py).
    """

    layer: str
    width: int
    members: tuple[Member, ...]
    unit: ChannelUnit = "channel"
    sizes: tuple[ViewSize, ...] = ()
    attended: bool = False
    summed: bool = False
    scales: tuple[tuple[NumberPlace, Pinned], ...] = ()
    shares: tuple[tuple[NumberPlace, int], ...] = ()
    stored: tuple[StoredTensor, ...] = ()
    normalizing: tuple[str, ...] = ()

    @property
    def makers(self) -> tuple[Member, ...]:
        """Members that make the channels; more than one where a residual adds them up."""
        return tuple(member for member in self.members if member.role == "out")

    @property
    def inner(self) -> bool:
        """Whether the channels are no residual stream's: one layer makes them, or they end within an attention."""
        return len(self.makers) == 1 or self.summed or self.unit == "head"

    @property
    def readers(self) -> tuple[Member, ...]:
        """Members that read the channels."""
        return tuple(member for member in self.members if member.role == "in")


@dataclass(frozen=True)
class ProductMacs:
    """A product of two activations: multiply-accumulates for one sample, and the groups that it gets narrower with."""

    macs: int
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """The groups of a network, and its other layers, with the reason why they keep their width.

    `products`: of activations, as attentions have them.
    """

    groups: tuple[ChannelGroup, ...]
    kept: Mapping[str, str]
    products: tuple[ProductMacs, ...] = ()


def channel_groups(module: torch.nn.Module, example: Example) -> Grouping:
    """All groups whose channels flow through known operators only, in the order of their first layers; then the heads.

    Not yet checked for soundness (see soundness.py). Channels that are outputs, that meet a recurrent layer, a
    normalization in groups or any operator without a rule are in no group. Raises StageError when tracing fails.
    """
    traced = trace(module, example)
    along_channels = trace_channels(traced)
    channels, kept = _grouped(traced, along_channels, "channel")
    walks = [(along_channels, channels)]
    known = {group.members for group in channels}
    heads: list[ChannelGroup] = []
    if traced.heads:
        along_heads = trace_channels(traced, traced.heads)
        split, _ = _grouped(traced, along_heads, "head")
        heads = [group for group in split if group.attended and group.members not in known]
        walks.append((along_heads, heads))
    whole = {member.layer for group in heads for member in group.makers}
    batch = max(1, int(np.shape(example[0])[0]))
    return Grouping(
        (*channels, *heads),
        {name: why for name, why in kept.items() if name not in whole},
        _products(walks, batch),
    )


def _products(
    walks: Sequence[tuple[TracedChannels, Sequence[ChannelGroup]]], batch: int
) -> tuple[ProductMacs, ...]:
    """Of both ways to follow channels: along each a product hangs on one group at most."""
    scaling: dict[tuple[str, int], list[str]] = {}
    for traced, groups in walks:
        root = traced.sets.root
        homes = {
            root(element): group.layer
            for group in groups
            for maker in group.makers
            for element in traced.roles[maker.layer, "out"]
        }
        for key, (_, elements) in traced.products.items():
            names = {homes.get(root(element), "") for element in elements}
            scaling.setdefault(key, []).extend(names - {""} if len(names) == 1 else ())
    first, _ = walks[0]
    return tuple(ProductMacs(macs // batch, tuple(scaling[key])) for key, (macs, _) in first.products.items())


def group_name(layer: str, unit: ChannelUnit) -> str:
    """What a group is called whose first layer this is."""
    return layer if unit == "channel" else f"{layer} heads"


def _grouped(
    network: Traced, traced: TracedChannels, unit: ChannelUnit
) -> tuple[list[ChannelGroup], dict[str, str]]:
    """The groups of one way to follow channels, and the layers that it cannot prune → why."""
    layers = dict(network.module.named_modules())
    root = traced.sets.root
    roles = {key: tuple(map(root, elements)) for key, elements in traced.roles.items()}
    sizes = {key: tuple(map(root, elements)) for key, elements in traced.sizes.items()}
    stored = {key: tuple(map(root, elements)) for key, elements in traced.stored.items()}
    made = [name for name, layer in layers.items() if is_maker(layer) and (name, "out") in traced.roles]
    groups, kept = [], {}
    for makers in _coupled(traced, made):
        sets = sorted({element for name in makers for element in roles[name, "out"]})
        reason = next((why for element in sets if (why := traced.sets.why_fixed(element))), "")
        if reason:
            kept.update(dict.fromkeys(makers, reason))
        else:
            groups.append(_group(network, _Rooted(traced, roles, sizes, stored), makers[0], sets, unit))
    return groups, kept


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


@dataclass(frozen=True)
class _Rooted:
    """Channels of a network with the roots of what its layers, its forwards' sizes and its stored tensors hold."""

    traced: TracedChannels
    roles: Mapping[tuple[str, Role], tuple[int, ...]]
    sizes: Mapping[NumberPlace, tuple[int, ...]]
    stored: Mapping[StoredAxis, tuple[int, ...]]


def _group(
    network: Traced, rooted: _Rooted, first: str, sets: Sequence[int], unit: ChannelUnit
) -> ChannelGroup:
    """The group of these channels; they are numbered as its first layer makes them, the rest behind."""
    traced = rooted.traced
    made = rooted.roles[first, "out"]
    place = {root: number for number, root in enumerate(dict.fromkeys((*made, *sets)))}

    def by_channel(roots: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """() where none of the group's is among them."""
        if place.keys().isdisjoint(roots):
            return ()
        channels: list[list[int]] = [[] for _ in place]
        for channel, root in enumerate(roots):
            if root in place:
                channels[place[root]].append(channel)
        return tuple(map(tuple, channels))

    order = {name: number for number, (name, _) in enumerate(network.module.named_modules())}
    members = [
        Member(layer, role, channels, traced.norms.get(layer) if role == "out" else None)
        for (layer, role), roots in rooted.roles.items()
        if (channels := by_channel(roots))
    ]
    members.sort(key=lambda member: (order[member.layer], member.role))
    sizes = tuple(
        ViewSize(at, len(roots), channels)
        for at, roots in rooted.sizes.items()
        if (channels := by_channel(roots))
    )
    scales = {
        at: value
        for name, (elements, counts) in traced.summed.items()
        if traced.sets.any_in(elements, place)
        for count in counts
        for at, value in scales_of(network.recorded.get(name, ()), count)
    }
    normalizing = tuple(
        member.layer for member in members if member.role == "through" and member.layer in traced.normalizing
    )
    stored = tuple(
        StoredTensor(name, axis, channels)
        for (name, axis), roots in rooted.stored.items()
        if (channels := by_channel(roots))
    )
    own = {view.place for view in sizes}
    is_attended = traced.sets.any_in(traced.sets.attended, place)
    around = {
        member.layer.rpartition(".")[0] for member in members if member.role == "in" and not is_attended
    }
    forwards = {name: calls for name, calls in network.recorded.items() if name in around}
    shares = tuple(shares_of(forwards, network.module, len(place), network.heads))
    return ChannelGroup(
        group_name(first, unit),
        len(place),
        tuple(members),
        unit,
        sizes,
        is_attended,
        traced.sets.any_in(traced.sets.contracted, place),
        tuple(scales.items()),
        tuple((at, size) for at, size in shares if at not in own),
        stored,
        normalizing,
    )
