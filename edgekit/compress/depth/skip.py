"""The skip path of a residual block, in the graph: the way from its input to its output past what it adds.

Walked back from the output: where two tensors that both come from the block's input are added, the cheaper one is gone
on with, and the other goes when the block is dropped. A projecting shortcut and a last activation lie on the path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.program import operator_name

if TYPE_CHECKING:
    import torch

__all__ = ["Scopes", "SkipPath", "SkipStep", "Taken", "products", "skip_path"]

_PRODUCTS = frozenset(
    (
        "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
        "linear", "addmm", "mm", "bmm", "matmul", "einsum", "scaled_dot_product_attention", "lstm", "gru",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """Stands for an earlier tensor of the path among a step's arguments."""

    result: str


@dataclass(frozen=True)
class SkipStep:
    """One call on the path: of `layer` (its name in the block), or else of the operator `function`."""

    result: str
    layer: str
    function: Any
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class SkipPath:
    """What is computed from `source` when the block is dropped. `additions`: graph nodes, the sums that it passes."""

    source: str
    shape: tuple[int, ...]
    result: str
    steps: tuple[SkipStep, ...]
    additions: frozenset[str]

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that stay, by their names in the block."""
        return tuple(dict.fromkeys(step.layer for step in self.steps if step.layer))


class Scopes:
    """The nodes of each submodule, and what is a parameter or buffer."""

    def __init__(self, module: torch.nn.Module, program: Any) -> None:
        signature = program.graph_signature
        constants = getattr(signature, "inputs_to_lifted_tensor_constants", {})
        self.modules = dict(module.named_modules())
        self.states = {*signature.inputs_to_parameters, *signature.inputs_to_buffers, *constants}
        self.inside: dict[str, set[Any]] = {}
        keys: dict[str, set[str]] = {}
        self.innermost: dict[Any, str] = {}
        for node in program.graph.nodes:
            stack = node.meta.get("nn_module_stack") or {}
            for key, (name, _) in stack.items():
                self.inside.setdefault(name, set()).add(node)
                keys.setdefault(name, set()).add(key)
                self.innermost[node] = name
        # A second call of a module has another key, "name@1": its nodes are those of two calls.
        self.called_once = {name for name, names in keys.items() if len(names) == 1 and name in self.modules}

    def exits(self, name: str) -> list[Any]:
        """Nodes of a submodule whose results are read outside of it."""
        inside = self.inside[name]
        return [node for node in inside if any(user not in inside for user in node.users)]

    def entries(self, name: str) -> list[Any]:
        """Tensors that a submodule reads and did not make itself, but for parameters and buffers."""
        inside = self.inside[name]
        read = dict.fromkeys(source for node in inside for source in node.all_input_nodes)
        return [source for source in read if source not in inside and source.name not in self.states]


def skip_path(scopes: Scopes, name: str) -> SkipPath | None:
    """The skip path of submodule `name`; None where it is no residual block.

    What is added must be computed from the block's input, and at its full shape. A shortcut may hold one product
    (convolution, linear), and then only fewer than what goes.
    """
    exits = scopes.exits(name)
    if name not in scopes.called_once or len(exits) != 1 or _shape(exits[0]) is None:
        return None
    walk = _Walk(scopes, name, exits[0])
    kept = walk.kept(exits[0])
    if kept is None:
        return None
    sources = [node for node in kept if node not in scopes.inside[name]]
    additions = [node for node in kept if walk.is_residual(node)]
    if len(sources) != 1 or sources[0] not in walk.needed(additions):
        return None
    staying = walk.products(kept)
    going = products(scopes.inside[name]) - staying
    if staying > 1 or going <= staying:
        return None
    return walk.path(sources[0], exits[0], kept, frozenset(node.name for node in additions))


class _Walk:
    """Back from a block's output, node by node, with what was found out of each."""

    def __init__(self, scopes: Scopes, name: str, last: Any) -> None:
        self._scopes, self._name = scopes, name
        self._inside = scopes.inside[name]
        self._kept: dict[Any, frozenset[Any] | None] = {}
        self._origins: dict[Any, frozenset[Any]] = {}
        self._layers: dict[Any, tuple[str, Any]] = {}
        self._chosen: dict[Any, Any] = {}
        for node in last.graph.nodes:  # in the graph's order, so that no walk back is deep
            if node in self._inside:
                self.origins(node)
                self.kept(node)

    def needed(self, additions: Collection[Any]) -> frozenset[Any]:
        """Inputs of the block that what is dropped at every one of these sums is computed from."""
        dropped = [other for node in additions for other in node.args if other is not self._chosen[node]]
        return frozenset.intersection(*map(self.origins, dropped)) if dropped else frozenset()

    def kept(self, node: Any) -> frozenset[Any] | None:
        """What is computed for `node` when the block is dropped, inputs of the block included; None: it cannot be."""
        if node not in self._kept:
            self._kept[node] = self._looked_at(node)
        return self._kept[node]

    def is_residual(self, node: Any) -> bool:
        """Whether `node` adds two tensors of one shape that both come from an input of the block."""
        if operator_name(node) != "add" or len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1:
            return False
        first, second = node.args
        if not all(hasattr(operand, "all_input_nodes") for operand in node.args) or first is second:
            return False
        alike = _shape(first) is not None and _shape(first) == _shape(second) == _shape(node)
        return alike and bool(self.origins(first) & self.origins(second))

    def origins(self, node: Any) -> frozenset[Any]:
        """The inputs of the block that `node` is computed from."""
        if node.name in self._scopes.states:
            return frozenset()
        if node not in self._inside:
            return frozenset((node,))
        if node not in self._origins:
            met = [self.origins(source) for source in node.all_input_nodes]
            self._origins[node] = frozenset().union(*met)
        return self._origins[node]

    def products(self, kept: Collection[Any]) -> int:
        """Convolutions and other products among what is kept, those in whole layers included."""
        layers = {self._layers[node][0] for node in kept if node in self._layers}
        nodes = {node for node in kept if node in self._inside and node not in self._layers}
        return products(nodes.union(*(self._scopes.inside[layer] for layer in layers)))

    def path(
        self, source: Any, result: Any, kept: Collection[Any], additions: frozenset[str]
    ) -> SkipPath | None:
        """What is kept, as steps in the graph's order; None where a step cannot be called by itself."""
        steps = []
        names = {node: node.name for node in kept}
        for node in source.graph.nodes:
            if node not in kept or node is source:
                continue
            if node in self._chosen:
                names[node] = names[self._chosen[node]]
                continue
            step = self._step(node, names)
            if step is None:
                return None
            steps.append(step)
        return SkipPath(source.name, _shape(source) or (), names[result], tuple(steps), additions)

    def _looked_at(self, node: Any) -> frozenset[Any] | None:
        if node not in self._inside:
            return None if node.name in self._scopes.states else frozenset((node,))
        if self.is_residual(node):
            offers = [(operand, kept) for operand in node.args if (kept := self.kept(operand)) is not None]
            if not offers:
                return None
            self._chosen[node], cheapest = min(
                offers, key=lambda offer: (self.products(offer[1]), len(offer[1]))
            )
            return cheapest | {node}
        layer = self._layer_at(node)
        if layer is not None:
            self._layers[node] = layer
            before = self.kept(layer[1])
            return None if before is None else before | {node}
        parts = [self.kept(source) for source in node.all_input_nodes]
        whole: frozenset[Any] = frozenset((node,))
        for part in parts:
            if part is None:
                return None
            whole |= part
        return whole

    def _layer_at(self, node: Any) -> tuple[str, Any] | None:
        """The layer with weights whose result `node` is, and the one tensor that it reads."""
        scopes, name = self._scopes, self._scopes.innermost.get(node, "")
        if name == self._name or name not in scopes.called_once:
            return None
        layer = scopes.modules[name]
        if any(True for _ in layer.children()) or not layer.state_dict() or scopes.exits(name) != [node]:
            return None
        entries = scopes.entries(name)
        return (name, entries[0]) if len(entries) == 1 else None

    def _step(self, node: Any, names: Mapping[Any, str]) -> SkipStep | None:
        from torch.fx.node import map_arg

        if node in self._layers:
            layer, source = self._layers[node]
            return SkipStep(
                node.name, layer.removeprefix(f"{self._name}."), None, (Taken(names[source]),), {}
            )
        function = _out_of_place(node)
        if function is None:
            return None

        def taken(read: Any) -> Any:
            return Taken(names[read])

        arguments, options = map_arg(node.args, taken), map_arg(node.kwargs, taken)
        return SkipStep(node.name, "", function, tuple(arguments), dict(options))


def _out_of_place(node: Any) -> Any:
    """The node's operator, or what computes the same without changing its argument; None where there is nothing."""
    import torch

    function = node.target
    if not isinstance(function, torch._ops.OpOverload) or not function._schema.is_mutable:
        return function
    return getattr(getattr(torch.ops.aten, operator_name(node), None), function._overloadname, None)


def _shape(node: Any) -> tuple[int, ...] | None:
    """None for what is no tensor."""
    value: Any = node.meta.get("val") if hasattr(node, "meta") else None
    return tuple(value.shape) if hasattr(value, "shape") else None


def products(nodes: Collection[Any]) -> int:
    """How many of the nodes are convolutions or other products."""
    return sum(operator_name(node) in _PRODUCTS for node in nodes)
