"""How channels flow through a view: axes are merged and split, and every element keeps the channel it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edgekit.compress.pruning.channels import ChannelSets, TensorChannels

__all__ = ["viewed"]


def viewed(
    sets: ChannelSets,
    source: TensorChannels,
    before: Sequence[int],
    after: Sequence[int],
    heads: Collection[int] = (),
) -> TensorChannels | None:
    """Channels of a tensor of shape `before` that is viewed as `after`. None where they cannot be told.

    Merged axes hold a channel in several places. Of a split axis, one part is followed and the channels that share a
    place of it stay or go together: the last part, or with `heads` a part before it whose size is one of them.
    """
    axes = _axes_that_hold(before, after, source.axis)
    if axes is None:
        return None
    read, made = axes
    behind = _product([before[axis] for axis in read if axis > source.axis])
    front = _product([before[axis] for axis in read if axis < source.axis])
    flat = tuple(element for element in source.ids for _ in range(behind)) * front
    for axis in reversed(made):
        rows = _along(flat, [after[i] for i in made], made.index(axis))
        if all(len(set(row)) == 1 for row in rows):
            return TensorChannels(axis, tuple(row[0] for row in rows))
    followed = next((axis for axis in reversed(made[:-1]) if after[axis] in heads), made[-1])
    rows = _along(flat, [after[i] for i in made], made.index(followed))
    for row in rows:
        sets.join_all(*((element,) for element in dict.fromkeys(row)))
    return TensorChannels(followed, tuple(row[0] for row in rows))


def _axes_that_hold(
    before: Sequence[int], after: Sequence[int], axis: int
) -> tuple[list[int], list[int]] | None:
    """The axes that are merged with `axis`, and those that they become. Axes of size 1 do not count."""
    if before[axis] <= 1 or 0 in before:
        return None
    read = [i for i, size in enumerate(before) if size != 1]
    made = [i for i, size in enumerate(after) if size != 1]
    r = m = 0
    while r < len(read):
        first_read, first_made = r, m
        have, want = before[read[r]], after[made[m]]
        r, m = r + 1, m + 1
        while have != want:
            if have < want:
                have *= before[read[r]]
                r += 1
            else:
                want *= after[made[m]]
                m += 1
        if axis in read[first_read:r]:
            return read[first_read:r], made[first_made:m]
    return None


def _along(flat: Sequence[int], sizes: Sequence[int], place: int) -> list[tuple[int, ...]]:
    """The elements at each index of axis `place`, of a flat tensor of these sizes."""
    inner, size = _product(sizes[place + 1 :]), sizes[place]
    rows: list[list[int]] = [[] for _ in range(size)]
    for start in range(0, len(flat), inner):
        rows[start // inner % size].extend(flat[start : start + inner])
    return [tuple(row) for row in rows]


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
