"""Pruning itself: the channels that a plan removes are cut out of the weights of all layers that hold them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.depth.shallow import shallower
from edgekit.compress.layers import transposed_convolutions
from edgekit.compress.pruning.calls import NumberPlace
from edgekit.compress.pruning.groups import ChannelGroup, ChannelUnit, channel_groups
from edgekit.compress.pruning.mending import Pinned, Resized, mend
from edgekit.compress.pruning.traced import Role
from edgekit.errors import StageError, UserError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.plan import PrunePlan, PruneStep

__all__ = ["apply_steps", "cut"]


def apply_steps(module: torch.nn.Module, example: Example, plan: PrunePlan) -> torch.nn.Module:
    """A pruned copy of `module`: blocks dropped and merged, weights sliced, eval mode.

    Raises StageError when the plan does not fit.
    """
    if plan.dropped or plan.merged:
        try:
            module = shallower(module, example, plan.dropped, plan.merged)
        except UserError as error:
            raise StageError("prune", str(error)) from error
    return cut(module, channel_groups(module, example).groups if plan.steps else (), plan)


def cut(module: torch.nn.Module, groups: Sequence[ChannelGroup], plan: PrunePlan) -> torch.nn.Module:
    """The channels of `plan` out of a network whose blocks are dropped and merged already, and whose groups are known.

    Raises StageError when the plan does not fit.
    """
    pruned = copy.deepcopy(module)
    if not plan.steps:
        return pruned.eval()
    for parameter in pruned.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    known = {group.layer: group for group in groups}
    gone: dict[tuple[str, Role], set[int]] = {}
    for step in plan.steps:
        group = known.get(step.layer)
        if group is None or group.width != step.width:
            actual = "no such group" if group is None else f"it has {group.width}"
            raise StageError("prune", f"the plan wants {step.layer} with {step.width} channels: {actual}")
        for member in group.members:
            removed = {channel for i in step.removed for channel in member.channels[i]}
            gone.setdefault((member.layer, member.role), set()).update(removed)
    layers = dict(pruned.named_modules())
    for (name, role), channels in gone.items():
        if channels:
            _cut_layer(layers[name], role, channels)
    _cut_stored(pruned, plan, known)
    mend(pruned, _numbers({step.layer: step for step in plan.steps}, groups))
    return pruned.eval()


def _numbers(
    steps: Mapping[str, PruneStep], groups: Sequence[ChannelGroup]
) -> dict[NumberPlace, Resized | Pinned]:
    """What the network's forwards must ask for from now on.

    An axis that holds heads of several channels loses its share of heads and, of what is left, its share of channels.
    What a forward computes from a width that is narrower now keeps its size otherwise.
    """
    gone: dict[NumberPlace, dict[ChannelUnit, set[int]]] = {}
    sizes: dict[NumberPlace, int] = {}
    numbers: dict[NumberPlace, Resized | Pinned] = {}
    read: dict[NumberPlace, tuple[int, int]] = {}
    for group in groups:
        step = steps.get(group.layer)
        if step is None:
            continue
        for view in group.sizes:
            sizes[view.place] = view.size
            removed = {place for i in step.removed for place in view.channels[i]}
            gone.setdefault(view.place, {}).setdefault(group.unit, set()).update(removed)
        numbers.update(group.scales)
        for at, size in group.shares:
            sizes[at], read[at] = size, (group.width, len(step.kept))
    for at, size in sizes.items():
        left = size
        for removed in gone.get(at, {}).values():
            left = left * (size - len(removed)) // size
        if left != size or at in read:
            numbers[at] = Resized(size, left, read.get(at))
    return numbers


_COUNTS = ("num_features", "num_parameters", "num_channels", "groups", "in_channels", "out_channels")
"""What layers that carry channels on call their number."""


def _cut_layer(layer: Any, role: Role, gone: Collection[int]) -> None:
    """Remove channels of one layer, and correct the numbers that it tells of itself."""
    import torch

    transposed = transposed_convolutions()
    if role == "in":
        left = _keep(layer, ("weight",), gone, 0 if isinstance(layer, transposed) else 1)
        setattr(layer, "in_features" if isinstance(layer, torch.nn.Linear) else "in_channels", left)
    elif role == "out":
        left = _keep(layer, ("weight",), gone, 1 if isinstance(layer, transposed) else 0)
        _keep(layer, ("bias",), gone, 0)
        setattr(layer, "out_features" if isinstance(layer, torch.nn.Linear) else "out_channels", left)
    else:
        left = _keep(layer, ("weight", "bias", "running_mean", "running_var"), gone, 0)
        for number in _COUNTS:
            if number in vars(layer):
                setattr(layer, number, left)
        if "normalized_shape" in vars(layer):
            layer.normalized_shape = (left,)


def _cut_stored(network: torch.nn.Module, plan: PrunePlan, groups: Mapping[str, ChannelGroup]) -> None:
    """Remove channels of what is no layer's weight."""
    import torch

    gone: dict[tuple[str, int], set[int]] = {}
    for step in plan.steps:
        for tensor in groups[step.layer].stored:
            removed = {channel for i in step.removed for channel in tensor.channels[i]}
            gone.setdefault((tensor.name, tensor.axis), set()).update(removed)
    for (name, axis), channels in gone.items():
        owner, _, own = name.rpartition(".")
        module: Any = network.get_submodule(owner)
        left = _keep(module, (own,), channels, axis)
        if isinstance(module, torch.nn.Embedding):
            module.embedding_dim = left


def _keep(layer: Any, names: Sequence[str], gone: Collection[int], axis: int) -> int:
    """Keep the other entries of these tensors along `axis`; how many they are."""
    import torch

    left = 0
    for name in names:
        tensor = getattr(layer, name, None)
        if tensor is None:
            continue
        kept = [index for index in range(tensor.shape[axis]) if index not in gone]
        rest = tensor.detach().index_select(axis, torch.tensor(kept, device=tensor.device)).clone()
        left = len(kept)
        if isinstance(tensor, torch.nn.Parameter):
            rest = torch.nn.Parameter(rest, requires_grad=tensor.requires_grad)
        setattr(layer, name, rest)
    return left
