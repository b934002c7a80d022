"""Numbers that a module's forward writes into its calls: sizes of views, and scales of an attention.

A forward says `x.view(n, t, heads, width)` with numbers that it took from its attributes, a configuration or another
tensor. Where channels go, those numbers must follow, and nothing but the running forward knows where they come from.
So calls are counted while a forward runs, found again in the traced graph, and given other numbers afterwards. The
module stays what it was otherwise: its class is a subclass of its own that counts its calls.
"""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.errors import StageError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["Call", "Mended", "NumberPlace", "RecordedCall", "mend", "record_calls", "scales_of"]

KINDS: Mapping[str, str] = {
    "view": "view",
    "reshape": "view",
    "_unsafe_view": "view",
    "unflatten": "unflatten",
    "expand": "expand",
    "split": "split",
    "split_with_sizes": "split",
    "mul": "times",
    "rmul": "times",
    "imul": "times",
    "multiply": "times",
    "div": "divided",
    "truediv": "divided",
    "itruediv": "divided",
    "true_divide": "divided",
    "divide": "divided",
    "scaled_dot_product_attention": "attention",
}
"""Name of a function, without underscores around it → the kind that its calls are counted as."""

SCALES = ("times", "divided", "attention")


@dataclass(frozen=True)
class Call:
    """The `number`-th call of this kind within one forward of `module` and all that it calls, counted from 0."""

    module: str
    kind: str
    number: int


@dataclass(frozen=True)
class NumberPlace:
    """One of the numbers of a call."""

    call: Call
    position: int


@dataclass(frozen=True)
class RecordedCall:
    """A call as it was seen: its numbers (None where one is a tensor, or not given), and the shapes of its results."""

    call: Call
    numbers: tuple[float | None, ...]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Mended:
    """A number that a call gets: of a size `old`, its multiples become multiples of `new`; a scale becomes `new`."""

    old: float
    new: float


def record_calls(module: torch.nn.Module, example: Example) -> Mapping[str, tuple[RecordedCall, ...]]:
    """Module → the calls of its own forward, in order, from one run of a copy in eval mode.

    Modules that run more than once are left out: their calls stand for several nodes of a graph. Raises StageError when
    the network does not run.
    """
    import torch

    seen = copy.deepcopy(module).eval()
    recorder = _Recorder()
    for name, part in seen.named_modules():
        part.register_forward_pre_hook(recorder.entering(name), prepend=True)
        part.register_forward_hook(recorder.leaving, always_call=True)
    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    try:
        with torch.no_grad(), _watching(recorder.seen):
            seen(*example_tensors(example, device))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise StageError("prune", f"the network does not run: {error}") from error
    return {name: tuple(calls) for name, calls in recorder.own.items() if recorder.runs[name] == 1}


def mend(network: torch.nn.Module, numbers: Mapping[NumberPlace, Mended]) -> None:
    """Give these calls other numbers from now on, in place. Those that were mended before are mended further.

    Raises StageError for a module whose forward is no method of its class.
    """
    by_module: dict[str, dict[tuple[str, int, int], Mended]] = {}
    for place, mended in numbers.items():
        call = place.call
        by_module.setdefault(call.module, {})[call.kind, call.number, place.position] = mended
    for name, table in by_module.items():
        module: Any = network.get_submodule(name)
        if "forward" in vars(module):
            raise StageError("prune", f"{name or 'the network'} has a forward that is not its class's own")
        before = dict(getattr(module, "mended_numbers", {}))
        for key, mended in table.items():
            first = before.get(key)
            before[key] = mended if first is None else Mended(first.old, mended.new)
        module.mended_numbers = before
        module.__class__ = _counting_class(type(module))


def scales_of(recorded: Sequence[RecordedCall], width: int) -> Iterator[tuple[NumberPlace, float]]:
    """Scales of an attention that may be computed from the `width` of queries and keys, and what they are.

    An attention that is given no scale takes 1 / sqrt(width). Other forwards multiply or divide by sqrt(width), or
    queries and keys by the root of that each.
    """
    for seen in recorded:
        if seen.call.kind not in SCALES:
            continue
        (value,) = seen.numbers
        if value is None and seen.call.kind == "attention":
            yield NumberPlace(seen.call, 0), width**-0.5
        elif value is not None and any(math.isclose(value, width**power, rel_tol=1e-6) for power in _POWERS):
            yield NumberPlace(seen.call, 0), value


_POWERS = (-0.5, 0.5, -0.25, 0.25)


