"""How much each layer suffers from quantization, measured at the network's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.layers import weighted_layers
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize.simulate import Scheme, simulated

if TYPE_CHECKING:
    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.observers.ranges import Range

__all__ = ["LayerSensitivity", "sensitivity"]

BEST_DB = 150.0
"""Reported where quantizing a layer changes nothing that float32 can show."""


@dataclass(frozen=True)
class LayerSensitivity:
    """Signal to quantization noise at the network's outputs, in dB, with this layer alone quantized."""

    layer: str
    op: str
    sqnr_db: float


def sensitivity(
    onnx_path: str | Path,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    *,
    scheme: Scheme | None = None,
    samples: int = 32,
    threads: int = 1,
) -> tuple[LayerSensitivity, ...]:
    """Layers with weights, most sensitive (lowest SQNR) first; of several outputs the worst one counts.

    Each layer in turn is quantized alone (`simulated`) and compared with the float network on the first
    `samples` samples. The result is plain data, fit for JSON.
    """
    model = load_graph(onnx_path)
    outputs = tuple(output.name for output in model.graph.output)
    reference = open_taps(model, outputs, threads=threads)
    chunks = list(data.chunks(reference.batch, samples))
    expected = [reference.run(chunk) for chunk in chunks]
    signal = {
        name: sum(float(np.square(part[name], dtype=np.float64).sum()) for part in expected)
        for name in outputs
    }
    ranking = []
    for layer in weighted_layers(model):
        quantized = simulated(model, ranges, {layer.name}, scheme or Scheme())
        taps = open_taps(quantized, outputs, threads=threads, simulated=True)
        noise = dict.fromkeys(outputs, 0.0)
        for chunk, right in zip(chunks, expected, strict=True):
            parts = [
                taps.run(tuple(a[i : i + taps.batch] for a in chunk))
                for i in range(0, len(chunk[0]), taps.batch)
            ]
            for name in outputs:
                wrong = np.concatenate([part[name] for part in parts])
                noise[name] += float(np.square(wrong - right[name], dtype=np.float64).sum())
        ranking.append(
            LayerSensitivity(layer.name, layer.op, min(_sqnr_db(signal[n], noise[n]) for n in outputs))
        )
    return tuple(sorted(ranking, key=lambda entry: entry.sqnr_db))


def _sqnr_db(signal: float, noise: float) -> float:
    if noise <= 0.0 or signal <= 0.0:
        return BEST_DB
    return min(BEST_DB, float(10.0 * np.log10(signal / noise)))
