"""ONNX → torch.nn.Module, by our own table of operators, for converters that begin at torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingExtraError, ModelError
from edgekit.graph.proto import opset_of
from edgekit.graph.signature import signature_of
from edgekit.graph.to_torch.editing import constants_of, shapes_of
from edgekit.graph.to_torch.node import Call, NodeView, Refused
from edgekit.graph.to_torch.prepare import ready_graph
from edgekit.types import Issue

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["Converted", "calls_of", "onnx_to_torch", "unsupported"]


@dataclass(frozen=True)
class Converted:
    """A network in torch. `nodes` are the ONNX nodes behind the children n0_, n1_, …, in that order.

    `inputs` and `outputs` are names with shapes, as the ONNX file has them ([N, C, H, W]); `dtypes` and
    `output_dtypes` are numpy's names of their types. Those in `channels_last` are images, or signals [N, C, L],
    which a runtime with channels last takes or gives best so; `layout_cost` is how many layout operations the
    network then needs itself.
    """

    module: torch.nn.Module
    nodes: tuple[onnx.NodeProto, ...]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    channels_last: frozenset[str]
    layout_cost: int


def unsupported(onnx_path: str | Path) -> tuple[Issue, ...]:
    """Every node that `onnx_to_torch` cannot carry over, with its reason; nothing is computed.

    Raises ModelError for what is no ONNX file.
    """
    _, _, refused = calls_of(ready_graph(Path(onnx_path)).model)
    return tuple(
        Issue("error", node.name, reason, "replace the operation, or build for another runtime")
        for node, reason in refused
    )


def onnx_to_torch(onnx_path: str | Path) -> Converted:
    """The network of the file as a module in eval mode that takes and gives what the file does, at batch 1.

    Raises ModelError naming the nodes that cannot be carried over.
    """
    ready = ready_graph(Path(onnx_path))
    model = ready.model
    calls, nodes, refused = calls_of(model)
    if refused:
        told = "; ".join(f"{node.name}: {reason}" for node, reason in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise ModelError(f"{onnx_path} cannot be carried over to torch: {told}{more}")
    shapes, constants = shapes_of(model), constants_of(model)
    inputs = {port.name: shapes[port.name] for port in model.graph.input if port.name not in constants}
    outputs = {port.name: shapes.get(port.name, ()) for port in model.graph.output}
    module = _module(calls, nodes, tuple(inputs), tuple(outputs), constants)
    signature = signature_of(model)
    dtypes, output_dtypes = (
        tuple(spec.dtype for spec in ports) for ports in (signature.inputs, signature.outputs)
    )
    last = (ready.images | ready.signals) & {*inputs, *outputs}
    return Converted(
        module.eval(), tuple(nodes), inputs, outputs, dtypes, output_dtypes, last, ready.layout_cost
    )


def calls_of(
    model: onnx.ModelProto,
) -> tuple[list[Call], list[onnx.NodeProto], list[tuple[onnx.NodeProto, str]]]:
    """Every node's call with the nodes, in graph order, and the nodes that are refused. Shapes must be inferred."""
    try:
        from edgekit.graph.to_torch.arithmetic import OPS
        from edgekit.graph.to_torch.layers import LAYERS
        from edgekit.graph.to_torch.movement import MOVES
    except ModuleNotFoundError as problem:
        raise MissingExtraError("torch", "tflite") from problem
    table = {**OPS, **MOVES, **LAYERS}
    constants, shapes = constants_of(model), shapes_of(model)
    opset = opset_of(model)
    calls, nodes, refused = [], [], []
    for node in model.graph.node:
        try:
            if node.domain not in ("", "ai.onnx"):
                raise Refused(f"operator {node.domain}.{node.op_type} is no standard one")
            if node.op_type not in table:
                raise Refused(f"operator {node.op_type} has no counterpart here")
            calls.append(table[node.op_type](NodeView(node, constants, shapes, opset)))
            nodes.append(node)
        except Refused as reason:
            refused.append((node, str(reason)))
    return calls, nodes, refused


def _module(
    calls: list[Call],
    nodes: list[onnx.NodeProto],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    constants: Mapping[str, Any],
) -> torch.nn.Module:
    """The calls as one module with a child per node."""
    import torch

    class Step(torch.nn.Module):
        """One ONNX node."""

        def __init__(self, call: Call) -> None:
            super().__init__()
            self.function = call.function
            self.stored = [isinstance(operand, np.ndarray) for operand in call.operands]
            for place, operand in enumerate(call.operands):
                if isinstance(operand, np.ndarray):
                    self.register_buffer(f"constant_{place}", torch.from_numpy(np.array(operand)))

        def forward(self, *given: torch.Tensor) -> Any:
            left = iter(given)
            values = [
                getattr(self, f"constant_{place}") if stored else next(left)
                for place, stored in enumerate(self.stored)
            ]
            return self.function(*values)

    class Network(torch.nn.Module):
        """All nodes in graph order."""

        def __init__(self) -> None:
            super().__init__()
            for index, call in enumerate(calls):
                self.add_module(f"n{index}_", Step(call))
            for index, name in enumerate(outputs):
                if name in constants:
                    self.register_buffer(f"output_{index}", torch.from_numpy(np.array(constants[name])))

        def forward(self, *given: torch.Tensor) -> Any:
            values = dict(zip(inputs, given, strict=True))
            for step, node, call in zip(self.children(), nodes, calls, strict=True):
                taken = [values[name] for name in call.operands if isinstance(name, str)]
                result = step(*taken)
                several = isinstance(result, (tuple, list))
                values.update(zip(node.output, result if several else [result], strict=False))
            results = [
                values[name] if name in values else getattr(self, f"output_{index}")
                for index, name in enumerate(outputs)
            ]
            return results[0] if len(results) == 1 else tuple(results)

    return Network()
