"""Does a rewritten network still compute the same? Both sides run, and the outputs are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import MissingExtraError, ModelError
from edgekit.graph.proto import first_line

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.types import TensorSpec

__all__ = ["REPEATED", "Runner", "difference", "onnx_runner", "probe_inputs", "run_onnx", "worst_difference"]

Runner = Callable[[Sequence["NDArray[np.generic]"]], tuple["NDArray[np.generic]", ...]]
"""Inputs in the graph's order → outputs in its order."""

REPEATED = 1e-5
"""As `tolerance`: two runs of one network whose kernels add up in another order differ by less."""


def run_onnx(
    model: onnx.ModelProto, inputs: Sequence[NDArray[np.generic]], name: str = "the network"
) -> tuple[NDArray[np.generic], ...]:
    """All outputs for inputs in the graph's order, by ONNX Runtime on one thread. Raises ModelError."""
    return onnx_runner(model, name)(inputs)


def onnx_runner(model: onnx.ModelProto, name: str = "the network") -> Runner:
    """`run_onnx` of one model for many inputs: it is opened once. Both steps raise ModelError."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ModuleNotFoundError as problem:
        raise MissingExtraError("onnxruntime", "onnxruntime") from problem
    raised = (
        RuntimeError,
        ValueError,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # The graph as written is what is verified, not the runtime's own rewriting of it.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except raised as problem:
        raise ModelError(f"ONNX Runtime cannot run {name}: {first_line(problem)}") from problem
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        try:
            return tuple(session.run(None, dict(zip(names, inputs, strict=True))))
        except raised as problem:
            raise ModelError(f"ONNX Runtime cannot run {name}: {first_line(problem)}") from problem

    return run


def difference(
    expected: Sequence[NDArray[np.generic]], actual: Sequence[NDArray[np.generic]], *, tolerance: float = 1e-3
) -> str:
    """How two sets of outputs differ; empty when they agree to `tolerance` of each output's largest value."""
    share, reason = worst_difference(expected, actual)
    return reason if share > tolerance else ""


def worst_difference(
    expected: Sequence[NDArray[np.generic]], actual: Sequence[NDArray[np.generic]]
) -> tuple[float, str]:
    """The largest error as a share of its output's largest value, and in words; (0, "") for equal outputs.

    Infinity for outputs of another number or shape, or that are finite in other places. An output that is smaller
    than 1e-3 everywhere counts as if that were its largest value.
    """
    if len(expected) != len(actual):
        return math.inf, f"{len(actual)} outputs instead of {len(expected)}"
    worst = (0.0, "")
    for index, (wanted, got) in enumerate(zip(expected, actual, strict=True)):
        if wanted.shape != got.shape:
            return math.inf, f"output {index} is {list(got.shape)} instead of {list(wanted.shape)}"
        left, right = wanted.astype(np.float64), got.astype(np.float64)
        finite = np.isfinite(left)
        if not np.array_equal(finite, np.isfinite(right)):
            return math.inf, f"output {index} is finite in other places"
        if not finite.any():
            continue
        largest = float(np.abs(left[finite]).max())
        error = float(np.abs(left[finite] - right[finite]).max())
        text = f"output {index} differs by {error:.3g} where the largest value is {largest:.3g}"
        worst = max(worst, (error / max(largest, 1e-3), text if error else ""))
    return worst


def probe_inputs(specs: Sequence[TensorSpec], seed: int = 0) -> tuple[NDArray[np.generic], ...]:
    """Random inputs of static shapes: normal for floats, zeros and ones for everything else."""
    generator = np.random.default_rng(seed)
    arrays: list[NDArray[np.generic]] = []
    for spec in specs:
        shape = tuple(size or 1 for size in spec.shape)
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            arrays.append(generator.standard_normal(shape).astype(dtype))
        else:
            arrays.append(generator.integers(0, 2, shape).astype(dtype))
    return tuple(arrays)