class _Recorder:
    """Counts calls for every module that is running, and notes them for the innermost."""

    def __init__(self) -> None:
        self.own: dict[str, list[RecordedCall]] = {}
        self.runs: dict[str, int] = {}
        self._running: list[tuple[str, dict[str, int]]] = []

    def entering(self, name: str) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self.runs[name] = self.runs.get(name, 0) + 1
            self.own.setdefault(name, [])
            self._running.append((name, {}))

        return enter

    def leaving(self, *_: object) -> None:
        self._running.pop()

    def seen(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any], call: Any) -> Any:
        result = call(arguments, options)
        places = []
        for name, counts in self._running:
            places.append((name, counts.get(kind, 0)))
            counts[kind] = counts.get(kind, 0) + 1
        name, number = places[-1]
        numbers = tuple(value if _plain(value) else None for value in _numbers(kind, arguments, options))
        results = result if isinstance(result, (tuple, list)) else (result,)
        shapes = tuple(tuple(part.shape) for part in results)
        self.own[name].append(RecordedCall(Call(name, kind, number), numbers, shapes))
        return result


class _Mender:
    """Counts calls of one forward, and gives some of them other numbers."""

    def __init__(self, table: Mapping[tuple[str, int, int], Mended]) -> None:
        self._counts: dict[str, int] = {}
        self._at: dict[tuple[str, int], dict[int, Mended]] = {}
        for (kind, number, position), mended in table.items():
            self._at.setdefault((kind, number), {})[position] = mended

    def seen(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any], call: Any) -> Any:
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        mended = self._at.get((kind, number))
        if mended:
            numbers = _numbers(kind, arguments, options)
            for position, other in mended.items():
                numbers[position] = _instead(kind, numbers[position], other)
            arguments, options = _with_numbers(kind, arguments, options, numbers)
        return call(arguments, options)


def _instead(kind: str, value: Any, mended: Mended) -> Any:
    if kind in SCALES:
        return mended.new
    with warnings.catch_warnings():  # in a trace sizes are tensors; that this one is a plain number now is meant
        warnings.simplefilter("ignore")
        size, old, new = int(value), int(mended.old), int(mended.new)
    if size in (-1, new):
        return value
    if size % old:
        raise RuntimeError(f"a pruned network asks for a size of {size} where {old} was expected")
    return size // old * new


def _plain(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers(kind: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """The numbers of a call: sizes, a factor, or a scale."""
    given = _given(kind, arguments, options)
    if isinstance(given, (tuple, list)):
        return list(given)
    return [given]


def _given(kind: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if kind == "attention":
        return options.get("scale")
    if kind in SCALES:
        return next((value for value in (*arguments, *options.values()) if _plain(value)), None)
    first = 2 if kind == "unflatten" else 1
    if len(arguments) > first:
        several = kind in ("view", "expand") and not isinstance(arguments[first], (tuple, list))
        return list(arguments[first:]) if several else arguments[first]
    return next((options[name] for name in _SIZE_OPTIONS if name in options), None)


_SIZE_OPTIONS = ("shape", "size", "sizes", "split_size", "split_size_or_sections", "split_sizes")


def _with_numbers(
    kind: str, arguments: tuple[Any, ...], options: dict[str, Any], numbers: list[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the same call with other numbers."""
    if kind == "attention":
        return arguments, {**options, "scale": numbers[0]}
    if kind in SCALES:
        place = next((i for i, value in enumerate(arguments) if _plain(value)), None)
        if place is None:
            named = next(name for name, value in options.items() if _plain(value))
            return arguments, {**options, named: numbers[0]}
        return (*arguments[:place], numbers[0], *arguments[place + 1 :]), options
    first = 2 if kind == "unflatten" else 1
    given = _given(kind, arguments, options)
    sizes = numbers if isinstance(given, (tuple, list)) else numbers[0]
    if len(arguments) <= first:
        name = next(name for name in _SIZE_OPTIONS if name in options)
        return arguments, {**options, name: sizes}
    rest = () if kind in ("view", "expand") else arguments[first + 1 :]
    return (*arguments[:first], sizes, *rest), options


@functools.cache
def _counting_class(base: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """A subclass of `base` whose forward gets its mended numbers; `base` itself where it is one."""
    if getattr(base, "gets_mended_numbers", False):
        return base

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        with _watching(_Mender(self.mended_numbers).seen):
            return base.forward(self, *given, **named)

    fields = {"forward": forward, "gets_mended_numbers": True, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), fields)


def _watching(seen: Callable[..., Any]) -> Any:
    """While it is entered, `seen` is given the calls of the kinds that are counted, and makes them."""
    return _watching_class()(seen)


@functools.cache
def _watching_class() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        """Sees each call of a torch function once, whichever way it was written."""

        def __init__(self, seen: Callable[..., Any]) -> None:
            super().__init__()
            self._seen = seen

        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            options = kwargs or {}
            kind = KINDS.get(str(getattr(function, "__name__", "")).strip("_"))
            if kind is None or (kind == "view" and len(args) > 1 and isinstance(args[1], torch.dtype)):
                return function(*args, **options)
            return self._seen(kind, args, options, lambda given, named: function(*given, **named))

    return Watching
