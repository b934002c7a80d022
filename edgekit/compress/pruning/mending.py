"""Calls of a module's forward that get other numbers: sizes follow the channels that are left, scales stay.

The module stays what it was otherwise; its class becomes a subclass of its own that counts its calls. A call that asks
for something else than what was seen when the network was pruned ends in an error, never in a wrong result.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.pruning.calls import (
    SCALES,
    NumberPlace,
    RecordedCall,
    numbers_of,
    watching,
    with_numbers,
)
from edgekit.errors import StageError

if TYPE_CHECKING:
    import torch

__all__ = ["Pinned", "Resized", "mend", "scales_of", "shares_of"]


@dataclass(frozen=True)
class Resized:
    """A size that was `old`, or a multiple of it where it counts samples too, becomes as many times `new`.

    `read`: a width before and now that the forward may compute the size from, in proportion. Where `new` is `old`, that
    size alone is mended, and others are taken as they are.
    """

    old: int
    new: int
    read: tuple[int, int] | None = None

    def then(self, later: Resized) -> Resized:
        """This, and `later` what it has become."""
        read = later.read or self.read
        if self.read and later.read:
            read = self.read[0], later.read[1]
        return Resized(self.old, later.new, read)


@dataclass(frozen=True)
class Pinned:
    """A scale stays `value`, whichever width to this power the forward makes of it now."""

    power: float
    value: float

    def stands_for(self, scale: float) -> bool:
        """Whether a forward could mean this scale: the value itself, or some whole number to that power."""
        if math.isclose(scale, self.value, rel_tol=_NEAR):
            return True
        width = scale ** (1 / self.power) if scale > 0 else 0.0
        return round(width) >= 1 and math.isclose(width, round(width), rel_tol=_NEAR)


_NEAR = 1e-5
_POWERS = (-0.5, 0.5, -0.25, 0.25)


def scales_of(recorded: Sequence[RecordedCall], width: int) -> Iterator[tuple[NumberPlace, Pinned]]:
    """Scales of an attention that may be computed from the `width` of queries and keys.

    An attention that is given no scale takes 1 / sqrt(width). Other forwards multiply or divide by sqrt(width), or
    queries and keys by the root of that each.
    """
    for seen in recorded:
        if seen.call.kind not in SCALES:
            continue
        (value,) = seen.numbers
        if value is None and seen.call.kind == "attention":
            yield NumberPlace(seen.call, 0), Pinned(-0.5, width**-0.5)
            continue
        power = next((p for p in _POWERS if value and math.isclose(value, width**p, rel_tol=_NEAR)), None)
        if power is not None and value is not None:
            yield NumberPlace(seen.call, 0), Pinned(power, value)


def shares_of(
    recorded: Mapping[str, Sequence[RecordedCall]],
    network: torch.nn.Module,
    width: int,
    heads: Collection[int],
) -> Iterator[tuple[NumberPlace, int]]:
    """Sizes that a forward may compute from the `width` of its input: as it is, or divided by a number of heads.

    `recorded`: the modules that are looked at → calls of their forwards. Left out are those that cannot be mended.
    """
    parts = {width, *(width // count for count in heads if width % count == 0)} - {1}
    for name, calls in recorded.items():
        module = network.get_submodule(name)
        if _is_unmendable(module):
            continue
        known: Mapping[_Key, Resized | Pinned] = getattr(module, "mended_numbers", {})
        for seen in calls:
            call = seen.call
            for position, number in enumerate(seen.numbers if call.kind not in SCALES else ()):
                before = known.get((call.kind, call.where, call.number, position))
                read = before.read if isinstance(before, Resized) else None
                if number is not None and (number in parts if read is None else read[1] == width):
                    yield NumberPlace(call, position), round(number)


def mend(network: torch.nn.Module, numbers: Mapping[NumberPlace, Resized | Pinned]) -> None:
    """Give these calls other numbers from now on, in place. Those that were mended before are mended further.

    Raises StageError for a module whose forward is not its class's own.
    """
    by_module: dict[str, dict[_Key, Resized | Pinned]] = {}
    for place, mended in numbers.items():
        call = place.call
        by_module.setdefault(call.module, {})[call.kind, call.where, call.number, place.position] = mended
    for name, table in by_module.items():
        module: Any = network.get_submodule(name)
        if _is_unmendable(module):
            raise StageError("prune", f"{name or 'the network'} has a forward that is not its class's own")
        before: dict[_Key, Resized | Pinned] = dict(getattr(module, "mended_numbers", {}))
        for key, mended in table.items():
            first = before.get(key)
            if isinstance(first, Resized) and isinstance(mended, Resized):
                mended = first.then(mended)
            before[key] = first if isinstance(first, Pinned) else mended
        module.mended_numbers = before
        kind: Any = type(module)
        module.__class__ = _counting_class(kind)


def _is_unmendable(module: torch.nn.Module) -> bool:
    import torch

    return "forward" in vars(module) or isinstance(module, torch.fx.GraphModule)


_Key = tuple[str, str, int, int]
"""Kind of a call, its line, its number there, and the position of a number in it."""


class _Mender:
    """Counts calls of one forward, and gives some of them other numbers."""

    def __init__(self, table: Mapping[_Key, Resized | Pinned]) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._at: dict[tuple[str, str, int], dict[int, Resized | Pinned]] = {}
        for (kind, where, number, position), mended in table.items():
            self._at.setdefault((kind, where, number), {})[position] = mended

    def seen(
        self, kind: str, where: str, arguments: tuple[Any, ...], options: dict[str, Any], call: Any
    ) -> Any:
        number = self._counts.get((kind, where), 0)
        self._counts[kind, where] = number + 1
        mended = self._at.get((kind, where, number))
        if mended:
            numbers = numbers_of(kind, arguments, options)
            for position, other in mended.items():
                numbers[position] = _instead(numbers[position], other)
            arguments, options = with_numbers(kind, arguments, options, numbers)
        return call(arguments, options)


def _instead(value: Any, mended: Resized | Pinned) -> Any:
    with warnings.catch_warnings():  # in a trace sizes are tensors; that these are plain numbers now is meant
        warnings.simplefilter("ignore")
        number = mended.value if value is None and isinstance(mended, Pinned) else float(value)
    if isinstance(mended, Pinned):
        if mended.stands_for(number):
            return mended.value
        raise RuntimeError(f"a pruned network scales by {number:g} where {mended.value:g} was expected")
    size = round(number)
    if size in (-1, mended.new):
        return value
    if mended.read is not None and size == mended.old * mended.read[1] // mended.read[0]:
        return mended.new
    if mended.old == mended.new:
        return value
    if size % mended.old:
        raise RuntimeError(f"a pruned network asks for a size of {size} where {mended.old} was expected")
    return size // mended.old * mended.new


@functools.cache
def _counting_class(base: Any) -> type[torch.nn.Module]:
    """A subclass of `base` whose forward gets its mended numbers; `base` itself where it is one."""
    if getattr(base, "gets_mended_numbers", False):
        same: type[torch.nn.Module] = base
        return same

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        with watching(_Mender(self.mended_numbers).seen):
            return base.forward(self, *given, **named)

    fields = {
        "forward": forward,
        "gets_mended_numbers": True,
        "__module__": base.__module__,
        "__doc__": base.__doc__,
    }
    return type(base.__name__, (base,), fields)
