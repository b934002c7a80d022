"""Which tensor of one artifact is which of the other: by name, else by what they hold, in the graphs' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.compare.layouts import Layout, apply_layout, layouts_between
from edgekit.quantize.rescale import SUFFIX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import TensorFacts

__all__ = ["How", "Match", "comparable", "correlation", "match_tensors"]

How = Literal["name", "values", "place"]

ALIKE = 0.8
"""From this correlation on two tensors are told to match by their values, below it by their place alone."""

FALSE_NAME, SURE = 0.5, 0.95
"""A name is not believed below the first correlation, where a tensor of another name has the second."""

PLACE_BONUS, OP_BONUS = 0.02, 0.08
"""What a pair is worth in the alignment beside its correlation: any pair, and one of the same operation."""

SAMPLED = 4096  # places of a tensor that are looked at


@dataclass(frozen=True)
class Match:
    """Two tensors, by their readers' names. `layout` turns B's array into A's; `correlation` is on few samples."""

    a: str
    b: str
    how: How
    layout: Layout
    correlation: float


def comparable(
    a: Sequence[TensorFacts], b: Sequence[TensorFacts]
) -> tuple[list[TensorFacts], list[TensorFacts]]:
    """Both sides without the tensors whose channels a repair gave another scale on one side alone: in values they
    differ by design, and a match by place would blame the layer."""
    moved = [
        {name.split(SUFFIX)[0] for facts in side for name in facts.names if SUFFIX in name} for side in (a, b)
    ]
    apart = moved[0] ^ moved[1]

    def alike(facts: TensorFacts) -> bool:
        return apart.isdisjoint(name.split(SUFFIX)[0] for name in facts.names)

    return [facts for facts in a if alike(facts)], [facts for facts in b if alike(facts)]


def match_tensors(
    a: Sequence[TensorFacts],
    b: Sequence[TensorFacts],
    arrays_a: Mapping[str, NDArray[Any]],
    arrays_b: Mapping[str, NDArray[Any]],
) -> tuple[Match, ...]:
    """Matches in A's order. `arrays_a` and `arrays_b`: tensor name → values [N, ...] on the same few samples.

    Names first. What is left is aligned in graph order, so that no two matches of it cross, by the correlation
    of the values; where those do not agree, by place, if the operations are the same.
    """
    scores, layouts = _correlations(a, b, arrays_a, arrays_b)
    columns_of = _by_name(a, b, scores, layouts)
    rows = [i for i in range(len(a)) if i not in columns_of]
    columns = [j for j in range(len(b)) if j not in columns_of.values()]
    named = len(columns_of) > min(len(a), len(b)) / 2
    matches = {
        i: Match(a[i].name, b[j].name, "name", layouts[i, j], float(scores[i, j]))
        for i, j in columns_of.items()
    }
    if rows and columns:
        worth = _worth(a, b, scores)[np.ix_(rows, columns)]
        for row, column in align(worth):
            i, j = rows[row], columns[column]
            alike = scores[i, j] >= ALIKE
            if alike or (a[i].op == b[j].op and not named):
                how: How = "values" if alike else "place"
                matches[i] = Match(a[i].name, b[j].name, how, layouts[i, j], float(scores[i, j]))
    return tuple(matches[i] for i in sorted(matches))


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's correlation of two arrays of one size, at a few thousand places."""
    return float(_profile(a) @ _profile(b))


