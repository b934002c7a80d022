"""Exact dynamic programming over a graph of small tables: variables are eliminated one by one.

Bucket elimination (Dechter, "Bucket elimination: a unifying framework for reasoning", Artificial Intelligence 113,
1999): over a tree of groups it costs no more than the pairs of their widths. Where tables would become too large, a
bucket is split (mini-buckets, Dechter and Rish, JACM 50, 2003): values are then lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit.plan.solving.factors import FactorGraph, States

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Bucket", "CostArrays", "Elimination", "Swept"]

CostArrays = Sequence["NDArray[np.float64]"]

LARGEST = 1 << 20
"""Entries of one table: 8 MB."""

CACHED = 1 << 15
"""Entries of a table that stays in a core's second cache: 256 kB."""


@dataclass(frozen=True)
class Bucket:
    """A table in which `variable` is eliminated. `parts`: factors and messages of earlier buckets that it adds up.

    A part is its index (factors first, then buckets) and its shape among the table's axes.
    """

    variable: int
    scope: tuple[int, ...]
    parts: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def axis(self) -> int:
        return self.scope.index(self.variable)


@dataclass(frozen=True)
class Swept:
    """One sweep. `value`: the least sum, or a lower bound of it; `arrays`: factors, then the buckets' messages."""

    value: float
    states: States
    arrays: CostArrays


@dataclass(frozen=True)
class Elimination:
    """In which order the variables of one graph go; the same for all weights."""

    graph: FactorGraph

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """Next goes whichever makes the smallest table, the first of equals."""
        counts = [variable.count for variable in self.graph.variables]
        scopes = [frozenset(factor.scope) for factor in self.graph.factors]
        live: list[set[int]] = [set() for _ in counts]
        for part, scope in enumerate(scopes):
            for variable in scope:
                live[variable].add(part)

        def size(variable: int) -> int:
            joined = frozenset({variable}).union(*(scopes[part] for part in live[variable]))
            return math.prod(counts[index] for index in joined)

        sizes = {variable: size(variable) for variable in range(len(counts))}
        buckets: list[Bucket] = []
        while sizes:
            variable = min(sizes, key=lambda index: (sizes[index], index))
            del sizes[variable]
            touched: set[int] = set()
            for bucket in _buckets(variable, sorted(live[variable]), scopes, counts):
                joined = frozenset({variable}).union(*(scopes[part] for part in bucket))
                axes = tuple(sorted(joined))
                shaped = tuple(
                    (part, tuple(counts[index] if index in scopes[part] else 1 for index in axes))
                    for part in bucket
                )
                buckets.append(Bucket(variable, axes, shaped))
                scopes.append(joined - {variable})
                for part in bucket:
                    for index in scopes[part]:
                        live[index].discard(part)
                for index in joined - {variable}:
                    live[index].add(len(scopes) - 1)
                touched |= joined - {variable}
            for index in touched:
                sizes[index] = size(index)
        return tuple(buckets)

    def sweep(self, harm: float, multipliers: NDArray[np.float64]) -> Swept:
        """The least of harm x harm + multipliers x uses [limits], without the graph's base, and states that have it.

        Where a bucket was split the value is a lower bound, and the states are merely good.
        """
        arrays = [factor.weighted(harm, multipliers) for factor in self.graph.factors]
        value = 0.0
        for bucket in self.buckets:
            arrays.append(_message(bucket, arrays, self._shape(bucket)))
            if len(bucket.scope) == 1:
                value += float(arrays[-1])
        return Swept(value, self._decoded(arrays), arrays)

    def least(self, swept: Swept) -> CostArrays:
        """Per variable [its states]: the least sum among all plans that have that state, or a lower bound of it."""
        import numpy as np

        factors = len(self.graph.factors)
        above: dict[int, NDArray[np.float64]] = {}  # bucket → what the rest of the graph adds to its message
        result = [np.full(variable.count, swept.value) for variable in self.graph.variables]
        for index in reversed(range(len(self.buckets))):
            bucket = self.buckets[index]
            belief = _added(bucket, swept.arrays, self._shape(bucket))
            if index in above:
                belief += np.expand_dims(above.pop(index), bucket.axis)
            own = belief.min(axis=tuple(axis for axis in range(belief.ndim) if axis != bucket.axis))
            if not np.isfinite(own).any():
                continue
            least = np.where(np.isfinite(own), swept.value + (own - own.min()), np.inf)
            result[bucket.variable] = np.maximum(result[bucket.variable], least)
            for part, shape in bucket.parts:
                if part >= factors:
                    message = swept.arrays[part].reshape(shape)
                    finite = np.where(
                        np.isfinite(message), message, 0.0
                    )  # elsewhere nothing is possible anyway
                    gone = tuple(
                        axis for axis, name in enumerate(bucket.scope) if name not in self._left(part)
                    )
                    above[part - factors] = (belief - finite).min(axis=gone)
        return result

    def _left(self, part: int) -> tuple[int, ...]:
        """Variables of a bucket's message."""
        bucket = self.buckets[part - len(self.graph.factors)]
        return tuple(index for index in bucket.scope if index != bucket.variable)

    def _shape(self, bucket: Bucket) -> tuple[int, ...]:
        return tuple(self.graph.variables[index].count for index in bucket.scope)

    def _decoded(self, arrays: CostArrays) -> States:
        """What was eliminated last is decided first; of equal states the first."""
        import numpy as np

        counts = [variable.count for variable in self.graph.variables]
        costs = [np.zeros(count) for count in counts]
        states: dict[int, int] = {}
        for index in reversed(range(len(self.buckets))):
            bucket = self.buckets[index]
            for part, shape in bucket.parts:
                at = tuple(
                    slice(None) if name == bucket.variable else 0 if size == 1 else states[name]
                    for name, size in zip(bucket.scope, shape, strict=True)
                )
                costs[bucket.variable] += arrays[part].reshape(shape)[at]
            if index == 0 or self.buckets[index - 1].variable != bucket.variable:
                states[bucket.variable] = int(costs[bucket.variable].argmin())
        return tuple(states[index] for index in range(len(counts)))


