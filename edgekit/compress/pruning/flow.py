"""How channels flow through the operators of a traced network: what each does to the channels of its inputs.

An operator without a rule (a recurrent layer, a normalization across channels) fixes the channels that reach it: they
stay at full width, and the rest of the network is pruned around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from edgekit.compress.pruning.channels import ChannelSets, TensorChannels
from edgekit.compress.pruning.products import attended, contracted, multiplied
from edgekit.compress.pruning.views import viewed

__all__ = ["FIXED_WIDTH", "Arrived", "Left", "OperatorCall", "flow"]

Arrived = tuple[TensorChannels | None, tuple[int, ...]]
"""A tensor that an operator reads: its channels, None where it has none that can be pruned, and its shape."""

Left = TensorChannels | None | tuple[TensorChannels | None, ...]
"""Channels of an operator's result; a tuple where the result is one."""

FIXED_WIDTH = "meets a tensor of fixed width"

Rule = Callable[[ChannelSets, "OperatorCall"], Left]


class OperatorCall:
    """One call of an operator: its name, tensors read, plain arguments in the schema's order, shapes of results."""

    def __init__(
        self,
        name: str,
        tensors: Sequence[Arrived],
        options: Mapping[str, Any],
        shapes: Sequence[tuple[int, ...]],
        heads: Collection[int] = (),
    ) -> None:
        self.name, self.tensors, self.options, self.shapes = name, tensors, options, shapes
        self.heads = heads

    @property
    def source(self) -> TensorChannels:
        """Channels of the first tensor."""
        channels = self.tensors[0][0]
        assert channels is not None
        return channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor."""
        return self.tensors[0][1]

    def axis(self, option: str, default: int = 0) -> int:
        """The axis that an argument names, counted from the front."""
        return int(self.options.get(option, default)) % len(self.shape)


def flow(
    sets: ChannelSets,
    name: str,
    tensors: Sequence[Arrived],
    options: Mapping[str, Any],
    shapes: Sequence[tuple[int, ...]],
    *,
    pointwise: bool,
    heads: Collection[int] = (),
) -> Left:
    """Channels of the result of operator `name` ("relu_" as "relu"), whose results have `shapes`.

    `tensors`: in the order of the operator's arguments, one for each. What may not be pruned is fixed in `sets`.
    `pointwise`: torch says that the operator works element by element. `heads`: numbers of heads that views of a split
    axis are followed along (see viewed).
    """
    if not any(channels for channels, _ in tensors):
        return None
    rule = RULES.get(name) or (_together if pointwise else None)
    left: Left = None
    if rule is not None and (tensors[0][0] is not None or rule in _ANY_OPERAND):
        left = rule(sets, OperatorCall(name, tensors, options, shapes, heads))
    if left is None:
        for channels, _ in tensors:
            if channels is not None:
                sets.fix(channels.ids, f"goes into {name}{_ACROSS.get(name, '')}")
    return left


def _together(sets: ChannelSets, call: OperatorCall) -> Left:
    """Element by element: channels that meet belong together; what meets a plain tensor stays."""
    result = call.shapes[0]
    placed = [
        (channels.axis + len(result) - len(shape), channels.ids)
        for channels, shape in call.tensors
        if channels is not None
    ]
    axis = next((place for place, ids in placed if len(ids) == result[place]), None)
    if axis is None or any(place != axis for place, _ in placed):
        return None
    rows = [ids for _, ids in placed if len(ids) == result[axis]]
    for _, ids in placed:
        if len(ids) != result[axis]:
            sets.fix(ids, "is spread over other channels")
    sets.join_all(*rows)
    for channels, shape in call.tensors:
        place = axis - (len(result) - len(shape))
        if channels is None and place >= 0 and shape[place] > 1:
            sets.fix(rows[0], FIXED_WIDTH)
    return TensorChannels(axis, rows[0])


def _in_place(sets: ChannelSets, call: OperatorCall) -> Left:
    """The channel axis stays as it is: pooling, resizing, padding of other axes."""
    source = call.source
    kept = all(
        len(shape) == len(call.shape) and shape[source.axis] == len(source.ids) for shape in call.shapes
    )
    if not kept:
        return None
    return source if len(call.shapes) == 1 else (source,) * len(call.shapes)


def _pooled(sets: ChannelSets, call: OperatorCall) -> Left:
    """Pooling and resizing work along the axes behind the channels'."""
    return _in_place(sets, call) if call.source.axis == 1 else None