def align(worth: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    """Pairs (row, column), both rising, whose worth [rows, columns] adds up to the most; -inf is never paired.

    The longest-common-subsequence recurrence with weights (Needleman and Wunsch, J. Mol. Biol. 48 (1970) 443,
    without a cost for gaps).
    """
    rows, columns = worth.shape
    best = np.zeros((rows + 1, columns + 1))
    for row in range(rows):
        paired = best[row, :-1] + worth[row]
        best[row + 1, 1:] = np.maximum.accumulate(np.maximum(best[row, 1:], paired))
    pairs = []
    row, column = rows, columns
    while row and column:
        if best[row, column] == best[row - 1, column]:
            row -= 1
        elif best[row, column] == best[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return tuple(reversed(pairs))


def _by_name(
    a: Sequence[TensorFacts],
    b: Sequence[TensorFacts],
    scores: NDArray[np.float64],
    layouts: Mapping[tuple[int, int], Layout],
) -> dict[int, int]:
    """Index in A → index in B of tensors that share a name, and whose shapes fit in some layout."""
    places: dict[str, int] = {}
    for j, facts in enumerate(b):
        for name in facts.names:
            places.setdefault(name, j)
    columns_of: dict[int, int] = {}
    for i, facts in enumerate(a):
        sharing = [places[name] for name in facts.names if name in places and (i, places[name]) in layouts]
        free = [j for j in sharing if j not in columns_of.values()]
        if free:
            j = free[0]
            others = np.delete(scores[i], j)
            if scores[i, j] >= FALSE_NAME or not (others >= SURE).any():
                columns_of[i] = j
    return columns_of


def _worth(
    a: Sequence[TensorFacts], b: Sequence[TensorFacts], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    same = np.array([[left.op == right.op for right in b] for left in a], np.float64).reshape(scores.shape)
    return np.where(np.isneginf(scores), -np.inf, np.maximum(scores, 0.0) + PLACE_BONUS + OP_BONUS * same)


def _correlations(
    a: Sequence[TensorFacts],
    b: Sequence[TensorFacts],
    arrays_a: Mapping[str, NDArray[Any]],
    arrays_b: Mapping[str, NDArray[Any]],
) -> tuple[NDArray[np.float64], dict[tuple[int, int], Layout]]:
    """Correlation of every pair whose shapes fit, -inf for others; and the layout in which it is highest."""
    scores = np.full((len(a), len(b)), -np.inf)
    layouts: dict[tuple[int, int], Layout] = {}
    groups_a, groups_b = _by_shape(a, arrays_a), _by_shape(b, arrays_b)
    for shape_a, rows in groups_a.items():
        left = np.stack([_profile(arrays_a[a[i].name]) for i in rows])
        for shape_b, columns in groups_b.items():
            for layout in layouts_between(shape_a, shape_b):
                right = np.stack(
                    [_profile(apply_layout(arrays_b[b[j].name], layout, shape_a)) for j in columns]
                )
                correlations = left @ right.T
                for row, i in enumerate(rows):
                    for column, j in enumerate(columns):
                        if (i, j) not in layouts or correlations[row, column] > scores[i, j] + 1e-6:
                            scores[i, j], layouts[i, j] = correlations[row, column], layout
    return scores, layouts


def _by_shape(
    facts: Sequence[TensorFacts], arrays: Mapping[str, NDArray[Any]]
) -> dict[tuple[int, ...], list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(facts):
        groups.setdefault(arrays[tensor.name].shape, []).append(place)
    return groups


@lru_cache(maxsize=256)
def _places(size: int) -> NDArray[np.int64]:
    """Which of `size` values are looked at: the same ones for every tensor of that size."""
    return np.random.default_rng(size).choice(size, SAMPLED, replace=False)


def _profile(array: NDArray[Any]) -> NDArray[np.float64]:
    """Values at fixed places, centred and of length 1, so that a product of two is their correlation.

    A tensor that is the same everywhere keeps its mean: two such correlate by their signs.
    """
    values = np.nan_to_num(np.asarray(array, np.float64).reshape(-1), posinf=0.0, neginf=0.0)
    if values.size > SAMPLED:
        values = values[_places(values.size)]
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    if length <= 1e-9 * max(1e-30, float(np.abs(values).max(initial=0.0))) * np.sqrt(max(1, values.size)):
        centred = values
        length = float(np.linalg.norm(values))
    return np.asarray(centred / length if length > 0.0 else centred, np.float64)