def _buckets(
    variable: int, parts: Sequence[int], scopes: Sequence[frozenset[int]], counts: Sequence[int]
) -> list[list[int]]:
    """The parts of a variable's bucket, together where their table is small enough, else in several."""
    buckets: list[tuple[frozenset[int], list[int]]] = []
    for part in sorted(parts, key=lambda index: (-len(scopes[index]), index)):
        for place, (scope, members) in enumerate(buckets):
            joined = scope | scopes[part]
            if math.prod(counts[index] for index in joined) <= LARGEST:
                buckets[place] = (joined, [*members, part])
                break
        else:
            buckets.append((scopes[part], [part]))
    return [members for _, members in buckets] or [[]]


def _added(bucket: Bucket, arrays: CostArrays, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The sum of the bucket's parts [*shape]."""
    import numpy as np

    table = np.zeros(shape)
    for part, part_shape in bucket.parts:
        table += arrays[part].reshape(part_shape)
    return table


def _message(bucket: Bucket, arrays: CostArrays, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The least over the bucket's variable, state by state where the whole table would not stay in a cache."""
    import numpy as np

    axis = bucket.axis
    if math.prod(shape) <= CACHED:
        table: NDArray[np.float64] = _added(bucket, arrays, shape).min(axis=axis)
        return table
    left = shape[:axis] + shape[axis + 1 :]
    message, total = np.full(left, np.inf), np.empty(left)
    parts = [np.moveaxis(arrays[part].reshape(part_shape), axis, 0) for part, part_shape in bucket.parts]
    for state in range(shape[axis]):
        total[...] = 0.0
        for values in parts:
            total += values[state if len(values) > 1 else 0]
        np.minimum(message, total, out=message)
    return message
