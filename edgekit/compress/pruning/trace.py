"""The channels of a whole network: torch.export traces it, and its graph is walked once."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.layers import transposed_convolutions
from edgekit.compress.program import only_checks, operator_name, options_of, tensors_of
from edgekit.compress.pruning.calls import NumberPlace
from edgekit.compress.pruning.channels import TensorChannels
from edgekit.compress.pruning.flow import FIXED_WIDTH, Arrived, Left, flow
from edgekit.compress.pruning.normalizing import NORM_WEIGHT, normalizes, weighted_norms
from edgekit.compress.pruning.products import product_macs
from edgekit.compress.pruning.stored import StoredChannels, is_table_or_plain
from edgekit.compress.pruning.traced import TracedChannels
from edgekit.compress.pruning.tracing import Traced

if TYPE_CHECKING:
    import torch

__all__ = ["OUTPUT", "is_maker", "trace_channels"]

OUTPUT = "gives an output"

_PRODUCTS = (
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
)


def trace_channels(traced: Traced, heads: frozenset[int] = frozenset()) -> TracedChannels:
    """Follow the channels of all layers. `heads`: numbers of heads; views are followed along the heads then, not along
    the channels of one (see views.py).
    """
    walk = _Walk(traced, heads)
    for node in traced.program.graph.nodes:
        walk.visit(node)
    tied = set(_tied(traced.module, walk.layers))
    for layer in (*walk.reused, *tied):
        walk.traced.fix_layer(layer)
    for owner in tied:
        walk.traced.fix_stored(owner)
    return walk.traced


def is_maker(layer: torch.nn.Module) -> bool:
    """Whether pruning may choose among the layer's output channels."""
    import torch

    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    if isinstance(layer, (*convolutions, *transposed_convolutions())):
        return bool(layer.groups == 1)
    return isinstance(layer, torch.nn.Linear)


def _width(layer: torch.nn.Module) -> int:
    """Output channels of a maker."""
    width = layer.out_features if "out_features" in vars(layer) else layer.out_channels
    assert isinstance(width, int)
    return width


def _is_depthwise(layer: torch.nn.Module) -> bool:
    import torch

    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return isinstance(layer, convolutions) and layer.groups == layer.in_channels == layer.out_channels


def _tied(module: torch.nn.Module, layers: dict[torch.nn.Module, str]) -> Iterator[str]:
    """Layers that share a parameter with another layer."""
    owners: dict[torch.nn.Parameter, list[str]] = {}
    for layer, name in layers.items():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
    return (name for names in owners.values() if len(names) > 1 for name in names)


