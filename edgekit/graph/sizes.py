"""Sizes of a network's inputs that its file leaves open, and the ones that the user gives for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.graph.signature import signature_of
from edgekit.graph.states import sample_of_state, turn_states
from edgekit.types import InputShape, Signature, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["fix_sizes", "shapes_by_name", "sizes_told"]

OPTION = "--input-shape"


def shapes_by_name(given: Sequence[InputShape], inputs: Sequence[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """Input → the shape that was given for it. Shapes without a name belong to the inputs in their order.

    Raises ModelError, with one line, for a name that no input has, a shape that two inputs or none could mean, another
    rank than the input's, a size that contradicts a fixed one, and a batch other than 1. A spec of no dimensions is
    taken as one of unknown rank.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    unnamed = [shape for shape in given if not shape.name]
    in_order = len(unnamed) == len(given) == len(inputs)
    if unnamed and len(inputs) > 1 and not in_order:
        raise ModelError(
            f"{OPTION} {unnamed[0].text()} names no input, and the network has {len(inputs)}",
            allowed=" ".join(f"{OPTION} {spec.name}={_example(spec)}" for spec in inputs),
        )
    specs = {spec.name: spec for spec in inputs}
    for position, shape in enumerate(given):
        name = shape.name or inputs[position if in_order else 0].name
        if name not in specs:
            raise ModelError(
                f"{OPTION} {shape.text()}: the network has no input {name!r}", allowed=", ".join(specs)
            )
        if name in chosen:
            raise ModelError(f"{OPTION} {shape.text()}: input {name!r} was given a shape already")
        _refuse_other(shape, specs[name])
        chosen[name] = shape.dims
    return chosen


def _refuse_other(shape: InputShape, spec: TensorSpec) -> None:
    """Raises ModelError where the shape contradicts what the network says of the input."""
    said = f"{OPTION} {shape.text()}"
    if spec.shape and len(shape.dims) != len(spec.shape):
        raise ModelError(
            f"{said} has {len(shape.dims)} dimensions, input {spec.name!r} has {len(spec.shape)}",
            allowed=f"a shape as {_example(spec)}",
        )
    for position, (size, fixed) in enumerate(zip(shape.dims, spec.shape, strict=False)):
        if fixed is not None and fixed != size:
            raise ModelError(
                f"{said}: dimension {position} of input {spec.name!r} is fixed to {fixed}, not {size}",
                allowed=f"a shape as {_example(spec)}",
            )
    if shape.dims[0] != 1:
        raise ModelError(f"{said} has a batch of {shape.dims[0]}", allowed="1: one sample goes in at a time")


def _example(spec: TensorSpec) -> str:
    """The input's shape as the option takes it, with letters where a size is open."""
    if not spec.shape:
        return "1x3x224x224"
    letters = iter("HWDEFGIJKLMN")
    sizes = [str(size) if size is not None else None for size in spec.shape]
    sizes[0] = sizes[0] or "1"
    return "x".join(size if size is not None else next(letters, "S") for size in sizes)


