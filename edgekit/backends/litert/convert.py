"""ONNX → float .tflite with channels last, and the gate that lets no needless transpose through."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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

    from edgekit.graph.to_torch.module import Converted

__all__ = ["Port", "convert"]

PARTITIONERS = ("MINCUT", "GREEDY")
"""How litert-torch decides which operations get channels last (its LAYOUT_OPTIMIZE_PARTITIONER). The first is its
own choice and cuts fewest edges, but may put a transpose on an edge that the second does not cut."""

CLOSE = 1e-3  # of a tensor's largest magnitude: float kernels add in another order


@dataclass(frozen=True)
class Port:
    """One input or output: the network's own name, and whether the file has its channels last."""

    name: str
    channels_last: bool


def convert(onnx_path: Path, path: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Write the network as float .tflite; gives its inputs and outputs in the file's order.

    Of the ways to lay it out the one with fewest transposes is kept. Tensors are named as in the ONNX file where
    they hold the same values. Raises StageError when it cannot be converted, computes something else, or has
    layout operations that the network itself has not.
    """
    content, inputs, outputs = _converted(onnx_path, sha256_file(onnx_path))
    path.write_bytes(content)
    return inputs, outputs


@lru_cache(maxsize=2)
def _converted(onnx_path: Path, digest: str) -> tuple[bytes, tuple[Port, ...], tuple[Port, ...]]:
    """See `convert`. Every precision and recipe of a variant begins with the same file, named by its content."""
    from edgekit.errors import ModelError
    from edgekit.graph.to_torch.module import onnx_to_torch

    try:
        network = onnx_to_torch(onnx_path)
    except ModelError as error:
        raise StageError(
            "export", str(error), "replace the operation, or build for another runtime"
        ) from error
    allowed = layout_allowance(onnx_path)
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
        _, model, way = best
        layout_gate(read_ops(model), allowed)
        inputs = tuple(Port(*port) for port in zip(network.inputs, way.inputs_last, strict=True))
        outputs = tuple(Port(*port) for port in zip(network.outputs, way.outputs_last, strict=True))
        write_flatbuffer(model, path)
        _name_tensors(model, onnx_path, path, inputs, outputs)
        write_flatbuffer(model, path)
        return path.read_bytes(), inputs, outputs


def layout_allowance(onnx_path: Path) -> int:
    """How many layout operations a .tflite may have: as many as the ONNX graph itself.

    A plain CNN has none, so none are let through. A transformer transposes to split its heads, a channel shuffle
    to mix its groups; those are the network's own work.
    """
    from edgekit.graph.proto import read_model

    own = {"Transpose", "DepthToSpace", "SpaceToDepth"}
    return sum(node.op_type in own for node in read_model(onnx_path).graph.node)


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
    """Which inputs and outputs get channels last, and the partitioner."""

    inputs_last: tuple[bool, ...]
    outputs_last: tuple[bool, ...]
    partitioner: str


def _ways(network: Converted) -> list[_Way]:
    """What to try, the likeliest first: a network without convolutions may do best with nothing moved."""
    taken = tuple(len(shape) == 4 for shape in network.inputs.values())
    given = tuple(len(shape) == 4 for shape in network.outputs.values())
    none = (False,) * len(given)
    ways = [_Way(taken, given, partitioner) for partitioner in PARTITIONERS]
    if any(given):
        ways += [_Way(taken, none, partitioner) for partitioner in PARTITIONERS]
    return [*ways, _Way((False,) * len(taken), none, PARTITIONERS[0])]


def _write(network: Converted, path: Path, way: _Way) -> None:
    """One conversion. Raises StageError."""
    shapes = list(network.inputs.values())
    images = [index for index, wanted in enumerate(way.inputs_last) if wanted]
    last = [index for index, wanted in enumerate(way.outputs_last) if wanted]
    with quiet():
        try:
            import litert_torch
            import torch
        except ModuleNotFoundError as error:
            raise MissingExtraError("litert-torch", "tflite") from error
        samples = [
            torch.zeros(_moved(shape) if place in images else shape) for place, shape in enumerate(shapes)
        ]
        wrapped = litert_torch.to_channel_last_io(network.module, args=images, outputs=last).eval()
        try:
            with _partitioner(way.partitioner):
                litert_torch.convert(wrapped, tuple(samples)).export(str(path))
        except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, IndexError) as error:
            raise StageError(
                "export", f"litert-torch cannot convert the network: {in_one_line(error)}"
            ) from error


def _moved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[N, C, H, W] → [N, H, W, C]."""
    return (shape[0], *shape[2:], shape[1])


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
    model: Any, onnx_path: Path, path: Path, inputs: Sequence[Port], outputs: Sequence[Port]
) -> None:
    """Name every tensor after the ONNX tensor with the same values, which checks the conversion too; in place.

    The converter names tensors by Python modules. What has no counterpart (a separate padding) is named by its
    operation. Raises StageError when an output differs from the ONNX file's.
    """
    arrays = _onnx_values(onnx_path)
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


def _onnx_values(onnx_path: Path) -> dict[str, NDArray[Any]]:
    """Every float tensor of the ONNX network on one random sample, in graph order, inputs first."""
    from edgekit.graph.layers import float_tensors
    from edgekit.graph.taps import load_graph, open_taps

    graph = load_graph(onnx_path)
    outputs = [port.name for port in graph.graph.output]
    names = tuple(dict.fromkeys((*float_tensors(graph), *outputs)))
    taps = open_taps(graph, names)
    rng = np.random.default_rng(0)
    feeds = []
    for info in graph.graph.input:
        if info.name in taps.inputs:
            shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
            feeds.append(rng.standard_normal(shape).astype(np.float32))
    arrays = dict(zip(taps.inputs, feeds, strict=True))
    arrays.update(taps.run(feeds))
    return arrays


def _tflite_values(path: Path, feeds: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
    """Tensor index → value, of every tensor that the float .tflite computes on one sample."""
    from edgekit.backends.litert.interpreter import open_all

    with open_all(path) as network:
        return network.look(feeds)


def _same(here: NDArray[Any], there: NDArray[Any]) -> bool:
    """Whether a .tflite tensor holds an ONNX tensor's values, in either layout."""
    if here.size != there.size:
        return False
    limit = CLOSE * max(float(np.abs(there).max(initial=0.0)), 1e-6)
    forms = [there, np.moveaxis(there, 1, -1)] if there.ndim > 2 else [there]
    return any(
        form.shape == here.shape and float(np.abs(here - form).max(initial=0.0)) <= limit for form in forms
    )