def _reduced(sets: ChannelSets, call: OperatorCall) -> Left:
    """Reduction over other axes than the channels'."""
    named = call.options.get("dim")
    axes = [named] if isinstance(named, int) else list(named or range(len(call.shape)))
    gone = {axis % len(call.shape) for axis in axes}
    if call.source.axis in gone:
        return None
    before = 0 if call.options.get("keepdim", False) else sum(axis < call.source.axis for axis in gone)
    left = TensorChannels(call.source.axis - before, call.source.ids)
    return left if len(call.shapes) == 1 else (left,) * len(call.shapes)


def _along_another_axis(sets: ChannelSets, call: OperatorCall) -> Left:
    """Softmax and its like, where it does not mix channels."""
    return None if call.axis("dim") == call.source.axis else call.source


def _normalized(sets: ChannelSets, call: OperatorCall) -> Left:
    """Layer norm and its like: statistics across the last axes, whose width changes them."""
    axes = len(call.options.get("normalized_shape") or ())
    return call.source if call.source.axis < len(call.shape) - axes else None


def _looked_up(sets: ChannelSets, call: OperatorCall) -> Left:
    """Rows of a table, one for each number: its channels come last."""
    return TensorChannels(len(call.shapes[0]) - 1, call.source.ids) if call.source.axis == 1 else None


def _reshaped(sets: ChannelSets, call: OperatorCall) -> Left:
    return viewed(sets, call.source, call.shape, call.shapes[0], call.heads)


