"""What an ONNX file takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.graph.proto import read_model
from edgekit.types import Signature, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["read_signature", "signature_of"]


def read_signature(path: str | Path) -> Signature:
    """Inputs and outputs of an ONNX file, in its order; weights are no inputs. Raises ModelError."""
    return signature_of(read_model(Path(path), external=False))


def signature_of(model: onnx.ModelProto) -> Signature:
    """The same for a model in memory."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(info) for info in model.graph.input if info.name not in weights)
    return Signature(inputs, tuple(_spec(info) for info in model.graph.output))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    # Some exporters write 0 or -1 for a free size.
    dims = (dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return TensorSpec(value.name, str(dtype), tuple(dims))
