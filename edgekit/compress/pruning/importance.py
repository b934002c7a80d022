"""How much each channel of a group matters, in three ways. Higher scores stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.compress.base import forward_outputs, to_tensor
from edgekit.compress.layers import transposed_convolutions
from edgekit.compress.training.goal import Goal, find_goal
from edgekit.errors import UserError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.base import Samples
    from edgekit.compress.pruning.groups import ChannelGroup, Member

__all__ = ["Importance", "channel_scores"]

Importance = Literal["magnitude", "taylor", "activation"]
Scores = dict[str, "NDArray[np.float64]"]
_Side = tuple[str, str]
_BATCH = 64


def channel_scores(
    module: torch.nn.Module,
    groups: Sequence[ChannelGroup],
    importance: Importance,
    data: Samples | None,
    samples: int,
) -> Scores:
    """Group's layer → non-negative scores [width].

    magnitude: squared L2 norm of each filter with its batch norm folded in (no data), times the mean squared scale of
    the norms across the channels, behind which readers see them.
    activation: the share of each reader's input energy that comes from the channel: variance of the channel
    times the squared norm of the weights that read it. The mean is left out: biases and norms absorb it.
    taylor: E[(a * dL/da)^2] over samples, a being the channel as its readers see it: the first-order change
    of the loss when the channel is removed (Molchanov et al. 2019; Liu et al. 2021, group Fisher pruning).
    L is cross-entropy against class numbers; without those, against some drawn from the network's own
    softmax (the true Fisher information); for outputs that are not [N, classes], a random projection of them.

    Channels that a product of activations sums over (queries and keys) have no reader: there activation takes the
    product of their energies in the layers that make them, and taylor has `a` as those layers give it.

    `samples` bounds how many samples are read. Raises UserError when data are needed and absent.
    """
    if importance == "magnitude":
        return _magnitude(module, groups)
    if data is None:
        raise UserError(f"importance {importance} needs samples", allowed="magnitude without data")
    if importance == "activation":
        return _activation(module, groups, data, samples)
    return _taylor(module, groups, data, samples)


def _magnitude(module: torch.nn.Module, groups: Sequence[ChannelGroup]) -> Scores:
    layers = dict(module.named_modules())
    scores: Scores = {}
    for group in groups:
        total = np.zeros(group.width)
        for maker in group.makers:
            energy = _filter_energy(layers[maker.layer], layers.get(maker.norm) if maker.norm else None)
            total += _gather(energy, maker, energy.sum())
        scores[group.layer] = total * _norm_scales(layers, group)
    return scores


def _norm_scales(layers: Mapping[str, torch.nn.Module], group: ChannelGroup) -> NDArray[np.float64]:
    """Mean squared scale of each channel in the norms across them, each as shares; ones where there are none."""
    scales = [np.ones(group.width)] if not group.normalizing else []
    for member in group.members:
        if member.layer in group.normalizing:
            weight = layers[member.layer].get_parameter("weight").detach().double().cpu().numpy()
            scales.append(_gather(weight**2, member, float((weight**2).sum())))
    return np.asarray(np.mean(scales, axis=0), dtype=np.float64)


def _filter_energy(layer: torch.nn.Module, norm: Any) -> NDArray[np.float64]:
    weight = _rows(layer, reading=False)
    energy = weight.square().sum(1)
    if norm is not None and norm.weight is not None and norm.running_var is not None:
        energy = (
            energy
            * norm.weight.detach().double().square().cpu()
            / (norm.running_var.double().cpu() + norm.eps)
        )
    return np.asarray(energy.numpy(), dtype=np.float64)


def _rows(layer: torch.nn.Module, *, reading: bool) -> torch.Tensor:
    """Weights as float64 [channels, rest]: one row per channel that the layer reads, or makes."""

    weight = layer.get_parameter("weight").detach().double().cpu()
    transposed = transposed_convolutions()
    if reading != isinstance(layer, transposed):
        weight = weight.transpose(0, 1)
    return weight.flatten(1)


def _gather(values: NDArray[np.float64], member: Member, total: float) -> NDArray[np.float64]:
    """Per-layer-channel values summed to per-group-channel values, as shares of `total`."""
    sums = np.array([values[list(channels)].sum() for channels in member.channels], dtype=np.float64)
    return sums / (float(total) + 1e-30)


def _activation(
    module: torch.nn.Module, groups: Sequence[ChannelGroup], data: Samples, samples: int
) -> Scores:
    import torch

    layers = dict(module.named_modules())
    readers = {reader.layer for group in groups for reader in group.readers}
    makers = {maker.layer for group in groups if group.summed for maker in group.makers}
    sums = {name: np.zeros((2, 1)) for name in readers}
    counts = dict.fromkeys(readers, 0)
    energies: dict[str, NDArray[np.float64]] = {name: np.zeros(1) for name in makers}

    def flat(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x.detach().movedim(_channel_axis(layer, x), -1).flatten(0, -2).double()

    def watcher(name: str) -> Any:
        def watch(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            read = flat(layer, inputs[0])
            sums[name] = sums[name] + torch.stack((read.sum(0), read.square().sum(0))).cpu().numpy()
            counts[name] += read.shape[0]

        return watch

    def made_by(name: str) -> Any:
        def watch(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
            energies[name] = energies[name] + flat(layer, output).square().sum(0).cpu().numpy()

        return watch

    handles = [layers[name].register_forward_pre_hook(watcher(name)) for name in readers]
    handles += [layers[name].register_forward_hook(made_by(name)) for name in makers]
    try:
        with torch.no_grad():
            for inputs, _ in _some_batches(module, data, samples):
                module.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    scores: Scores = {}
    for group in groups:
        total = np.zeros(group.width)
        for reader in group.readers:
            first, second = sums[reader.layer] / max(1, counts[reader.layer])
            weight = _rows(layers[reader.layer], reading=True).square().sum(1).numpy()
            energy = np.maximum(second - first**2, 0.0) * weight
            total += _gather(energy, reader, energy.sum())
        scores[group.layer] = total / max(1, len(group.readers))
        if group.summed:
            made = [_gather(energies[m.layer], m, energies[m.layer].sum()) for m in group.makers]
            scores[group.layer] += np.prod(made, axis=0)
    return scores


def _taylor(module: torch.nn.Module, groups: Sequence[ChannelGroup], data: Samples, samples: int) -> Scores:
    import torch

    layers = dict(module.named_modules())
    gated = [(member.layer, member.role) for group in groups for member in _gated(group)]
    gates: dict[_Side, list[torch.Tensor]] = {side: [] for side in sorted(set(gated))}

    def factor(side: _Side, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        axis = _channel_axis(layer, x) % x.ndim
        shape = [x.shape[0] if i == 0 else x.shape[axis] if i == axis else 1 for i in range(x.ndim)]
        gates[side].append(torch.ones(shape, dtype=x.dtype, device=x.device, requires_grad=True))
        return gates[side][-1]

    def gate(side: _Side) -> Any:
        def read(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (inputs[0] * factor(side, layer, inputs[0]), *inputs[1:])

        def made(layer: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
            return output * factor(side, layer, output)

        layer = layers[side[0]]
        return layer.register_forward_pre_hook(read) if side[1] == "in" else layer.register_forward_hook(made)

    scores: Scores = {group.layer: np.zeros(group.width) for group in groups}
    seen = 0
    generator = torch.Generator().manual_seed(0)
    handles = [gate(side) for side in gates]
    try:
        with torch.enable_grad():
            for inputs, labels in _some_batches(module, data, samples):
                for products in gates.values():
                    products.clear()
                outputs = forward_outputs(module.eval(), inputs)
                loss = _probe_loss(outputs, labels, find_goal(data.labels, outputs), generator)
                flat = [product for products in gates.values() for product in products]
                gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
                slopes = {side: _slopes(products, gradients) for side, products in gates.items()}
                seen += inputs[0].shape[0]
                for group in groups:
                    scores[group.layer] += _group_slope(group, slopes)
    finally:
        for handle in handles:
            handle.remove()
    return {name: total / max(1, seen) for name, total in scores.items()}


def _slopes(factors: list[torch.Tensor], gradients: Iterator[torch.Tensor | None]) -> NDArray[np.float64]:
    """Gradients of one layer's gates summed over its calls: float64 [N, channels]."""
    total: NDArray[np.float64] | float = 0.0
    for factor in factors:
        gradient = next(gradients)
        if gradient is not None:
            total = total + gradient.reshape(factor.shape[0], -1).double().cpu().numpy()
    return np.asarray(total, dtype=np.float64)


