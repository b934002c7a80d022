"""Whether a network scales its input by itself: pixels may then come to it as they are stored."""

from __future__ import annotations

from pathlib import Path

from edgekit.graph.proto import read_model
from edgekit.graph.wiring import Wiring

__all__ = ["scales_input"]

MOVES = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose"}
)  # fmt: skip
"""Values come out of these as they went in; flips of the channels are made of them."""

SCALES = frozenset({"Add", "BatchNormalization", "Div", "InstanceNormalization", "Mul", "Sub"})


def scales_input(path: str | Path, name: str) -> bool:
    """Whether the first thing an ONNX network computes of input `name` is to shift or scale it by constants.

    A scale that was folded into the first convolution is not seen. Raises ModelError for a file that is no network.
    """
    wiring = Wiring(read_model(Path(path), external=False))
    waiting, seen = [name], {name}
    while waiting:
        tensor = waiting.pop()
        for node in wiring.readers[tensor]:
            others = [given for given in node.input if given and given != tensor]
            if node.op_type in SCALES and others and all(wiring.is_constant(given) for given in others):
                return True
            if node.op_type in MOVES:
                fresh = [given for given in node.output if given not in seen]
                seen.update(fresh)
                waiting += fresh
    return False
