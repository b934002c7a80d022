"""Numbers that a module's forward writes into its calls: sizes of views, and scales of an attention.

A forward says `x.view(n, t, heads, width)` with numbers that it took from its attributes, a configuration or another
tensor. Where channels go, those numbers must follow, and nothing but the running forward knows where they come from.
So calls are noted by their line while a forward runs, and found again in the traced graph.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.errors import StageError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = [
    "KINDS",
    "SCALES",
    "ForwardCall",
    "NumberPlace",
    "RecordedCall",
    "numbers_of",
    "record_calls",
    "watching",
    "with_numbers",
]

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

_RUN_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, AssertionError)

SCALES = ("times", "divided", "attention")


@dataclass(frozen=True)
class ForwardCall:
    """The `number`-th call of this kind at one line of source, `where`, within one forward of `module`, from 0.

    Lines keep apart what a forward says from what hooks and layers within it do.
    """

    module: str
    kind: str
    where: str
    number: int


@dataclass(frozen=True)
class NumberPlace:
    """One of the numbers of a call."""

    call: ForwardCall
    position: int


@dataclass(frozen=True)
class RecordedCall:
    """A call as it was seen: its numbers (None where one is a tensor, or not given), and the shapes of its results."""

    call: ForwardCall
    numbers: tuple[float | None, ...]
    shapes: tuple[tuple[int, ...], ...]


def record_calls(module: torch.nn.Module, example: Example) -> Mapping[str, tuple[RecordedCall, ...]]:
    """Module → the calls of its own forward, in order, from runs of a copy.

    Left out are modules that run more than once, since their calls stand for several nodes of a graph, and those whose
    forward makes other calls in training. Raises StageError when the network does not run.
    """
    import torch

    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    inputs = example_tensors(example, device)
    try:
        calls = _recorded(copy.deepcopy(module).eval(), inputs)
    except _RUN_ERRORS as error:
        raise StageError("prune", f"the network does not run: {in_one_line(error)}") from error
    try:
        with torch.random.fork_rng(devices=[]):
            trained = _recorded(_in_training(module), inputs)
    except _RUN_ERRORS:  # it is not trained like this
        return calls
    return {name: own for name, own in calls.items() if trained.get(name) == own}


def _in_training(module: torch.nn.Module) -> torch.nn.Module:
    """A copy as in training, but for batch norms: one sample has no variance."""
    import torch

    training = copy.deepcopy(module).train()
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    for part in training.modules():
        if isinstance(part, norms):
            part.eval()
    return training


def _recorded(
    network: torch.nn.Module, inputs: Sequence[torch.Tensor]
) -> Mapping[str, tuple[RecordedCall, ...]]:
    import torch

    recorder = _Recorder()
    for name, part in network.named_modules():
        part.register_forward_pre_hook(recorder.entering(name), prepend=True)
        part.register_forward_hook(recorder.leaving, always_call=True)
    with torch.no_grad(), watching(recorder.seen):
        network(*inputs)
    return {name: tuple(calls) for name, calls in recorder.own.items() if recorder.runs[name] == 1}


class _Recorder:
    """Counts calls for every module that is running, and notes them for the innermost."""

    def __init__(self) -> None:
        self.own: dict[str, list[RecordedCall]] = {}
        self.runs: dict[str, int] = {}
        self._running: list[tuple[str, dict[tuple[str, str], int]]] = []

    def entering(self, name: str) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self.runs[name] = self.runs.get(name, 0) + 1
            self.own.setdefault(name, [])
            self._running.append((name, {}))

        return enter

    def leaving(self, *_: object) -> None:
        self._running.pop()

    def seen(
        self, kind: str, where: str, arguments: tuple[Any, ...], options: dict[str, Any], call: Any
    ) -> Any:
        result = call(arguments, options)
        places = []
        for name, counts in self._running:
            places.append((name, counts.get((kind, where), 0)))
            counts[kind, where] = places[-1][1] + 1
        if not places:  # a hook of the whole network
            return result
        name, number = places[-1]
        numbers = tuple(value if _plain(value) else None for value in numbers_of(kind, arguments, options))
        results = result if isinstance(result, (tuple, list)) else (result,)
        shapes = tuple(tuple(part.shape) for part in results)
        self.own[name].append(RecordedCall(ForwardCall(name, kind, where, number), numbers, shapes))
        return result


def _plain(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_scale(value: object) -> bool:
    """A number; in a trace what is computed from a size is a tensor without axes."""
    return _plain(value) or getattr(value, "ndim", None) == 0


def numbers_of(kind: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """The numbers of a call: sizes, a factor, or a scale."""
    given = _given(kind, arguments, options)
    if isinstance(given, (tuple, list)):
        return list(given)
    return [given]


def _given(kind: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if kind == "attention":
        return options.get("scale")
    if kind in SCALES:
        return next((value for value in (*arguments, *options.values()) if _is_scale(value)), None)
    first = 2 if kind == "unflatten" else 1
    if len(arguments) > first:
        several = kind in ("view", "expand") and not isinstance(arguments[first], (tuple, list))
        return list(arguments[first:]) if several else arguments[first]
    return next((options[name] for name in _SIZE_OPTIONS if name in options), None)


_SIZE_OPTIONS = ("shape", "size", "sizes", "split_size", "split_size_or_sections", "split_sizes")


def with_numbers(
    kind: str, arguments: tuple[Any, ...], options: dict[str, Any], numbers: list[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the same call with other numbers."""
    if kind == "attention":
        return arguments, {**options, "scale": numbers[0]}
    if kind in SCALES:
        place = next((i for i, value in enumerate(arguments) if _is_scale(value)), None)
        if place is None:
            named = next(name for name, value in options.items() if _is_scale(value))
            return arguments, {**options, named: numbers[0]}
        before = arguments[place]
        scale = numbers[0] if _plain(before) else (before * 1.0).new_tensor(numbers[0])
        return (*arguments[:place], scale, *arguments[place + 1 :]), options
    first = 2 if kind == "unflatten" else 1
    given = _given(kind, arguments, options)
    sizes = numbers if isinstance(given, (tuple, list)) else numbers[0]
    if len(arguments) <= first:
        name = next(name for name in _SIZE_OPTIONS if name in options)
        return arguments, {**options, name: sizes}
    rest = () if kind in ("view", "expand") else arguments[first + 1 :]
    return (*arguments[:first], sizes, *rest), options


def watching(seen: Callable[..., Any]) -> Any:
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
            where = _line_of(sys._getframe(1))
            return self._seen(kind, where, args, options, lambda given, named: function(*given, **named))

    return Watching


def _line_of(frame: FrameType | None) -> str:
    """The line that made a call, whichever functions of torch, and of ours, lie between."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_between()):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


@functools.cache
def _between() -> tuple[str, ...]:
    import torch

    own, package = Path(__file__), Path(torch.__file__).parent
    inside = ("_", "functional.py", "overrides.py", "utils", "fx", "export", "onnx", "jit")
    return (str(own), str(own.with_name("mending.py")), *(f"{package / name}" for name in inside))
