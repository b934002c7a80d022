"""ONNX → float .tflite with channels last, and the gate that lets no needless transpose through."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.litert.flatbuffer import LAYOUT, Op, read_flatbuffer, read_ops, rename, write_flatbuffer
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.files import sha256_file
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.graph import CalibrationData
    from edgekit.graph.to_torch.module import Converted

__all__ = ["Conversion", "Port", "convert"]

PARTITIONERS = ("MINCUT", "GREEDY")
"""How litert-torch decides which operations get channels last (its LAYOUT_OPTIMIZE_PARTITIONER). The first is its
own choice and cuts fewest edges, but may put a transpose on an edge that the second does not cut."""

CLOSE = 1e-3  # of a tensor's largest magnitude: float kernels add in another order
MASKED = -1e30  # and less is what masks a softmax, be it minus infinity
EQUAL = 1e-3  # of an integer tensor's values may differ: which of two nearly equal floats is larger


@dataclass(frozen=True)
class Port:
    """One input or output: the network's own name and type, and whether the file has its channels last."""

    name: str
    channels_last: bool
    dtype: str = "float32"


@dataclass(frozen=True)
class Conversion:
    """Inputs and outputs in the file's order; how many layout operations the file has."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layout_ops: int


def convert(onnx_path: Path, path: Path, data: CalibrationData | None = None) -> Conversion:
    """Write the network as float .tflite.

    Of the ways to lay it out the one with fewest transposes is kept. Tensors are named as in the ONNX file where
    they hold the same values, on a sample of `data` where the network takes integers, else on made-up inputs. Raises
    StageError when it cannot be converted, computes something else, or has layout operations that the network itself
    has not.
    """
    sample = _sample(onnx_path, data)
    content, conversion = _converted(
        onnx_path, sha256_file(onnx_path), _Sample(sample, data.digest if data and sample else "")
    )
    path.write_bytes(content)
    return conversion


@dataclass(frozen=True)
class _Sample:
    """One sample per input of a network; equal to others of the same data. None: to be made up."""

    arrays: tuple[NDArray[Any], ...] | None = field(compare=False)
    digest: str


def _sample(onnx_path: Path, data: CalibrationData | None) -> tuple[NDArray[Any], ...] | None:
    """The first sample of `data` for a network that takes integers: which ones it can take, the data knows best."""
    from edgekit.graph import read_signature

    if data is None or all(np.dtype(spec.dtype).kind == "f" for spec in read_signature(onnx_path).inputs):
        return None
    return next(data.chunks(1, 1), None)


@lru_cache(maxsize=2)
def _converted(onnx_path: Path, digest: str, sample: _Sample) -> tuple[bytes, Conversion]:
    """See `convert`. Every precision and recipe of a variant begins with the same file, named by its content."""
    from edgekit.errors import ModelError
    from edgekit.graph.to_torch.module import onnx_to_torch

    try:
        network = onnx_to_torch(onnx_path)
    except ModelError as error:
        raise StageError(
            "export", str(error), "replace the operation, or build for another runtime"
        ) from error
    allowed = network.layout_cost
    best: tuple[int, Any, _Way] | None = None
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / f"{digest[:16]}.tflite"
        for way in _ways(network):
            _write(network, path, way)
            model = read_flatbuffer(path)
            count = len(_layout_ops(read_ops(model)))
            if best is None or count < best[0]:
                best = (count, model, way)
            if count <= allowed:
                break
        assert best is not None
        count, model, way = best
        layout_gate(read_ops(model), allowed)
        inputs, outputs = (
            tuple(Port(name, name in way.last, dtype) for name, dtype in zip(ports, dtypes, strict=True))
            for ports, dtypes in ((network.inputs, network.dtypes), (network.outputs, network.output_dtypes))
        )
        write_flatbuffer(model, path)
        _name_tensors(model, onnx_path, path, inputs, outputs, sample.arrays)
        write_flatbuffer(model, path)
        return path.read_bytes(), Conversion(inputs, outputs, count)


def layout_gate(ops: Sequence[Op], allowed: int) -> None:
    """Raises StageError naming the layout operations when there are more than `allowed`."""
    layout_ops = _layout_ops(ops)
    if len(layout_ops) > allowed:
        named = ", ".join(f"{op.kind} {op.name[-60:]} {list(op.outputs[0].shape)}" for op in layout_ops[:6])
        more = f" and {len(layout_ops) - 6} more" if len(layout_ops) > 6 else ""
        raise StageError(
            "export",
            f"the .tflite has {len(layout_ops)} layout operations, the network itself {allowed}: {named}{more}",
            "write the network without reshapes between images, or build for another runtime",
        )


def _layout_ops(ops: Sequence[Op]) -> list[Op]:
    return [op for op in ops if op.kind in LAYOUT]


@dataclass(frozen=True)
class _Way:
    """The inputs and outputs that get channels last, and the partitioner."""

    last: frozenset[str]
    partitioner: str


def _ways(network: Converted) -> list[_Way]:
    """What to try, the likeliest first: images as they lie best, then with outputs or all as the network has them."""
    choices = [network.channels_last, network.channels_last & set(network.inputs), frozenset[str]()]
    return [
        _Way(last, partitioner)
        for last in dict.fromkeys(choices)
        for partitioner in PARTITIONERS
        if last or partitioner == PARTITIONERS[0]
    ]


def _write(network: Converted, path: Path, way: _Way) -> None:
    """One conversion. Raises StageError."""
    with quiet():
        try:
            import litert_torch
            import torch
        except ModuleNotFoundError as error:
            raise MissingExtraError("litert-torch", "tflite") from error
        samples = []
        for (name, shape), dtype in zip(network.inputs.items(), network.dtypes, strict=True):
            moved = (shape[0], *shape[2:], shape[1]) if name in way.last else shape
            samples.append(torch.from_numpy(np.zeros(moved, dtype)))
        wrapped = litert_torch.to_channel_last_io(
            network.module,
            args=[place for place, name in enumerate(network.inputs) if name in way.last],
            outputs=[place for place, name in enumerate(network.outputs) if name in way.last],
        ).eval()
        try:
            with _partitioner(way.partitioner):
                litert_torch.convert(wrapped, tuple(samples)).export(str(path))
        except (
            *(RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, IndexError, AttributeError),
            AssertionError,
        ) as error:
            cause = in_one_line(error).split(": error: ")[-1]  # without the line of edgekit's own source
            raise StageError(
                "export",
                f"litert-torch cannot convert the network: {cause}",
                "write the operation otherwise, or build for another runtime",
            ) from error


@contextlib.contextmanager
def _partitioner(name: str) -> Iterator[None]:
    """litert-torch reads the choice from the environment only."""
    key = "LAYOUT_OPTIMIZE_PARTITIONER"
    before = os.environ.get(key)
    os.environ[key] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _name_tensors(
    model: Any,
    onnx_path: Path,
    path: Path,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    sample: tuple[NDArray[Any], ...] | None,
) -> None:
    """Name every tensor after the ONNX tensor with the same values, which checks the conversion too; in place.

    The converter names tensors by Python modules. What has no counterpart (a separate padding) is named by its
    operation. Raises StageError when an output differs from the ONNX file's.
    """
    arrays = _onnx_values(onnx_path, sample)
    feeds = [
        np.moveaxis(arrays[port.name], 1, -1) if port.channels_last else arrays[port.name] for port in inputs
    ]
    values = _tflite_values(path, [np.ascontiguousarray(feed) for feed in feeds])
    graph = model.subgraphs[0]
    names = dict(zip(map(int, graph.inputs), (port.name for port in inputs), strict=True))
    for index, port in zip(map(int, graph.outputs), outputs, strict=True):
        if not _same(values[index], arrays[port.name]):
            raise StageError("export", f"output {port.name} of the .tflite differs from the ONNX network's")
        names[index] = port.name
    taken = set(names.values())
    left = {name: value for name, value in arrays.items() if name not in taken}
    for op, raw in zip(read_ops(model), graph.operators, strict=True):
        for index in map(int, raw.outputs):
            if index in names:
                continue
            value = values.get(index)
            name = next(
                (candidate for candidate in left if value is not None and _same(value, left[candidate])), ""
            )
            if name:
                left.pop(name)
            names[index] = name or f"{op.kind.lower()}_{op.index}"
    for index in range(len(graph.tensors)):
        names.setdefault(index, f"constant_{index}")
    rename(model, _unique(names))


def _unique(names: Mapping[int, str]) -> dict[int, str]:
    """The quantizer tells tensors apart by name."""
    taken: set[str] = set()
    result = {}
    for index, name in names.items():
        while name in taken:
            name += "_"
        taken.add(name)
        result[index] = name
    return result


def _onnx_values(onnx_path: Path, sample: tuple[NDArray[Any], ...] | None) -> dict[str, NDArray[Any]]:
    """Every float tensor and every output of the ONNX network on one sample, in graph order, inputs first."""
    from edgekit.graph.bounds import made_up_inputs
    from edgekit.graph.layers import float_tensors
    from edgekit.graph.taps import load_graph, open_taps

    graph = load_graph(onnx_path)
    outputs = [port.name for port in graph.graph.output]
    names = tuple(dict.fromkeys((*float_tensors(graph), *outputs)))
    taps = open_taps(graph, names)
    feeds = made_up_inputs(graph) if sample is None else sample
    arrays = dict(zip(taps.inputs, feeds, strict=True))
    arrays.update(taps.run(feeds))
    return arrays


def _tflite_values(path: Path, feeds: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
    """Tensor index → value, of every float tensor and every output that the .tflite computes on one sample."""
    from edgekit.backends.litert.interpreter import open_all

    with open_all(path) as network:
        return {**network.look(feeds), **network.results()}


def _same(here: NDArray[Any], there: NDArray[Any]) -> bool:
    """Whether a .tflite tensor holds an ONNX tensor's values, in either layout, with or without axes of size 1."""
    if here.size != there.size:
        return False
    if here.dtype.kind != "f":
        return here.dtype.kind == there.dtype.kind and any(
            float(np.mean(form != here)) <= EQUAL for form in _forms(there, here.shape)
        )
    limit = CLOSE * max(float(np.abs(there[there > MASKED]).max(initial=0.0)), 1e-6)
    return any(_apart(here, form) <= limit for form in _forms(there, here.shape))


def _apart(here: NDArray[Any], there: NDArray[Any]) -> float:
    """The largest difference, where not both are masked."""
    both = (here <= MASKED) & (there <= MASKED)
    return float(np.abs(np.where(both, 0.0, here) - np.where(both, 0.0, there)).max(initial=0.0))


def _forms(array: NDArray[Any], shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """`array`, and with its channels last, in `shape`, where they differ from it by axes of size 1 alone."""
    wanted = [size for size in shape if size != 1]
    forms = [array, np.moveaxis(array, 1, -1)] if array.ndim > 2 else [array]
    return [form.reshape(shape) for form in forms if [size for size in form.shape if size != 1] == wanted]