class _Walk:
    """The graph, node by node: what is known of each node's result."""

    def __init__(self, traced: Traced, heads: frozenset[int]) -> None:
        self.traced = TracedChannels()
        self.layers = {layer: name for name, layer in traced.module.named_modules()}
        self.reused: set[str] = set()
        self._module, self._heads, self._calls = traced.module, heads, traced.calls
        self._scopes = traced.scopes
        signature = traced.program.graph_signature
        self._states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._channels: dict[Any, Left] = {}
        self._maker_of: dict[Any, str] = {}
        names = {
            name: path
            for name, path in self._states.items()
            if is_table_or_plain(self._module.get_submodule(path.rpartition(".")[0]))
        }
        self._stored = StoredChannels(self.traced.sets, names, self._flowed)
        self.traced.stored = self._stored.elements

    def visit(self, node: Any) -> None:
        """Note the channels of the node's result."""
        if node.op == "output":
            self._fix(node.all_input_nodes, OUTPUT)
        if node.op != "call_function" or only_checks(node):
            return
        layer = None if node.target is operator.getitem else self._layer_of(node)
        self._channels[node] = self._plain(node) if layer is None else self._called(node, layer)

    def _layer_of(self, node: Any) -> torch.nn.Module | None:
        """The layer whose operator this is, when its weights go into it as they are."""
        import torch

        kinds: dict[str, Any] = {
            **dict.fromkeys(_PRODUCTS, torch.nn.Module),
            **dict.fromkeys(NORM_WEIGHT, weighted_norms()),
            "batch_norm": (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d),
            "prelu": torch.nn.PReLU,
        }
        operation = operator_name(node)
        kind, place = kinds.get(operation), NORM_WEIGHT.get(operation, 1)
        owners = {layer for source in node.all_input_nodes if (layer := self._owner(source)) is not None}
        if kind is None or len(owners) != 1:
            return None
        (layer,) = owners
        if kind is torch.nn.Module and not (is_maker(layer) or _is_depthwise(layer)):
            return None
        if place != 1 and not normalizes(layer):
            return None
        weight = node.args[place] if len(node.args) > place else None
        known = isinstance(layer, kind) and (weight is None or self._owner(weight) is layer)
        return layer if known and self._owner(node.args[0]) is None else None

    def _owner(self, source: Any) -> torch.nn.Module | None:
        """The layer that a parameter or buffer belongs to."""
        path = self._states.get(source.name)
        return None if path is None else self._module.get_submodule(path.rpartition(".")[0])

    def _called(self, node: Any, layer: torch.nn.Module) -> Left:
        """A layer: it makes and reads channels, or carries them on."""
        import torch

        name, source = self.layers[layer], node.args[0]
        rank = source.meta["val"].ndim
        axis = rank - 1 if isinstance(layer, (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.RMSNorm)) else 1
        channels = self._along(source, axis)
        is_norm = isinstance(layer, weighted_norms())
        if is_norm and channels is not None and channels.axis < axis:
            return channels  # each of these has statistics of its own
        if channels is not None and channels.axis != axis:
            self._fix([source], "is not along the channel axis of a layer that reads it")
            channels = None
        if isinstance(layer, torch.nn.PReLU) and layer.num_parameters == 1:
            return channels
        count = source.meta["val"].shape[axis]
        if is_maker(layer):
            self._meet(channels, self.traced.elements(name, "in", count))
            self._maker_of[node] = name
            return TensorChannels(axis, self.traced.elements(name, "out", _width(layer)))
        if source in self._maker_of and operator_name(node) == "batch_norm":
            self.traced.norms.setdefault(self._maker_of[source], name)
        elements = self.traced.elements(name, "through", count)
        if is_norm:
            self.traced.normalizing.add(name)
        self._meet(channels, elements)
        return None if channels is None else TensorChannels(axis, elements)

    def _meet(self, channels: TensorChannels | None, elements: tuple[int, ...]) -> None:
        if channels is None:
            self.traced.sets.fix(elements, FIXED_WIDTH)
        else:
            self.traced.sets.join_all(channels.ids, elements)

    def _plain(self, node: Any) -> Left:
        """Any other operator, by its rule."""
        for owner in filter(None, map(self._owner, node.all_input_nodes)):
            self.reused.add(self.layers[owner])
            self.traced.fix_layer(self.layers[owner])
        if node.target is operator.getitem:
            return self._flowed(node, self._channels)
        for source, axis in self._meeting(node):
            if (stored := self._along(source, axis)) is not None:
                self._channels[source] = stored
        before, products = frozenset(self.traced.sets.contracted), len(self.traced.sets.multiplied)
        left = self._flowed(node, self._channels)
        self._note_sum(node, self.traced.sets.contracted - before)
        equation = str(node.args[0]) if operator_name(node) == "einsum" else ""
        self._note_products(node, list(tensors_of(node)), self.traced.sets.multiplied[products:], equation)
        self._note_sizes(node, left)
        return left

    def _flowed(self, node: Any, known: Mapping[Any, Left]) -> Left:
        """Channels of an operator's result, from those `known` of the nodes before; they are fixed where no rule is."""
        import torch

        if node.target is operator.getitem:
            whole = known.get(node.args[0])
            return whole[node.args[1]] if isinstance(whole, tuple) else None
        value = node.meta.get("val")
        results = value if isinstance(value, (tuple, list)) else (value,)
        sources = list(tensors_of(node))
        values = (*results, *(source.meta.get("val") for source in sources))
        is_known = isinstance(node.target, torch._ops.OpOverload)
        if not is_known or not all(isinstance(tensor, torch.Tensor) for tensor in values):
            self._fix(sources, f"goes into {operator_name(node) or node.name}", known)
            return None
        return flow(
            self.traced.sets,
            operator_name(node),
            [_arrived(source, known) for source in sources],
            options_of(node),
            [tuple(result.shape) for result in results],
            pointwise=torch.Tag.pointwise in node.target.tags,
            heads=self._heads,
        )

    def _along(self, source: Any, axis: int) -> TensorChannels | None:
        """What is known of a tensor; where that is nothing, the channels that stored tensors have along this axis."""
        arrived = self._channels.get(source)
        if isinstance(arrived, TensorChannels):
            return arrived
        made = None if arrived else self._stored.along(source, axis)
        if made is None:
            return None
        left, between = made
        for node, channels in between.items():
            self._note_sizes(node, channels)
        return left

    def _meeting(self, node: Any) -> Iterator[tuple[Any, int]]:
        """Tensors without channels that meet channels of another element by element, or lie beside them → the axis."""
        import torch

        if not isinstance(node.target, torch._ops.OpOverload):
            return
        name = operator_name(node)
        if name not in ("cat", "concat", "stack") and torch.Tag.pointwise not in node.target.tags:
            return
        sources = list(tensors_of(node))
        arrived = [_arrived(source, self._channels) for source in sources]
        held = [
            (len(shape) - channels.axis, channels.ids) for channels, shape in arrived if channels is not None
        ]
        if not held:
            return
        behind, ids = held[0]
        along = int(options_of(node).get("dim", 0)) if name in ("cat", "concat") else None
        for source, (channels, shape) in zip(sources, arrived, strict=True):
            axis = len(shape) - behind
            if channels is not None or axis < 0 or shape[axis] != len(ids):
                continue
            if along is None or along % len(shape) != axis:
                yield source, axis

    def _note_sum(self, node: Any, elements: set[int]) -> None:
        """Which module's forward sums over channels: it may scale by their number."""
        scope = self._scopes.get(node)
        if elements and scope is not None:
            known, counts = self.traced.summed.get(scope, ((), ()))
            self.traced.summed[scope] = ((*known, *elements), tuple(sorted({*counts, len(elements)})))

    def _note_products(
        self, node: Any, sources: Sequence[Any], rows: Sequence[tuple[int, ...]], equation: str
    ) -> None:
        """What products of activations cost, and which channels they get narrower with."""
        if any(self._states.get(source.name) for source in sources):
            return
        shapes = [tuple(source.meta["val"].shape) for source in sources]
        for index, macs in enumerate(product_macs(operator_name(node), shapes, equation)):
            self.traced.products[node.name, index] = macs, rows[index] if index < len(rows) else ()

    def _note_sizes(self, node: Any, left: Left) -> None:
        """Which number of the call that made a node is the size of the axis that holds the channels."""
        recorded = self._calls.get(node)
        if left is None or recorded is None:
            return
        parts = left if isinstance(left, tuple) else (left,)
        for index, channels in enumerate(parts):
            if channels is None:
                continue
            count = len(channels.ids)
            position = index if recorded.call.kind == "split" else channels.axis
            if recorded.call.kind == "unflatten":
                position -= node.args[1] % node.args[0].meta["val"].ndim
            if recorded.call.kind == "split" and len(recorded.numbers) == 1 and index:
                continue
            if 0 <= position < len(recorded.numbers) and recorded.numbers[position] == count:
                place = NumberPlace(recorded.call, position)
                known = self.traced.sizes.setdefault(place, channels.ids)
                self.traced.sets.join_all(known, channels.ids)

    def _fix(self, sources: Sequence[Any], reason: str, known: Mapping[Any, Left] | None = None) -> None:
        for source in sources:
            left = (self._channels if known is None else known).get(source)
            for channels in left if isinstance(left, tuple) else (left,):
                if channels is not None:
                    self.traced.sets.fix(channels.ids, reason)


def _arrived(source: Any, known: Mapping[Any, Left]) -> Arrived:
    channels = known.get(source)
    return (channels if isinstance(channels, TensorChannels) else None), tuple(source.meta["val"].shape)
