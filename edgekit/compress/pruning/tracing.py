"""A network traced for pruning: its graph, and which call of which module's forward each node of it came from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.program import exported_program, operator_name
from edgekit.compress.pruning.calls import KINDS, RecordedCall, record_calls

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["Traced", "trace"]


@dataclass(frozen=True)
class Traced:
    """`calls`: node → the call that made it; `scopes`: node → the module whose forward it stands in; `recorded`: module
    → all calls of its forward.
    """

    module: torch.nn.Module
    program: Any
    calls: Mapping[Any, RecordedCall]
    scopes: Mapping[Any, str]
    recorded: Mapping[str, tuple[RecordedCall, ...]]

    @property
    def heads(self) -> frozenset[int]:
        """Sizes of the axes that products of activations work along side by side: the heads of attentions."""
        return frozenset(
            size for node in self.program.graph.nodes for size in _side_by_side(node) if size > 1
        )


def trace(module: torch.nn.Module, example: Example) -> Traced:
    """Trace a copy of `module` (eval mode) on `example`. Raises StageError when torch.export cannot."""
    module = copy.deepcopy(module)
    program = exported_program(module, example)
    scopes: dict[Any, str] = {}
    by_module: dict[str, list[Any]] = {}
    for node in program.graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if node.op == "call_function" and stack:
            scopes[node] = stack[-1][0]
            if operator_name(node) in KINDS:
                by_module.setdefault(stack[-1][0], []).append(node)
    recorded = record_calls(module, example)
    calls: dict[Any, RecordedCall] = {}
    for name, nodes in by_module.items():
        calls.update(_matched(nodes, recorded.get(name, ())))
    program.graph.eliminate_dead_code()  # the mean of weights that nobody reads would forbid to drop heads
    return Traced(module, program, calls, scopes, recorded)


def _matched(nodes: list[Any], recorded: tuple[RecordedCall, ...]) -> Iterator[tuple[Any, RecordedCall]]:
    """Both stand in the order of the forward; the graph leaves out what nothing reads."""
    after = 0
    for node in nodes:
        kind, value = KINDS[operator_name(node)], node.meta.get("val")
        results = value if isinstance(value, (tuple, list)) else (value,)
        shapes = tuple(tuple(result.shape) for result in results if hasattr(result, "shape"))
        for place in range(after, len(recorded)):
            if recorded[place].call.kind == kind and recorded[place].shapes == shapes:
                yield node, recorded[place]
                after = place + 1
                break


def _side_by_side(node: Any) -> Iterator[int]:
    """Sizes of the axes before the last two of a product of two activations, or of a shared letter in einsum."""
    operator = operator_name(node) if node.op == "call_function" else ""
    if operator in ("scaled_dot_product_attention", "matmul", "bmm"):
        shape = node.args[0].meta["val"].shape
        yield from (int(size) for size in shape[-3:-2])
    elif operator == "expand" and node.args[0].meta["val"].ndim == 5:  # heads that several others share
        yield int(node.args[0].meta["val"].shape[-4])
    elif operator == "einsum":
        yield from (int(size) for operand in node.args[1] for size in operand.meta["val"].shape[:-1])
