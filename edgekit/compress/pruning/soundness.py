"""Proof that pruning a group means what it should, and that a pruned network is a plain dense network.

Removing channels must give the same outputs as keeping them and making every reader ignore them. Where a
network pads or slices across channels (ResNet's shortcut of type A), the traced dependencies are wrong: such groups are
found here and left alone. So are groups whose channels are the network's outputs. Channels that a product of
activations sums over have no layer that reads them: to ignore them, they are made zero. A norm across the channels
ignores those that are removed, too, and takes its statistics over the others (see normalizing.py).
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgekit.compress.base import example_tensors, forward_outputs
from edgekit.compress.layers import transposed_convolutions
from edgekit.compress.probe import make_lively, make_probe
from edgekit.compress.pruning.normalizing import over_kept
from edgekit.compress.pruning.plan import PrunePlan, PruneStep
from edgekit.compress.pruning.slicing import cut
from edgekit.errors import StageError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.groups import ChannelGroup

__all__ = ["means_the_same", "output_shapes", "retrace", "sound_groups"]

_FORWARD_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, StageError)


def sound_groups(
    module: torch.nn.Module, example: Example, groups: Sequence[ChannelGroup]
) -> tuple[ChannelGroup, ...]:
    """The groups that can be pruned without breaking the network, found by bisection on trial prunings."""
    trying = _Trying(module, example, groups)
    chance = random.Random(0)

    def trial(group: ChannelGroup) -> PruneStep:
        kept = chance.sample(range(group.width), max(1, group.width // 2))
        return PruneStep(group.layer, group.width, tuple(sorted(kept)))

    trials = {
        group.layer: trial(group) for group in groups if group.width > 1 and (group.readers or group.summed)
    }

    def sound(part: list[ChannelGroup]) -> list[ChannelGroup]:
        if not part:
            return []
        plan = PrunePlan(tuple(trials[group.layer] for group in part))
        if trying.same_after(part, plan):
            return part
        if len(part) == 1:
            return []
        middle = len(part) // 2
        first, second = sound(part[:middle]), sound(part[middle:])
        together = [*first, *second]
        if not (first and second) or together == part:
            return first or second
        plan = PrunePlan(tuple(trials[group.layer] for group in together))
        return together if trying.same_after(together, plan) else first

    return tuple(sound([group for group in groups if group.layer in trials]))


def means_the_same(
    module: torch.nn.Module, example: Example, groups: Sequence[ChannelGroup], plan: PrunePlan
) -> bool:
    """Whether pruning `module` by `plan` equals making all readers ignore the removed channels."""
    return _Trying(module, example, groups).same_after(groups, plan)


def output_shapes(module: torch.nn.Module, example: Example) -> tuple[tuple[int, ...], ...]:
    """Shapes of all tensor outputs for `example`."""
    import torch

    with torch.no_grad():
        return tuple(tuple(out.shape) for out in forward_outputs(module.eval(), example_tensors(example)))


def retrace(module: torch.nn.Module, example: Example) -> None:
    """Trace `module` anew with torch.export. Raises StageError when it does not trace."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.export(module.eval(), example_tensors(example), strict=False)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise StageError(
                "prune", f"the pruned network cannot be traced again: {in_one_line(error)}"
            ) from error


class _Trying:
    """A probe of the network, and the inputs that it is tried with."""

    def __init__(self, module: torch.nn.Module, example: Example, groups: Sequence[ChannelGroup]) -> None:
        import torch

        self._probe, inputs = make_probe(module, example)
        self._batches = [inputs]
        if any(group.attended or group.normalizing or group.stored for group in groups):
            make_lively(self._probe)
            _fill(self._probe, {tensor.name for group in groups for tensor in group.stored})
        if any(group.sizes for group in groups):  # a size may hold the number of samples, too
            twice = tuple(torch.cat((tensor, tensor)) if tensor.ndim else tensor for tensor in inputs)
            try:
                with torch.no_grad():
                    self._probe(*twice)
                self._batches.append(twice)
            except _FORWARD_ERRORS:
                pass

    def same_after(self, groups: Sequence[ChannelGroup], plan: PrunePlan) -> bool:
        """Whether cutting is ignoring."""
        import torch

        masked = _ignoring(self._probe, groups, plan)
        try:
            pruned = cut(self._probe, groups, plan)
            with torch.no_grad():
                got = [forward_outputs(pruned, inputs) for inputs in self._batches]
                with over_kept(masked, _unseen(groups, plan)):
                    wanted = [forward_outputs(masked, inputs) for inputs in self._batches]
                return all(map(_alike, got, wanted))
        except _FORWARD_ERRORS:
            return False


def _alike(got: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> bool:
    return len(got) == len(wanted) and all(map(_close, got, wanted))


def _close(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    if got.shape != wanted.shape:
        return False
    if wanted.numel() == 0 or not wanted.is_floating_point():
        return bool((got == wanted).all())
    scale = float(wanted.abs().max()) + 1e-12
    return float((got - wanted).abs().max()) <= 1e-3 * scale


def _fill(probe: torch.nn.Module, names: Collection[str]) -> None:
    """Add noise to these tensors: fresh ones are zeros, or almost."""
    import torch

    generator = torch.Generator().manual_seed(2)
    stored = {**dict(probe.named_parameters()), **dict(probe.named_buffers())}
    with torch.no_grad():
        for name in sorted(names):
            tensor = stored.get(name)
            if tensor is not None and tensor.is_floating_point():
                tensor.add_(0.5 * torch.randn(tensor.shape, generator=generator))


def _unseen(groups: Sequence[ChannelGroup], plan: PrunePlan) -> dict[str, set[int]]:
    """Norm across channels → those that the plan removes."""
    removed = {step.layer: step.removed for step in plan.steps}
    unseen: dict[str, set[int]] = {}
    for group in groups:
        for member in group.members:
            if member.layer in group.normalizing:
                gone = {channel for i in removed.get(group.layer, ()) for channel in member.channels[i]}
                unseen.setdefault(member.layer, set()).update(gone)
    return unseen


def _ignoring(probe: torch.nn.Module, groups: Sequence[ChannelGroup], plan: PrunePlan) -> torch.nn.Module:
    """A copy in which every reader has zero weights for the channels that the plan removes.

    Makers of channels that are summed over without a reader have zero weights for them.
    """
    import torch

    masked = copy.deepcopy(probe)
    layers = dict(masked.named_modules())
    removed = {step.layer: step.removed for step in plan.steps}
    transposed = transposed_convolutions()
    with torch.no_grad():
        for group in groups:
            for reader in group.readers:
                gone = [channel for i in removed.get(group.layer, ()) for channel in reader.channels[i]]
                weight = layers[reader.layer].get_parameter("weight")
                if isinstance(layers[reader.layer], transposed):
                    weight[gone] = 0.0
                else:
                    weight[:, gone] = 0.0
            for maker in group.makers if group.summed else ():
                gone = [channel for i in removed.get(group.layer, ()) for channel in maker.channels[i]]
                weight = layers[maker.layer].get_parameter("weight")
                weight[(slice(None), gone) if isinstance(layers[maker.layer], transposed) else gone] = 0.0
                bias = getattr(layers[maker.layer], "bias", None)
                if bias is not None:
                    bias[gone] = 0.0
    return masked
