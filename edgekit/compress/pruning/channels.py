"""Channels that stay or go together: a disjoint-set forest whose sets can be fixed, and tensors' channels in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ChannelSets", "TensorChannels"]


@dataclass(frozen=True)
class TensorChannels:
    """Where a tensor holds channels: along `axis`, and which; `ids[i]` is an element of ChannelSets."""

    axis: int
    ids: tuple[int, ...]


class ChannelSets:
    """Elements in disjoint sets. A fixed set is never pruned, for the reason that was given first.

    `attended`: elements that reach a product of activations; `contracted`: those that one sums over, so that nothing
    of them is in its result. `multiplied`: of each product in turn, the elements along the axis that they lie on, ()
    for none.
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._fixed: dict[int, str] = {}
        self.attended: set[int] = set()
        self.contracted: set[int] = set()
        self.multiplied: list[tuple[int, ...]] = []

    def new(self, count: int) -> tuple[int, ...]:
        """`count` elements, each in a set of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return tuple(range(first, first + count))

    def root(self, element: int) -> int:
        """The element that stands for the whole set."""
        while self._parents[element] != element:
            self._parents[element] = self._parents[self._parents[element]]
            element = self._parents[element]
        return element

    def join(self, first: int, second: int) -> None:
        """Unite two sets."""
        a, b = sorted((self.root(first), self.root(second)))
        self._parents[b] = a
        if b in self._fixed:
            self._fixed.setdefault(a, self._fixed[b])

    def join_all(self, *rows: Iterable[int]) -> None:
        """Unite the rows element by element."""
        for first, *others in zip(*rows, strict=True):
            for other in others:
                self.join(first, other)

    def fix(self, elements: Iterable[int], reason: str) -> None:
        """Never prune these."""
        for element in elements:
            self._fixed.setdefault(self.root(element), reason)

    def why_fixed(self, element: int) -> str:
        """The reason; "" for an element that may be pruned."""
        return self._fixed.get(self.root(element), "")

    def any_in(self, marked: Iterable[int], roots: Iterable[int]) -> bool:
        """Whether any of `marked` lies in one of the sets that these roots stand for."""
        return not {self.root(element) for element in marked}.isdisjoint(roots)
