"""What a student learns of a teacher's layers beside the outputs: named layers of both, and how they are matched.

Each is one output more of both networks for as long as the training lasts (`showing`), weighed as an output is. Values
are matched by the mean squared error over the variance of the teacher's (FitNets: Romero et al., ICLR 2015), and so are
maps of attention; relations by Huber's loss, see `training/distill.py`. Projections learn with the student, and go when
it has learnt.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from edgekit.compress.base import example_tensors
from edgekit.compress.showing import LearntKind, ShownLayer, attention_of, seen_in, showing
from edgekit.errors import ModelError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["NOTHING", "FeaturePairs", "Features", "refuse_unfit_features", "with_features"]

FeaturePairs = tuple[tuple[str, str], ...]
"""Layers of the teacher, each with one of the student, by their modules' names."""

NAMES: dict[LearntKind, str] = {
    "values": "features",
    "relations": "relations",
    "attention": "attention",
    "channels": "channels",
}
"""What messages call the pairs of a kind."""

ALLOWED: dict[LearntKind, str] = {
    "values": "vectors [N, C], images [N, C, H, W], or as many tokens [N, T, C]; C, H and W may differ",
    "relations": "what has a sample in each row: vectors, images or tokens",
    "attention": "images [N, C, H, W] of both, or what a softmax gives, of as many tokens, of both",
    "channels": "images [N, C, H, W] of both; C, H and W may differ",
}


@dataclass(frozen=True)
class Features:
    """Pairs of layers by what is learnt of them: values, relations of samples, maps of attention and of channels."""

    values: FeaturePairs = ()
    relations: FeaturePairs = ()
    attention: FeaturePairs = ()
    channels: FeaturePairs = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def pairs(self) -> Iterator[tuple[LearntKind, str, str]]:
        """Each pair with its kind."""
        for kind in NAMES:
            for theirs, ours in getattr(self, kind):
                yield kind, theirs, ours

    @property
    def lines(self) -> tuple[str, ...]:
        """What is learnt, for people: a line per kind."""
        told = {NAMES[kind]: getattr(self, kind) for kind in NAMES}
        return tuple(
            f"{name} learnt: {','.join(f'{theirs}={ours}' for theirs, ours in pairs)}"
            for name, pairs in told.items()
            if pairs
        )


NOTHING = Features()


@dataclass(frozen=True)
class _Seen:
    """What is taken of a layer: which of its tensors, of which shape, and whether a softmax gave it."""

    tensor: int
    shape: tuple[int, ...]
    is_map: bool = False


def refuse_unfit_features(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    example: Example,
    features: Features,
    whose: str = "the original",
) -> None:
    """Raises ModelError in one line for a layer that is none or is not called, and for shapes that do not match.

    `whose`: what messages call the teacher.
    """
    _matched(teacher, student, example, features, whose=whose)


def with_features(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    example: Example,
    features: Features,
    seed: int,
    within: str = "",
) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Both with what is learnt of layers behind their outputs; `network` of each is the module itself.

    `within`: what stands before the names of the teacher's layers. Raises ModelError.
    """
    import torch

    matched = _matched(teacher, student, example, features, within)
    theirs, ours = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projections = [
            _projection(own.shape, whole.shape) if kind in ("values", "channels") else torch.nn.Identity()
            for (kind, _, _), (whole, own) in zip(features.pairs(), matched, strict=True)
        ]
    for (kind, name, own_name), (whole, own) in zip(features.pairs(), matched, strict=True):
        positions = None if whole.is_map else _positions(own.shape, whole.shape)
        theirs.append(ShownLayer(kind, within + name, whole.tensor, positions))
        ours.append(ShownLayer(kind, own_name, own.tensor, positions))
    plain = [torch.nn.Identity() for _ in theirs]
    return showing(teacher, theirs, plain).eval(), showing(student, ours, projections)


def _matched(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    example: Example,
    features: Features,
    within: str = "",
    whose: str = "the original",
) -> list[tuple[_Seen, _Seen]]:
    """What is taken of the teacher's layer and of the student's, for each pair."""
    theirs = _seen(teacher, example, [(kind, within + name) for kind, name, _ in features.pairs()], whose)
    ours = _seen(student, example, [(kind, name) for kind, _, name in features.pairs()], "the student")
    matched = list(zip(theirs, ours, strict=True))
    for (kind, name, own_name), (whole, own) in zip(features.pairs(), matched, strict=True):
        if not _are_alike(kind, whole, own):
            raise ModelError(
                f"{NAMES[kind]} {name}={own_name}: {whose} gives {list(whole.shape)} there, "
                f"the student {list(own.shape)}",
                allowed=ALLOWED[kind],
            )
    return matched


def _are_alike(kind: LearntKind, whole: _Seen, own: _Seen) -> bool:
    if kind == "relations":
        return len(whole.shape) > 1 and len(own.shape) > 1
    if kind == "channels":
        return len(whole.shape) == len(own.shape) == 4
    if kind == "attention":
        return whole.is_map == own.is_map and (not whole.is_map or whole.shape[-2:] == own.shape[-2:])
    if len(whole.shape) != len(own.shape):
        return False
    return len(whole.shape) in (2, 4) or whole.shape[1:-1] == own.shape[1:-1]


def _seen(
    module: torch.nn.Module, example: Example, layers: Sequence[tuple[LearntKind, str]], whose: str
) -> list[_Seen]:
    import torch

    known = [name for name, _ in module.named_modules() if name]
    for kind, name in layers:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise ModelError(
                f"{NAMES[kind]}: {whose} has no layer {name!r}", remedy=f"near it: {', '.join(near)}"
            )
    with torch.no_grad():
        given = seen_in(module.eval(), example_tensors(example), [name for _, name in layers])[1]
    seen = []
    for kind, name in layers:
        if name not in given:
            raise ModelError(
                f"{NAMES[kind]}: {whose} does not call {name}, or it gives no tensor",
                allowed="layers that are called",
            )
        if kind != "attention":
            seen.append(_Seen(0, tuple(given[name][0].shape)))
            continue
        found_map = attention_of(given[name])
        if found_map is None:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in given[name])
            raise ModelError(
                f"attention: {whose} shows no map of attention at {name}, it gives {shapes}",
                allowed=ALLOWED["attention"],
                remedy="networks of transformers give one if they are loaded with attn_implementation='eager'",
            )
        tensor, is_map = found_map
        seen.append(_Seen(tensor, tuple(given[name][tensor].shape), is_map))
    return seen


def _projection(given: tuple[int, ...], wanted: tuple[int, ...]) -> torch.nn.Module:
    """From the student's channels to the teacher's; nothing where they are as many."""
    import torch

    axis = 1 if len(given) == 4 else -1
    if given[axis] == wanted[axis]:
        return torch.nn.Identity()
    if len(given) == 4:
        return torch.nn.Conv2d(given[1], wanted[1], 1)
    return torch.nn.Linear(given[-1], wanted[-1])


def _positions(given: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width at which images are compared, the smaller of both; None for what is no image."""
    if len(given) != 4 or len(wanted) != 4:
        return None
    return min(given[2], wanted[2]), min(given[3], wanted[3])
