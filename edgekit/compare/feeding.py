"""The same samples into artifacts whose inputs differ in name, layout or type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.board.preprocess import SampleError
from edgekit.board.whole import refuse_rounding
from edgekit.compare.layouts import apply_layout, layouts_between
from edgekit.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import Grid, Reader
    from edgekit.types import Signature, TensorSpec

__all__ = [
    "InputPort",
    "as_data_errors",
    "feed",
    "pair_specs",
    "ports_of",
    "random_samples",
    "whole_number_note",
]


@dataclass(frozen=True)
class InputPort:
    """One input of an artifact: `place` is that of its samples, `grid` what its integers stand for."""

    place: int
    spec: TensorSpec
    grid: Grid | None


def ports_of(reference: Signature, reader: Reader, name: str) -> tuple[InputPort, ...]:
    """The reader's inputs, each with its place among the reference's. Raises ModelError for another network."""
    pairs = pair_specs(reference.inputs, reader.signature.inputs, "input", name)
    return tuple(InputPort(i, reader.signature.inputs[j], _input_grid(reader, j)) for i, j in pairs)


def pair_specs(
    a: Sequence[TensorSpec], b: Sequence[TensorSpec], kind: str, name: str
) -> tuple[tuple[int, int], ...]:
    """Index in A and in B: by name where all names agree, else by order. Raises ModelError when shapes do not fit."""
    if len(a) != len(b):
        raise ModelError(
            f"{name} is not the same network: it has {len(b)} {kind}s, the other {len(a)}",
            remedy="give two artifacts of one network",
        )
    names = [spec.name for spec in b]
    same = {spec.name for spec in a} == set(names) and len(set(names)) == len(names)
    pairs = tuple((i, names.index(spec.name) if same else i) for i, spec in enumerate(a))
    for i, j in pairs:
        left, right = _concrete(a[i].shape, b[j].shape), _concrete(b[j].shape, a[i].shape)
        if not layouts_between(left, right):
            raise ModelError(
                f"{name} is not the same network: its {kind} {b[j].name} is {_text(b[j])}, "
                f"the other's {a[i].name} {_text(a[i])}",
                remedy="give two artifacts of one network",
            )
    return pairs


def feed(ports: Sequence[InputPort], samples: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Samples [N, ...] as an artifact takes them. Raises DataError for samples of another shape."""
    feeds = {}
    for port in ports:
        array = samples[port.place]
        wanted = _concrete(port.spec.shape, array.shape)
        layouts = layouts_between(wanted, array.shape)
        if not layouts:
            raise DataError(
                f"samples of shape {list(array.shape[1:])}",
                allowed=f"{_text(port.spec)} for input {port.spec.name}, in whichever layout",
                remedy="see --input-layout, --resize and --crop",
            )
        feeds[port.spec.name] = _typed(apply_layout(array, layouts[0], wanted), port)
    return feeds


@contextmanager
def as_data_errors() -> Iterator[None]:
    """What the board's own checks say of a sample, as DataError."""
    try:
        yield
    except SampleError as problem:
        raise DataError(problem.came, allowed=problem.allowed, remedy=problem.remedy) from problem


def random_samples(
    reference: Signature, ports: Sequence[Sequence[InputPort]], count: int, seed: int
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Batches of the reference's shapes: uniform in the range that a quantized input takes, else in [0, 1).

    Inputs of whole numbers that stand for nothing else (token ids) get 0 and 1. Free dimensions are 1.
    """
    rng = np.random.default_rng(seed)
    grids = {port.place: port.grid for side in ports for port in side if port.grid is not None}
    for _ in range(count):
        arrays = []
        for place, spec in enumerate(reference.inputs):
            shape = [size or 1 for size in spec.shape]
            if np.dtype(spec.dtype).kind != "f" and place not in grids:
                arrays.append(rng.integers(0, 2, shape).astype(spec.dtype))
                continue
            low, high = (grids[place].low, grids[place].high) if place in grids else (0.0, 1.0)
            arrays.append(rng.uniform(low, high, shape).astype(np.float32))
        yield tuple(arrays)


def whole_number_note(ports: Sequence[InputPort], samples: Sequence[NDArray[Any]]) -> str:
    """A doubt worth telling: samples that look as if they were already the integers that an input takes."""
    for port in ports:
        array, grid = samples[port.place], port.grid
        kind = np.dtype(port.spec.dtype)
        if grid is None or kind.kind not in "iu" or abs(grid.step - 1.0) < 1e-6:
            continue
        limits = np.iinfo(kind)
        whole = (
            bool(np.all(np.rint(array) == array)) and limits.min <= array.min() and array.max() <= limits.max
        )
        if whole and np.ptp(array) > 1:
            zero = limits.min - round(grid.low / grid.step)
            return (
                f"all samples are whole numbers that fit {kind.name}: if they are already what input "
                f"{port.spec.name} takes, add --mean {zero} --std {1 / grid.step:.6g}"
            )
    return ""


def _input_grid(reader: Reader, place: int) -> Grid | None:
    """Of an input of integers, or of a float input that is quantized at once."""
    name = reader.signature.inputs[place].name
    if name in reader.input_grids:
        return reader.input_grids[name]
    return next((facts.grid for facts in reader.tensors if facts.op == "input" and name in facts.names), None)


def _typed(array: NDArray[Any], port: InputPort) -> NDArray[Any]:
    kind = np.dtype(port.spec.dtype)
    if port.grid is not None and kind.kind in "iu":
        limits = np.iinfo(kind)
        steps = np.rint((array.astype(np.float64) - port.grid.low) / port.grid.step) + limits.min
        array = np.clip(steps, limits.min, limits.max)
    elif kind.kind in "iu":
        with as_data_errors():
            refuse_rounding(port.spec.name, array, kind)
    return np.ascontiguousarray(array.astype(kind))


def _concrete(shape: Sequence[int | None], other: Sequence[int | None]) -> tuple[int, ...]:
    """Free dimensions take the other's size where the ranks agree, else 1."""
    sizes = other if len(shape) == len(other) else [1] * len(shape)
    return tuple(size or wanted or 1 for size, wanted in zip(shape, sizes, strict=True))


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} [{', '.join('?' if size is None else str(size) for size in spec.shape)}]"