def fix_sizes(model: onnx.ModelProto, name: str, given: Sequence[InputShape] = ()) -> bool:
    """Give every input the size for one sample, in place; whether anything changed.

    A dynamic batch becomes 1, also where it stands elsewhere by the same name (as in the state of a recurrent layer);
    the user's shapes fill the rest, and turn recurrent states so that their samples come first. Raises ModelError
    when a size stays open, when the first axis of an input is fixed to more than 1, and what `shapes_by_name` raises.
    """
    changed = turn_states(model, given)
    specs = signature_of(model).inputs
    shapes = shapes_by_name(given, specs)
    values = {value.name: value for value in model.graph.input}
    batches = set(_batch_names(values[spec.name] for spec in specs))
    for spec in specs:
        tensor = values[spec.name].type.tensor_type
        if spec.name in shapes and not spec.shape:
            tensor.shape.CopyFrom(_shape(shapes[spec.name]))
            changed = True
            continue
        if not spec.shape:
            _refuse_without_axes(name, spec, known=tensor.HasField("shape"))
        for position, dim in enumerate(tensor.shape.dim):
            if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
                continue
            if spec.name in shapes:
                dim.dim_value = shapes[spec.name][position]
            elif position == 0 or dim.dim_param in batches:
                dim.dim_value = 1
            else:
                raise ModelError(
                    f"{name}: dimension {position} of input {spec.name!r} is dynamic ({dim.dim_param or '?'})",
                    remedy=f"give its size: {OPTION} {spec.name}={_example(spec)}",
                )
            changed = True
        _refuse_batch(name, spec, [dim.dim_value for dim in tensor.shape.dim])
    if changed:
        # Inferred shapes still carry the old sizes.
        del model.graph.value_info[:]
        for value in model.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    return changed


def sizes_told(before: Signature, after: Signature) -> tuple[str, ...]:
    """One line for every size of an input that a file leaves open, and what it became; and for every turned state."""
    sizes = {spec.name: spec.shape for spec in after.inputs}
    lines = []
    for spec in before.inputs:
        if sizes[spec.name] == sample_of_state(spec):
            lines.append(
                f"input {spec.name} had its samples along axis 1; the built network takes one as "
                f"{list(sizes[spec.name])}, and transposes it"
            )
            continue
        lines += [
            f"dimension {position} of input {spec.name} is dynamic; it becomes {sizes[spec.name][position]}"
            for position, size in enumerate(spec.shape)
            if size is None
        ]
    return tuple(lines)


def _batch_names(values: Iterator[onnx.ValueInfoProto]) -> Iterator[str]:
    """What a dynamic first axis is called, where that is a name: all open sizes of a file may be called `?`."""
    for value in values:
        names = [dim.dim_param for dim in value.type.tensor_type.shape.dim]
        if names and names.count(names[0]) == 1 and names[0].isidentifier() and names[0] != "None":
            yield names[0]


def _shape(sizes: Sequence[int]) -> onnx.TensorShapeProto:
    import onnx

    dims = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes]
    return onnx.TensorShapeProto(dim=dims)


def _refuse_without_axes(name: str, spec: TensorSpec, *, known: bool) -> None:
    if known:
        raise ModelError(
            f"{name}: input {spec.name!r} is a single value, without an axis for samples",
            remedy="make it a constant of the network, or give it an axis",
        )
    raise ModelError(
        f"{name}: the shape of input {spec.name!r} is unknown",
        remedy=f"give it, as {OPTION} {spec.name}={_example(spec)}",
    )


def _refuse_batch(name: str, spec: TensorSpec, sizes: Sequence[int]) -> None:
    """Samples come along the first axis, one at a time."""
    if sizes[0] == 1:
        return
    called, sample = spec.name, sample_of_state(spec)
    if sample is not None:
        shape = InputShape(called, sample).text()
        raise ModelError(
            f"{name}: the first axis of input {called!r} {list(sizes)} is not the batch; axis 1 may be it, as in the "
            f"state of {sizes[0]} recurrent layers",
            remedy=f"give {OPTION} {shape} and samples of it as [N, {sizes[0]}, {sizes[2]}]: edgekit then turns "
            "them inside the network",
        )
    if 1 in sizes[1:] or len(sizes) == 1:
        place = f"; axis {sizes.index(1)} may be it" if 1 in sizes[1:] else ""
        raise ModelError(
            f"{name}: the first axis of input {called!r} {list(sizes)} is not the batch{place}",
            allowed="inputs with their samples along the first axis",
            remedy="transpose or set it inside the network, and export it again",
        )
    raise ModelError(
        f"{name}: input {called!r} has a fixed batch of {sizes[0]}",
        allowed="a batch of 1, or a dynamic batch",
        remedy="export it again with one of these",
    )
