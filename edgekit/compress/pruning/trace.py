"""The channels of a whole network: torch.export traces it, and its graph is walked once."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.layers import transposed_convolutions
from edgekit.compress.program import operator_name
from edgekit.compress.pruning.calls import NumberPlace, RecordedCall
from edgekit.compress.pruning.channels import ChannelSets, TensorChannels
from edgekit.compress.pruning.flow import FIXED_WIDTH, Arrived, Left, flow
from edgekit.compress.pruning.products import product_macs
from edgekit.compress.pruning.tracing import Traced

if TYPE_CHECKING:
    import torch

__all__ = ["OUTPUT", "Role", "TracedChannels", "is_maker", "trace_channels"]

OUTPUT = "gives an output"

Role = Literal["out", "in", "through"]

_PRODUCTS = (
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
)


@dataclass
class TracedChannels:
    """Layers and the channels that they make, read or carry on, as elements of `sets`.

    `norms`: layer → the batch norm that its result goes into. `sizes`: numbers that a forward gives its views, with
    the channels that the axis of this size holds. `summed`: modules in whose forwards a product of activations sums
    over channels → those channels, and how many at once. `products`: of two activations, by their place in the graph →
    multiply-accumulates, and the channels on the axis that they lie along.
    """

    sets: ChannelSets = field(default_factory=ChannelSets)
    roles: dict[tuple[str, Role], tuple[int, ...]] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    sizes: dict[NumberPlace, tuple[int, ...]] = field(default_factory=dict)
    summed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    products: dict[tuple[str, int], tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def elements(self, layer: str, role: Role, count: int) -> tuple[int, ...]:
        """The layer's channels, the same at each of its calls."""
        if (layer, role) not in self.roles:
            self.roles[layer, role] = self.sets.new(count)
        return self.roles[layer, role]

    def fix_layer(self, layer: str) -> None:
        """The layer's weights are used in some other way too: they stay."""
        for (name, _), elements in self.roles.items():
            if name == layer:
                self.sets.fix(elements, "has weights that are used elsewhere too")


def trace_channels(traced: Traced, heads: frozenset[int] = frozenset()) -> TracedChannels:
    """Follow the channels of all layers. `heads`: numbers of heads; views are followed along the heads then, not along
    the channels of one (see views.py).
    """
    walk = _Walk(traced, heads)
    for node in traced.program.graph.nodes:
        walk.visit(node)
    for layer in (*walk.reused, *_tied(traced.module, walk.layers)):
        walk.traced.fix_layer(layer)
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

    def visit(self, node: Any) -> None:
        """Note the channels of the node's result."""
        if node.op == "output":
            self._fix(node.all_input_nodes, OUTPUT)
        if node.op != "call_function" or _only_checks(node):
            return
        if node.target is operator.getitem:
            whole = self._channels.get(node.args[0])
            self._channels[node] = whole[node.args[1]] if isinstance(whole, tuple) else None
            return
        layer = self._layer_of(node)
        self._channels[node] = self._plain(node) if layer is None else self._called(node, layer)

    def _layer_of(self, node: Any) -> torch.nn.Module | None:
        """The layer whose operator this is, when its weights go into it as they are."""
        import torch

        kinds: dict[str, Any] = {
            **dict.fromkeys(_PRODUCTS, torch.nn.Module),
            "batch_norm": (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d),
            "prelu": torch.nn.PReLU,
        }
        kind = kinds.get(operator_name(node))
        owners = {layer for source in node.all_input_nodes if (layer := self._owner(source)) is not None}
        if kind is None or len(owners) != 1:
            return None
        (layer,) = owners
        if kind is torch.nn.Module and not (is_maker(layer) or _is_depthwise(layer)):
            return None
        weight = node.args[1] if len(node.args) > 1 else None
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
        arrived, rank = self._channels.get(source), source.meta["val"].ndim
        channels = arrived if isinstance(arrived, TensorChannels) else None
        axis = rank - 1 if isinstance(layer, torch.nn.Linear) else 1
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
        self._meet(channels, elements)
        return None if channels is None else TensorChannels(axis, elements)

    def _meet(self, channels: TensorChannels | None, elements: tuple[int, ...]) -> None:
        if channels is None:
            self.traced.sets.fix(elements, FIXED_WIDTH)
        else:
            self.traced.sets.join_all(channels.ids, elements)

    def _plain(self, node: Any) -> Left:
        """Any other operator, by its rule."""
        import torch

        for owner in filter(None, map(self._owner, node.all_input_nodes)):
            self.reused.add(self.layers[owner])
            self.traced.fix_layer(self.layers[owner])
        value = node.meta.get("val")
        results = value if isinstance(value, (tuple, list)) else (value,)
        sources = list(_tensors(node))
        values = (*results, *(source.meta.get("val") for source in sources))
        known = isinstance(node.target, torch._ops.OpOverload)
        if not known or not all(isinstance(tensor, torch.Tensor) for tensor in values):
            self._fix(sources, f"goes into {operator_name(node) or node.name}")
            return None
        names = [argument.name for argument in node.target._schema.arguments]
        options = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        before, products = frozenset(self.traced.sets.contracted), len(self.traced.sets.multiplied)
        left = flow(
            self.traced.sets,
            operator_name(node),
            [self._arrived(source) for source in sources],
            options,
            [tuple(result.shape) for result in results],
            pointwise=torch.Tag.pointwise in node.target.tags,
            heads=self._heads,
        )
        self._note_sum(node, self.traced.sets.contracted - before)
        self._note_products(
            node, sources, self.traced.sets.multiplied[products:], str(options.get("equation", ""))
        )
        if left is not None and node in self._calls:
            self._note_sizes(node, self._calls[node], left)
        return left

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

    def _note_sizes(self, node: Any, recorded: RecordedCall, left: Left) -> None:
        """Which number of the call is the size of the axis that holds the channels."""
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

    def _arrived(self, source: Any) -> Arrived:
        channels = self._channels.get(source)
        return (channels if isinstance(channels, TensorChannels) else None), tuple(source.meta["val"].shape)

    def _fix(self, sources: Sequence[Any], reason: str) -> None:
        for source in sources:
            left = self._channels.get(source)
            for channels in left if isinstance(left, tuple) else (left,):
                if channels is not None:
                    self.traced.sets.fix(channels.ids, reason)


def _only_checks(node: Any) -> bool:
    """Whether the operator gives and changes nothing: it asserts something of its input."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns and not schema.is_mutable


def _tensors(node: Any) -> Iterator[Any]:
    """Nodes that an operator reads, in the order of its arguments; one that stands there twice comes twice."""
    import torch

    for argument in (*node.args, *node.kwargs.values()):
        for part in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(part, torch.fx.Node):
                yield part
