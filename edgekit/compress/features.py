"""Features of a teacher that a student learns beside the outputs: named layers of both, matched by a projection.

Each pair is one output more of both networks for as long as the training lasts, so that the loss of values is its loss:
the mean squared error by the variance of the teacher's (FitNets: Romero et al., ICLR 2015), weighed as an output is.
Projections learn with the student, and go when it has learnt.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors, flat_outputs
from edgekit.errors import ModelError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["FeaturePairs", "refuse_unfit_features", "with_features"]

FeaturePairs = Sequence[tuple[str, str]]
"""A layer of the teacher and one of the student, by their modules' names."""


def refuse_unfit_features(
    teacher: torch.nn.Module, student: torch.nn.Module, example: Example, pairs: FeaturePairs
) -> None:
    """Raises ModelError in one line for a layer that is none or is not called, and for shapes that do not match."""
    _matched(teacher, student, example, pairs)


def with_features(
    teacher: torch.nn.Module, student: torch.nn.Module, example: Example, pairs: FeaturePairs, seed: int
) -> tuple[torch.nn.Module, Any]:
    """Both with the pairs' features behind their outputs; `network` of each is the module itself. Raises ModelError."""
    import torch

    shapes = _matched(teacher, student, example, pairs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projections = [_projection(given, wanted) for wanted, given in shapes]
    positions = [_positions(given, wanted) for wanted, given in shapes]
    plain = [torch.nn.Identity() for _ in pairs]
    showing = _showing_class()
    return (
        showing(teacher, [name for name, _ in pairs], plain, positions).eval(),
        showing(student, [name for _, name in pairs], projections, positions),
    )


def _matched(
    teacher: torch.nn.Module, student: torch.nn.Module, example: Example, pairs: FeaturePairs
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes of the pairs' outputs for the example: the teacher's, the student's."""
    wanted = _shapes(teacher, example, [name for name, _ in pairs], "the original")
    given = _shapes(student, example, [name for _, name in pairs], "the student")
    for (theirs, ours), whole, own in zip(pairs, wanted, given, strict=True):
        alike = len(whole) == len(own) and (len(whole) in (2, 4) or whole[1:-1] == own[1:-1])
        if not alike:
            raise ModelError(
                f"features {theirs}={ours}: the original gives {list(whole)} there, the student {list(own)}",
                allowed="vectors [N, C], images [N, C, H, W], or as many tokens [N, T, C]; C, H and W may differ",
            )
    return list(zip(wanted, given, strict=True))


def _shapes(
    module: torch.nn.Module, example: Example, names: Sequence[str], whose: str
) -> list[tuple[int, ...]]:
    import torch

    known = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise ModelError(f"features: {whose} has no layer {name!r}", remedy=f"near it: {', '.join(near)}")
    with torch.no_grad():
        seen = _seen(module.eval(), example_tensors(example), names)[1]
    for name in names:
        if name not in seen:
            raise ModelError(
                f"features: {whose} does not call {name}, or it gives no tensor",
                allowed="layers that are called",
            )
    return [tuple(seen[name].shape) for name in names]


def _seen(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], names: Sequence[str]
) -> tuple[Any, dict[str, torch.Tensor]]:
    """What the network gives, and the first tensor that each layer gave in its last call."""
    seen: dict[str, torch.Tensor] = {}

    def catching(name: str) -> Any:
        def catch(_: object, __: object, output: object) -> None:
            tensors = flat_outputs(output)
            if tensors:
                seen[name] = tensors[0]

        return catch

    handles = [
        module.get_submodule(name).register_forward_hook(catching(name)) for name in dict.fromkeys(names)
    ]
    try:
        return module(*inputs), seen
    finally:
        for handle in handles:
            handle.remove()


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
    if len(given) != 4:
        return None
    return min(given[2], wanted[2]), min(given[3], wanted[3])


@cache
def _showing_class() -> Any:
    import torch

    class Showing(torch.nn.Module):
        """A network that gives features of its layers behind its outputs."""

        def __init__(
            self,
            network: torch.nn.Module,
            names: Sequence[str],
            projections: Sequence[torch.nn.Module],
            positions: Sequence[tuple[int, int] | None],
        ) -> None:
            super().__init__()
            self.network, self.names, self.positions = network, list(names), list(positions)
            self.projections = torch.nn.ModuleList(projections)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs, seen = _seen(self.network, inputs, self.names)
            features = []
            for name, projection, size in zip(self.names, self.projections, self.positions, strict=True):
                value = seen[name]
                if size is not None:
                    value = torch.nn.functional.adaptive_avg_pool2d(value, size)
                value = projection(value)
                # A vector would be taken for class scores.
                features.append(value[..., None] if value.ndim == 2 else value)
            return (*flat_outputs(outputs), *features)

    return Showing
