"""Multiply-accumulates of a network as a function of its group widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.compress.layers import transposed_convolutions, weighted_layers
from edgekit.compress.pruning.products import product_macs

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.groups import ChannelGroup, ChannelUnit, ProductMacs

__all__ = ["CostModel", "LayerMacs", "layer_macs", "network_macs"]


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

    Other work is not counted: products of activations (see `network_macs`), pooling, activations.
    """

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
    try:
        _run(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    batch = inputs[0].shape[0]
    return tuple(_layer(name, layer, totals[name] // batch) for name, layer in layers.items())


def network_macs(module: torch.nn.Module, example: Example) -> int:
    """Multiply-accumulates of all convolutions, linear layers and products of two activations, for one sample."""
    from torch.utils._python_dispatch import TorchDispatchMode

    stored = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        macs: int = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            tensors = args[:3] if "scaled_dot_product" in name else args[:2]
            if name == "bmm" or "scaled_dot_product" in name:
                shapes = [tuple(tensor.shape) for tensor in tensors]
                known = "bmm" if name == "bmm" else "scaled_dot_product_attention"
                if not any(tensor.untyped_storage().data_ptr() in stored for tensor in tensors):
                    self.macs += sum(product_macs(known, shapes))
            return func(*args, **(kwargs or {}))

    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    inputs = example_tensors(example, device)
    counter = Counter()  # type: ignore[no-untyped-call]
    with counter:
        _run(module, inputs)
    products = int(counter.macs) // int(inputs[0].shape[0])
    return products + sum(layer.macs for layer in layer_macs(module, example))


def _run(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """One forward in eval mode, layer by layer: torch's fused transformer layers tell of none."""
    import torch

    training, fused = module.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            module.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        module.train(training)


def _layer(name: str, layer: Any, macs: int) -> LayerMacs:
    import torch

    if isinstance(layer, torch.nn.Linear):
        return LayerMacs(name, macs, layer.in_features, layer.out_features, depthwise=False)
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    return LayerMacs(name, macs, layer.in_channels, layer.out_channels, depthwise)


class CostModel:
    """MACs for any choice of group widths. Exact for convolutions, linear layers and products of activations."""

    def __init__(
        self,
        layers: Sequence[LayerMacs],
        groups: Sequence[ChannelGroup],
        products: Sequence[ProductMacs] = (),
    ) -> None:
        self._layers, self._products = tuple(layers), tuple(products)
        self._full = {group.layer: group.width for group in groups}
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
        return round(
            sum(self._of(layer, widths) for layer in self._layers)
            + sum(self._of_product(product, widths) for product in self._products)
        )

    def saved(self, widths: Mapping[str, int], group: str, width: int) -> int:
        """MACs that go when `group` gets narrower than `widths` say. Looks at the group's own layers alone."""
        narrower = {**widths, group: width}
        touched = self._touched[group].values()
        products = [product for product in self._products if group in product.groups]
        return round(
            sum(self._of(layer, widths) - self._of(layer, narrower) for layer in touched)
            + sum(self._of_product(item, widths) - self._of_product(item, narrower) for item in products)
        )

    def _of_product(self, product: ProductMacs, widths: Mapping[str, int]) -> float:
        left = float(product.macs)
        for name in product.groups:
            if name in self._full:
                left *= widths.get(name, self._full[name]) / self._full[name]
        return left

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
