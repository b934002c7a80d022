"""Multiply-accumulates of a network as a function of its group widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.compress.layers import transposed_convolutions, weighted_layers

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.groups import ChannelGroup, ChannelUnit

__all__ = ["CostModel", "LayerMacs", "layer_macs"]


_Share = tuple[str, int, float]
"""A group, its width, and how many of the layer's channels go with one of it."""


@dataclass(frozen=True)
class LayerMacs:
    """One convolution or linear layer: MACs for one sample (all its calls), channels in and out."""

    layer: str
    macs: int
    channels_in: int
    channels_out: int
    depthwise: bool


def layer_macs(module: torch.nn.Module, example: Example) -> tuple[LayerMacs, ...]:
    """MACs of every convolution and linear layer, counted in one forward run on `example`.

    Other work (attention products, pooling, activations) is not counted.
    """
    import torch

    transposed, layers = transposed_convolutions(), weighted_layers(module)
    totals = dict.fromkeys(layers, 0)

    def counter(name: str) -> Any:
        def count(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            positions = inputs[0] if isinstance(layer, transposed) else output
            totals[name] += positions.numel() * layer.weight[0].numel()

        return count

    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    inputs = example_tensors(example, device)
    handles = [layer.register_forward_hook(counter(name)) for name, layer in layers.items()]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(*inputs)
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    batch = inputs[0].shape[0]
    return tuple(_layer(name, layer, totals[name] // batch) for name, layer in layers.items())


def _layer(name: str, layer: Any, macs: int) -> LayerMacs:
    import torch

    if isinstance(layer, torch.nn.Linear):
        return LayerMacs(name, macs, layer.in_features, layer.out_features, depthwise=False)
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    return LayerMacs(name, macs, layer.in_channels, layer.out_channels, depthwise)


class CostModel:
    """MACs for any choice of group widths. Exact for convolutions and linear layers."""

    def __init__(self, layers: Sequence[LayerMacs], groups: Sequence[ChannelGroup]) -> None:
        self._layers = tuple(layers)
        self._out: dict[str, dict[ChannelUnit, list[_Share]]] = {layer.layer: {} for layer in layers}
        self._in: dict[str, dict[ChannelUnit, list[_Share]]] = {layer.layer: {} for layer in layers}
        by_name = {layer.layer: layer for layer in layers}
        self._touched: dict[str, dict[str, LayerMacs]] = {group.layer: {} for group in groups}
        for group in groups:
            for member in group.members:
                if member.layer not in by_name:
                    continue
                self._touched[group.layer][member.layer] = by_name[member.layer]
                per_channel = sum(len(channels) for channels in member.channels) / group.width
                side = (self._in if member.role == "in" else self._out)[member.layer]
                side.setdefault(group.unit, []).append((group.layer, group.width, per_channel))

    def macs(self, widths: Mapping[str, int]) -> int:
        """MACs for one sample when group g keeps `widths[g]` channels; groups not named keep all."""
        return round(sum(self._of(layer, widths) for layer in self._layers))

    def saved(self, widths: Mapping[str, int], group: str, width: int) -> int:
        """MACs that go when `group` gets narrower than `widths` say. Looks at the group's own layers alone."""
        narrower = {**widths, group: width}
        touched = self._touched[group].values()
        return round(sum(self._of(layer, widths) - self._of(layer, narrower) for layer in touched))

    def _of(self, layer: LayerMacs, widths: Mapping[str, int]) -> float:
        share = self._left(self._out[layer.layer], layer.channels_out, widths)
        if not layer.depthwise:
            share *= self._left(self._in[layer.layer], layer.channels_in, widths)
        return layer.macs * share

    @staticmethod
    def _left(
        by_unit: Mapping[ChannelUnit, Sequence[_Share]], channels: int, widths: Mapping[str, int]
    ) -> float:
        """Heads and channels of heads are rows and columns of one grid: what both leave is a product."""
        left = 1.0
        for shares in by_unit.values():
            gone = sum(
                (width - widths.get(group, width)) * per_channel for group, width, per_channel in shares
            )
            left *= 1.0 - gone / channels
        return left
