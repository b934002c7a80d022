"""How channels flow through products of two activations: matrix products, einsum and attention.

An axis of a product is one that both operands share in step (a head), one that is summed over (the width of queries and
keys), or one that the result takes from one operand (the width of values). Written as einsum, each axis is a letter,
and one rule covers all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.pruning.channels import ChannelSets, TensorChannels

if TYPE_CHECKING:
    from edgekit.compress.pruning.flow import Arrived, Left, OperatorCall

__all__ = ["attended", "contracted", "multiplied", "product_macs"]

_CONSUMED: tuple[TensorChannels | None, ...] = ()
"""The channels were summed over: the result holds none."""

_BATCH = "abcdefgh"


def product_macs(name: str, operands: Sequence[tuple[int, ...]], equation: str = "") -> tuple[int, ...]:
    """Multiply-accumulates of each product that operator `name` makes of tensors of these shapes; () for none."""
    if name in ("matmul", "bmm", "mm") and min(map(len, operands)) > 1:
        first, second = operands
        batch = max(first[:-2], second[:-2], key=math.prod)
        return (math.prod(batch) * first[-2] * first[-1] * second[-1],)
    if name == "einsum":
        read = equation.replace(" ", "").partition("->")[0].split(",")
        plain = len(read) == len(operands) and all(map(str.isalpha, read))
        sizes = {letter: size for names, shape in zip(read, operands, strict=plain)
                 for letter, size in zip(names, shape, strict=plain)}  # fmt: skip
        return (math.prod(sizes.values()),) if plain else ()
    if name == "scaled_dot_product_attention":
        query, key, value = operands[:3]
        scores = math.prod(query[:-1]) * key[-2]
        return scores * query[-1], scores * value[-1]
    return ()


def multiplied(sets: ChannelSets, call: OperatorCall) -> Left:
    """A matrix product of two tensors that have two axes or more."""
    (first, first_shape), (second, second_shape) = call.tensors[0], call.tensors[-1]
    if len(call.tensors) != 2 or min(len(first_shape), len(second_shape)) < 2:
        return None
    operands = [(first, first_shape), (second, second_shape)]
    batch = max(len(first_shape), len(second_shape)) - 2
    if batch > len(_BATCH):
        return None
    letters = _BATCH[:batch]
    names = [
        letters[batch - (len(first_shape) - 2) :] + "ij",
        letters[batch - (len(second_shape) - 2) :] + "jk",
    ]
    return _by_letters(sets, operands, names, f"{letters}ik")


def contracted(sets: ChannelSets, call: OperatorCall) -> Left:
    """einsum with a plain equation."""
    equation = str(call.options.get("equation", "")).replace(" ", "")
    read, arrow, result = equation.partition("->")
    names = read.split(",")
    plain = arrow and "." not in equation and all(len(set(name)) == len(name) for name in names)
    if not plain or len(names) != len(call.tensors):
        return None
    return _by_letters(sets, call.tensors, names, result)


def attended(sets: ChannelSets, call: OperatorCall) -> Left:
    """Scaled dot-product attention: softmax(q·k + mask)·v, for q of [..., n, d]."""
    if len(call.tensors) not in (3, 4) or call.options.get("enable_gqa"):
        return None
    ranks = {len(shape) for _, shape in call.tensors[:3]}
    if len(ranks) != 1 or min(ranks) < 3 or max(ranks) - 2 > len(_BATCH):
        return None
    letters = _BATCH[: max(ranks) - 2]
    query, key, value, *masks = call.tensors
    scores = _by_letters(sets, (query, key), (f"{letters}ij", f"{letters}kj"), f"{letters}ik")
    if scores is None:
        return None
    held = scores if isinstance(scores, TensorChannels) else None
    if held is not None and held.axis >= len(letters):
        return None
    for channels, shape in masks:
        place = None if held is None else held.axis - (len(call.shapes[0]) - len(shape))
        if channels is not None or (place is not None and place >= 0 and shape[place] > 1):
            return None
    weights = (held, (*query[1][:-1], key[1][-2]))
    return _by_letters(sets, (weights, value), (f"{letters}ik", f"{letters}kl"), f"{letters}il")


def _by_letters(sets: ChannelSets, operands: Sequence[Arrived], names: Sequence[str], result: str) -> Left:
    """The letter that the channels lie along must be the same in all operands that hold it, and held by all of them.

    None where two letters have channels, or a plain tensor meets them.
    """
    sets.multiplied.append(())
    tracked = {names[i][channels.axis] for i, (channels, _) in enumerate(operands) if channels is not None}
    if not tracked:
        return _CONSUMED
    if len(tracked) != 1:
        return None
    (letter,) = tracked
    rows = []
    for (channels, shape), name in zip(operands, names, strict=True):
        if channels is not None:
            rows.append(channels.ids)
        elif letter in name and shape[name.index(letter)] > 1:
            return None
    if len({len(ids) for ids in rows}) != 1:
        return None
    sets.join_all(*rows)
    sets.multiplied[-1] = rows[0]
    sets.attended.update(rows[0])
    if letter in result:
        return TensorChannels(result.index(letter), rows[0])
    sets.contracted.update(rows[0])
    return _CONSUMED
