"""Runs a float ONNX network over calibration data and hands out chosen tensors, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import MissingExtraError, StageError

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.calibration import CalibrationData

__all__ = ["Taps", "load_graph", "open_taps"]

TAPPED_BYTES = 16 << 20
"""Tapped tensors of one batch may take this much, which keeps memory flat whatever the number of samples."""
LARGEST_BATCH = 64


def load_graph(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX file, name its nodes and infer its shapes. Raises StageError when it cannot be read."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "onnxruntime") from error
    from google.protobuf.message import DecodeError

    from edgekit.graph.layers import name_nodes

    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    except (OSError, DecodeError, onnx.shape_inference.InferenceError) as error:
        raise StageError("calibrate", f"{path} cannot be read as ONNX: {error}") from error
    name_nodes(model)
    return model


@dataclass(frozen=True)
class Taps:
    """An open network with extra outputs. `batch` samples go in at once (1 where its batch is fixed)."""

    session: Any
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    batch: int

    def run(self, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One array [N, ...] per input, N <= batch; gives tensor name → array."""
        outputs = self.session.run(list(self.names), dict(zip(self.inputs, arrays, strict=True)))
        return dict(zip(self.names, outputs, strict=True))

    def visit(
        self,
        data: CalibrationData,
        look: Callable[[str, NDArray[Any]], None],
        limit: int | None = None,
    ) -> None:
        """Run over the data (at most `limit` samples) and call `look(name, array)` on every tensor of every chunk.

        Each tensor is let go once it was looked at. With two chunks alive at once the heap grows in pieces of
        another size each time, and its peak differs from run to run by half.
        """
        for arrays in data.chunks(self.batch, limit):
            outputs = self.run(arrays)
            for name in tuple(outputs):
                look(name, outputs.pop(name))


def open_taps(
    model: onnx.ModelProto, names: Sequence[str], *, threads: int = 1, simulated: bool = False
) -> Taps:
    """Open a graph with `names` as its outputs, with a free batch dimension where the graph truly allows one.

    `simulated`: the graph holds Q/DQ pairs that are to be computed in float, not fused into integer kernels.
    """
    fixed = _with_outputs(model, names)
    inputs = tuple(_fed_inputs(fixed))
    single = _session(fixed, threads, simulated)
    if single is None:
        raise StageError("calibrate", "ONNX Runtime cannot open the network", "run `edgekit profile` on it")
    samples = {name: _random(fixed, name) for name in inputs}
    outputs = [np.asarray(value) for value in single.run(list(names), {n: a[:1] for n, a in samples.items()})]
    bytes_per_sample = max(1, sum(value.nbytes for value in outputs))
    batch = max(1, min(LARGEST_BATCH, TAPPED_BYTES // bytes_per_sample))
    if batch > 1 and all(_batch_is_free(fixed, name) for name in inputs):
        wide = _session(_with_free_batch(fixed), threads, simulated)
        if wide is not None and _same_sample_by_sample(wide, single, names, samples):
            return Taps(wide, inputs, tuple(names), int(batch))
    return Taps(single, inputs, tuple(names), 1)


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that outputs `names` only; ONNX Runtime then leaves out what they do not need."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infos = {info.name: info for info in [*model.graph.input, *model.graph.value_info, *model.graph.output]}
    del copy.graph.output[:]
    copy.graph.output.extend(infos.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    return copy


def _with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs have a symbolic first dimension, and whose Reshapes keep the batch they get."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for info in [*copy.graph.input, *copy.graph.output]:
        if info.type.tensor_type.shape.dim:
            info.type.tensor_type.shape.dim[0].dim_param = "batch"
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    constants = {initializer.name: initializer for initializer in copy.graph.initializer}
    targets = {node.input[1] for node in copy.graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    for name in targets & constants.keys():
        shape = numpy_helper.to_array(constants[name]).copy()
        if shape.size > 1 and shape[0] == 1:
            shape[0] = 0  # "as in the input"
            constants[name].CopyFrom(numpy_helper.from_array(shape, name))
    return copy


def _same_sample_by_sample(
    wide: Any, single: Any, names: Sequence[str], samples: dict[str, NDArray[Any]]
) -> bool:
    """Whether two samples in one batch give what each gives alone, on every tapped tensor."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    try:
        together = wide.run(list(names), samples)
        alone = [single.run(list(names), {n: a[i : i + 1] for n, a in samples.items()}) for i in range(2)]
    except (Fail, InvalidArgument, RuntimeException):
        return False
    for both, *parts in zip(together, *alone, strict=True):
        expected = np.concatenate([np.asarray(part) for part in parts]) if np.ndim(parts[0]) else None
        if expected is None or both.shape != expected.shape:
            return False
        largest = float(
            np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        )  # a mask may hide by infinity
        if not np.allclose(both, expected, rtol=1e-3, atol=1e-4 * (1.0 + largest)):
            return False
    return True


def _session(model: onnx.ModelProto, threads: int, simulated: bool) -> Any:
    """A session, or None when ONNX Runtime refuses the graph."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
    )

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for good
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if simulated:
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, NotImplemented):
        return None


def _fed_inputs(model: onnx.ModelProto) -> list[str]:
    """Inputs that are not initializers (old IR versions list those too)."""
    constants = {initializer.name for initializer in model.graph.initializer}
    return [info.name for info in model.graph.input if info.name not in constants]


def _batch_is_free(model: onnx.ModelProto, name: str) -> bool:
    dims = next(info for info in model.graph.input if info.name == name).type.tensor_type.shape.dim
    return len(dims) > 1 and (dims[0].dim_value == 1 or not dims[0].HasField("dim_value"))


def _random(model: onnx.ModelProto, name: str) -> NDArray[Any]:
    """Two samples for an input: normal values for floats, zeros for integers; unknown dimensions are 1."""
    from onnx import helper

    kind = next(info for info in model.graph.input if info.name == name).type.tensor_type
    shape = [dim.dim_value if dim.dim_value > 0 else 1 for dim in kind.shape.dim]
    shape = [2, *shape[1:]] if shape else [2]
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if not np.issubdtype(dtype, np.floating):
        return np.zeros(shape, dtype)
    values = np.random.default_rng(0).standard_normal(math.prod(shape))
    return np.asarray(values.reshape(shape), dtype)