def _gated(group: ChannelGroup) -> tuple[Member, ...]:
    """The members at whom a channel's removal is seen: its readers, or its makers where it is summed over."""
    return group.makers if group.summed else group.readers


def _group_slope(group: ChannelGroup, slopes: dict[_Side, NDArray[np.float64]]) -> NDArray[np.float64]:
    total: NDArray[np.float64] | float = 0.0
    for member in _gated(group):
        slope = slopes[member.layer, member.role]
        if slope.ndim == 2:
            total = total + np.stack(
                [slope[:, list(channels)].sum(1) for channels in member.channels], axis=1
            )
    squared = np.atleast_2d(np.asarray(total, dtype=np.float64) ** 2)
    return np.asarray(squared.sum(0), dtype=np.float64)


def _probe_loss(
    outputs: tuple[torch.Tensor, ...],
    labels: torch.Tensor | None,
    goal: Goal | None,
    generator: torch.Generator,
) -> torch.Tensor:
    import torch

    total = outputs[0].new_zeros(())
    for index, output in enumerate(outputs):
        targeted = goal is not None and goal.output == index
        if output.ndim == 2 and output.shape[1] > 1 and not (goal and targeted and goal.kind == "values"):
            drawn = labels if targeted else None
            if drawn is None:
                chances = output.detach().float().softmax(1).cpu()
                drawn = torch.multinomial(chances, 1, generator=generator)[:, 0].to(output.device)
            total = total + torch.nn.functional.cross_entropy(output, drawn, reduction="sum")
        elif output.is_floating_point():
            direction = torch.randn(output.shape, generator=generator).to(output)
            total = total + (output * direction).sum()
    return total


def _some_batches(
    module: torch.nn.Module, data: Samples, samples: int
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]:
    import torch

    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    read = 0
    for batch in data.batches(_BATCH, shuffle_seed=0):
        labels = None if batch.labels is None else torch.as_tensor(batch.labels, device=device)
        yield tuple(to_tensor(array, device) for array in batch.inputs), labels
        read += len(batch.inputs[0])
        if read >= samples:
            return


def _channel_axis(layer: torch.nn.Module, x: torch.Tensor) -> int:
    import torch

    return x.ndim - 1 if isinstance(layer, torch.nn.Linear) else 1