def _rows(ids: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    width = len(ids) // count
    return [ids[start : start + width] for start in range(0, len(ids), width)]


def _permuted(sets: ChannelSets, call: OperatorCall) -> Left:
    order = [axis % len(call.shape) for axis in call.options["dims"]]
    return TensorChannels(order.index(call.source.axis), call.source.ids)


def _transposed(sets: ChannelSets, call: OperatorCall) -> Left:
    """Two axes change places: those named, or the last two of a matrix."""
    rank = len(call.shape)
    named = "dim0" in call.options
    swap = (call.axis("dim0"), call.axis("dim1")) if named else (max(0, rank - 2), rank - 1)
    order = {swap[0]: swap[1], swap[1]: swap[0]}
    return TensorChannels(order.get(call.source.axis, call.source.axis), call.source.ids)


def _concatenated(sets: ChannelSets, call: OperatorCall) -> Left:
    """Side by side: plain tensors among them bring channels that stay."""
    axes = {channels.axis for channels, _ in call.tensors if channels is not None}
    axis = int(call.options.get("dim", 0)) % len(call.shapes[0])
    if axes != {axis}:
        return (
            _together(sets, call) if len(axes) == 1 and all(c is not None for c, _ in call.tensors) else None
        )
    ids: list[int] = []
    for channels, shape in call.tensors:
        if channels is None:
            plain = sets.new(shape[axis])
            sets.fix(plain, FIXED_WIDTH)
            ids.extend(plain)
        else:
            ids.extend(channels.ids)
    return TensorChannels(axis, tuple(ids))


def _stacked(sets: ChannelSets, call: OperatorCall) -> Left:
    axes = {None if channels is None else channels.axis for channels, _ in call.tensors}
    if len(axes) != 1:
        return None
    rows = [channels.ids for channels, _ in call.tensors if channels is not None]
    sets.join_all(*rows)
    (axis,) = (channels.axis for channels, _ in call.tensors[:1] if channels is not None)
    at = int(call.options.get("dim", 0)) % len(call.shapes[0])
    return TensorChannels(axis + (at <= axis), rows[0])


def _split(sets: ChannelSets, call: OperatorCall) -> Left:
    """Parts of equal size stay equal, as `chunk` will make them of the narrower tensor too."""
    source = call.source
    if call.axis("dim") != source.axis:
        return (source,) * len(call.shapes)
    ends = [0]
    for shape in call.shapes:
        ends.append(ends[-1] + shape[source.axis])
    parts = [source.ids[start:end] for start, end in itertools.pairwise(ends)]
    if len({len(part) for part in parts}) == 1:
        sets.join_all(*parts)
    return tuple(TensorChannels(source.axis, part) for part in parts)


def _unbound(sets: ChannelSets, call: OperatorCall) -> Left:
    at, source = call.axis("dim"), call.source
    if at == source.axis:
        return None
    return (TensorChannels(source.axis - (at < source.axis), source.ids),) * len(call.shapes)


def _sliced(sets: ChannelSets, call: OperatorCall) -> Left:
    """A part of the channels; one of several equal parts stays as large as the others."""
    source = call.source
    if call.axis("dim") != source.axis:
        return source
    part = slice(call.options.get("start"), call.options.get("end"), call.options.get("step", 1))
    ids = source.ids[part]
    first = part.indices(len(source.ids))[0]
    if ids and part.step == 1 and len(source.ids) % len(ids) == 0 and first % len(ids) == 0:
        sets.join_all(*_rows(source.ids, len(source.ids) // len(ids)))
    return TensorChannels(source.axis, ids)


def _selected(sets: ChannelSets, call: OperatorCall) -> Left:
    at, source = call.axis("dim"), call.source
    return None if at == source.axis else TensorChannels(source.axis - (at < source.axis), source.ids)


def _expanded(sets: ChannelSets, call: OperatorCall) -> Left:
    axis = call.source.axis + len(call.shapes[0]) - len(call.shape)
    return TensorChannels(axis, call.source.ids) if call.shapes[0][axis] == len(call.source.ids) else None


def _gated(sets: ChannelSets, call: OperatorCall) -> Left:
    """Gated linear unit: one half times the sigmoid of the other."""
    source = call.source
    if call.axis("dim", -1) != source.axis:
        return source
    first, second = _rows(source.ids, 2)
    sets.join_all(first, second)
    return TensorChannels(source.axis, first)


def _shuffled(sets: ChannelSets, call: OperatorCall) -> Left:
    """Pixel shuffle: the r x r channels that become one stay together."""
    if len(call.shape) != 4 or call.source.axis != 1:
        return None
    rows = _rows(call.source.ids, call.shapes[0][1])
    for row in rows:
        sets.join_all(*((element,) for element in row))
    return TensorChannels(1, tuple(row[0] for row in rows))


def _moved(sets: ChannelSets, call: OperatorCall) -> Left:
    """movedim: the axes named go where they are told, the others close up."""
    rank = len(call.shape)
    named = [call.options["source"], call.options["destination"]]
    source, target = ([int(a) % rank for a in ([axes] if isinstance(axes, int) else axes)] for axes in named)
    placed = dict(zip(target, source, strict=True))
    others = (axis for axis in range(rank) if axis not in source)
    order = [placed[at] if at in placed else next(others) for at in range(rank)]
    return TensorChannels(order.index(call.source.axis), call.source.ids)


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Mapping[str, Rule] = {
    **_named(
        _together,
        "alias clone contiguous detach dropout feature_dropout alpha_dropout to _to_copy relu relu6 hardtanh silu gelu "
        "mish hardswish hardsigmoid leaky_relu elu celu selu softplus sigmoid tanh square rsub",
    ),
    **_named(
        _pooled,
        "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
        "upsample_bicubic2d upsample_trilinear3d",
    ),
    **_named(
        _in_place, "pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"
    ),
    **_named(_reduced, "mean sum amax amin max min std var norm logsumexp"),
    **_named(_along_another_axis, "softmax log_softmax"),
    **_named(_normalized, "layer_norm rms_norm"),
    **_named(_looked_up, "embedding"),
    **_named(_reshaped, "view reshape flatten unflatten squeeze unsqueeze _unsafe_view"),
    **_named(_permuted, "permute"),
    **_named(_transposed, "transpose t swapaxes mT mH adjoint"),
    **_named(_concatenated, "cat concat"),
    **_named(_stacked, "stack"),
    **_named(_split, "chunk split split_with_sizes tensor_split"),
    **_named(_unbound, "unbind"),
    **_named(_sliced, "slice"),
    **_named(_selected, "select"),
    **_named(_expanded, "expand"),
    **_named(_gated, "glu"),
    **_named(_shuffled, "pixel_shuffle"),
    **_named(_moved, "movedim moveaxis"),
    **_named(multiplied, "matmul bmm mm"),
    **_named(contracted, "einsum"),
    **_named(attended, "scaled_dot_product_attention"),
}
"""Operator of ATen, without overload and trailing underscore → its rule."""

_ACROSS = dict.fromkeys(
    ["layer_norm", "rms_norm", "group_norm"], ", whose statistics are taken across its channels"
)
"""Operator → why no channel can go: those that stay would get other values."""

_ANY_OPERAND = (_together, _concatenated, _stacked, multiplied, contracted, attended)
"""Rules for which the first tensor may be one without channels."""
