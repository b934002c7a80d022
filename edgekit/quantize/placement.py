"""Where a runtime's INT8 build of a network has integers: what a simulation of it has to round."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.quantize.observers.ranges import AffineParameters, Range, affine_parameters
from edgekit.quantize.simulate import Scheme
from edgekit.types import BackendName

__all__ = ["MOVES", "Placement"]

MOVES = frozenset({"Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operations whose results hold values of their input alone: on its grid, rounding them again changes nothing."""


@dataclass(frozen=True)
class Placement:
    """Of one artifact. Tensors and layers are named as in the float ONNX network.

    `ranges`: tensor → range that its 256 integers span, zero among them; tensors that are not in it stay float.
    `shared`: groups of these with one scale. `layers`: nodes whose weights are integers, by `integers`.
    `by_channel`: tensor of `ranges`, in no group → the range of each of its channels (axis 1). `clipped`: tensors of
    `ranges` that are clipped to them, and not rounded. `tables`: nodes that take rows of a stored table, whose rows are
    int8 with a scale each.
    """

    backend: BackendName
    integers: Scheme
    ranges: Mapping[str, Range]
    shared: tuple[tuple[str, ...], ...]
    layers: tuple[str, ...]
    by_channel: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    clipped: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        import msgspec

        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def rules(self) -> str:
        """SHA-256 of all but the ranges themselves, and of whose it is: where it is the same, one training serves both
        runtimes. The sign of activations' integers is no part of it: it moves the zero point alone.
        """
        import msgspec

        integers = self.integers
        told = (
            sorted(self.ranges),
            sorted(sorted(group) for group in self.shared),
            sorted(self.layers),
            (integers.weight_bits, integers.per_channel, integers.symmetric, integers.weight),
            sorted((name, len(channels)) for name, channels in self.by_channel.items()),
            sorted(self.clipped),
            sorted(self.tables),
        )
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()

    def grid(self, tensor: str) -> AffineParameters:
        """Scale and zero point of a tensor, as if its integers were 0 to 255. Raises KeyError for a float one."""
        return affine_parameters(self.ranges[tensor], 0, 255)

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Every tensor once: with those that share its scale, or alone; in the order of `ranges`."""
        group_of = {name: group for group in self.shared for name in group}
        return tuple(
            dict.fromkeys(
                tuple(member for member in group_of.get(name, (name,)) if member in self.ranges)
                for name in self.ranges
            )
        )
