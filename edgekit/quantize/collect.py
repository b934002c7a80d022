"""Ranges of a network's activations over calibration data, one pass, memory flat in the number of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import StageError
from edgekit.graph.attention import masked
from edgekit.graph.layers import float_tensors
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize.observers.kinds import make_observer
from edgekit.quantize.observers.ranges import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.graph.calibration import CalibrationData

__all__ = ["collect_ranges"]


def collect_ranges(
    onnx_path: str | Path,
    data: CalibrationData,
    observer: str = "minmax",
    *,
    percentile: float = 99.99,
    samples: int | None = None,
    tensors: Sequence[str] | None = None,
    symmetric: bool = False,
    threads: int = 1,
) -> Mapping[str, Range]:
    """Tensor name → range, by one observer per tensor, over at most `samples` samples.

    `observer` is a key of OBSERVERS. `tensors` defaults to all float activations that can be quantized
    (`float_tensors`). `symmetric`: the integers will be spread around zero (TensorRT). Masks that hold minus infinity
    (`masked`) are left out: no integers span that, so who needs them has to refuse. Raises StageError when the network
    cannot run or another tensor holds NaN or infinity.
    """
    model = load_graph(onnx_path)
    names = tuple(tensors) if tensors is not None else float_tensors(model)
    observers = {name: make_observer(observer, percentile, symmetric) for name in names}
    may_mask, without = masked(model), set[str]()

    def look(name: str, array: NDArray[Any]) -> None:
        if name in may_mask and bool((array == -np.inf).any()):
            without.add(name)
        if name in without:
            return
        try:
            observers[name].observe(array)
        except ValueError as error:
            raise StageError(
                "calibrate", f'tensor "{name}" holds {error}', "check the model and its data"
            ) from error

    open_taps(model, names, threads=threads).visit(data, look, samples)
    try:
        return {name: watcher.range() for name, watcher in observers.items() if name not in without}
    except ValueError as error:
        raise StageError("calibrate", f"{error}", "give calibration samples") from error
