"""How much each layer suffers from quantization, measured at the network's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.cost import onnx_cost
from edgekit.graph.layers import weighted_layers
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize.precision_times import Noise
from edgekit.quantize.simulate import Scheme, simulated

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.observers.ranges import Range

__all__ = ["LayerSensitivity", "rounding_noise", "sensitivity"]

BEST_DB = 150.0
"""Reported where quantizing a layer changes nothing that float32 can show."""


NOTHING_APART: Mapping[str, Sequence[Sequence[str]]] = {}

NOISE_SAMPLES = (32, 256)
"""At least and at most: of 32 a tensor's noise came out up to half as large again as of 256, and sets in the wrong
order; sums of 256 are within a tenth of what whole networks add."""

NOISE_MACS = 2e12
"""Of all passes together, beyond the least samples: minutes at most."""


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
    outputs = _Outputs(model, data, samples, threads)
    ranking = []
    for layer in weighted_layers(model):
        noise = outputs.noise(simulated(model, ranges, {layer.name}, scheme or Scheme()))
        worst = min(_sqnr_db(outputs.signal[name], noise[name]) for name in outputs.names)
        ranking.append(LayerSensitivity(layer.name, layer.op, worst))
    return tuple(sorted(ranking, key=lambda entry: entry.sqnr_db))


def rounding_noise(
    onnx_path: str | Path,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    tensors: Sequence[str],
    reads: Mapping[str, Sequence[Sequence[str]]] = NOTHING_APART,
    *,
    scheme: Scheme | None = None,
    threads: int = 1,
) -> Noise:
    """What the weights of each layer and each of `tensors`, alone in int8, add at the outputs; of several outputs the
    one that has most of it. On as many of the first samples as `noise_samples` says.

    `reads`: tensor → groups of nodes that read it, for each of which it is rounded alone too. A group that reads it
    through other nodes only is left out. A tensor without a range adds nothing. Raises ModelError when shapes cannot be
    inferred.
    """
    model = load_graph(onnx_path)
    layers = weighted_layers(model)
    known = [name for name in dict.fromkeys(tensors) if name in ranges]
    readers = {node.name: set(node.input) for node in model.graph.node}
    groups = [
        (name, direct)
        for name in known
        for group in reads.get(name, ())
        if (direct := [node for node in group if name in readers.get(node, ())])
    ]
    samples = noise_samples(onnx_cost(onnx_path).macs, len(layers) + len(known) + len(groups))
    outputs = _Outputs(model, data, samples, threads)
    own = scheme or Scheme()

    def share(quantized: onnx.ModelProto) -> float:
        noise = outputs.noise(quantized)
        return max(noise[name] / max(outputs.signal[name], 1e-30) for name in outputs.names)

    weights = {layer.name: share(simulated(model, ranges, {layer.name}, own, tensors=())) for layer in layers}
    apart: dict[str, dict[str, float]] = {}
    for name, group in groups:
        rounded = simulated(model, ranges, (), own, tensors=(name,), readers=group)
        apart.setdefault(name, {})[group[0]] = share(rounded)
    together = {name: share(simulated(model, ranges, (), own, tensors=(name,))) for name in known}
    return Noise(weights, together, apart)


def noise_samples(macs: int, passes: int) -> int:
    """How many samples noise is measured on, in `passes` runs of a network of so many MACs."""
    least, most = NOISE_SAMPLES
    return int(min(max(NOISE_MACS / max(macs * passes, 1), least), most))


class _Outputs:
    """What the float network answers to the first samples, and how far another graph is from it."""

    def __init__(self, model: onnx.ModelProto, data: CalibrationData, samples: int, threads: int) -> None:
        self.names = tuple(output.name for output in model.graph.output)
        self.threads = threads
        reference = open_taps(model, self.names, threads=threads)
        self.chunks = list(data.chunks(reference.batch, samples))
        self.expected = [reference.run(chunk) for chunk in self.chunks]
        self.signal = {
            name: sum(float(np.square(part[name], dtype=np.float64).sum()) for part in self.expected)
            for name in self.names
        }

    def noise(self, quantized: onnx.ModelProto) -> dict[str, float]:
        """Output → the energy of its error over all samples."""
        taps = open_taps(quantized, self.names, threads=self.threads, simulated=True)
        noise = dict.fromkeys(self.names, 0.0)
        for chunk, right in zip(self.chunks, self.expected, strict=True):
            parts = [
                taps.run(tuple(a[i : i + taps.batch] for a in chunk))
                for i in range(0, len(chunk[0]), taps.batch)
            ]
            for name in self.names:
                wrong = np.concatenate([part[name] for part in parts])
                noise[name] += float(np.square(wrong - right[name], dtype=np.float64).sum())
        return noise


def _sqnr_db(signal: float, noise: float) -> float:
    if noise <= 0.0 or signal <= 0.0:
        return BEST_DB
    return min(BEST_DB, float(10.0 * np.log10(signal / noise)))
