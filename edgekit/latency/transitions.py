"""What it costs to go from one precision to the other between two layers, measured by chains of layers.

Six alike layers stand one behind the other: all in int8, all in float, and by turns. What the third takes beyond the
mean of the two others are its five borders, whatever a runtime does there: a node of its own, a layer that writes
another type, a layout that has to be changed. Half of them are entered, half left: what is told is the mean of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingExtraError
from edgekit.graph.proto import write_model
from edgekit.latency.fusing import FUSING
from edgekit.latency.litert_layers import FlatbufferLayers
from edgekit.latency.onnx_layers import Integers, OnnxLayers
from edgekit.latency.unit import Family, Unit
from edgekit.types import BackendName

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHAINS", "transition", "transition_ms", "write_chain"]

CHAINS = ("iiiiii", "ffffff", "ififif")
"""Layers in int8 (i) and in float (f)."""

BORDERS = 5
"""Of the last chain."""


def transition(size: tuple[int, int], channels: int) -> Unit:
    """The unit of a table for tensors of that size; see `Family.size`."""
    return Unit(Family("transition", size, "int8"), channels, channels)


def carrier(unit: Unit) -> Unit:
    """What the chains of a transition consist of: layers that leave the tensor's size as it is, and cost little."""
    size = unit.family.size
    if size[1] > 1:
        family = Family("depthwise", size, "int8", (3, 3), padding=(1, 1, 1, 1))
    else:
        family = Family("linear", size, "int8")
    return Unit(family, unit.channels_in, unit.channels_out)


def transition_ms(rounds: Sequence[Sequence[float]]) -> tuple[float, tuple[float, ...]]:
    """One border's time by the lower quartiles of the rounds of CHAINS, and by each round alone."""
    quartiles = [float(np.quantile(chain, 0.25)) for chain in rounds]
    by_round = tuple((mixed - (low + high) / 2) / BORDERS for low, high, mixed in zip(*rounds, strict=True))
    return (quartiles[2] - (quartiles[0] + quartiles[1]) / 2) / BORDERS, by_round


def write_chain(unit: Unit, chain: str, runtime: BackendName, path: Path, integers: Integers) -> None:
    """The network of one chain for a transition. Raises MissingExtraError."""
    if runtime == "litert":
        try:
            path.write_bytes(_Flatbuffer(carrier(unit)).chain(chain))
        except ModuleNotFoundError as error:
            raise MissingExtraError("ai-edge-litert", "tflite") from error
    else:
        write_model(_Onnx(carrier(unit), integers).chain(chain, FUSING[runtime].rounds_results), path)


class _Onnx(OnnxLayers):
    """A Q/DQ pair stands where the runtime's exporter would write one."""

    def chain(self, chain: str, rounds_results: bool) -> Any:
        tensor = self.inputs[0][0]
        before = "f"
        for index, precision in enumerate(chain):
            if precision == "i" or (before == "i" and rounds_results):
                tensor = self.requantized(tensor)
            self.quantized = precision == "i"
            tensor = getattr(self, f"_{self.family.kind}")(f"layer{index}", tensor)
            before = precision
        if before == "i" and rounds_results:
            tensor = self.requantized(tensor)
        self.outputs.append(tensor)
        return self.model()

    def begin(self) -> str:
        name = "input"
        self.inputs.append((name, self.shape(self.unit.channels_in, self.family.size), "float32"))
        return name


class _Flatbuffer(FlatbufferLayers):
    """QUANTIZE and DEQUANTIZE where precisions meet; the network's ends have those of the layers there."""

    def begin(self) -> int:
        return -1  # which type it has, the chain says

    def chain(self, chain: str) -> bytes:
        self.quantized = chain[0] == "i"
        self.begun = tensor = self.activation(self.shape(self.unit.channels_in, self.family.size))
        before = chain[0]
        for precision in chain:
            self.quantized = precision == "i"
            if precision != before:
                tensor = self.crossed(tensor, "QUANTIZE" if self.quantized else "DEQUANTIZE")
            tensor = self.layer(tensor)
            before = precision
        self.outputs.append(tensor)
        return self.content()
