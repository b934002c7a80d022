"""What outputs hold, by what the user says of them, by their labels, and by their looks.

logits: class scores [N, C, ...], of which one class is right. values: any numbers. embedding: vectors [N, C], or
[N, T, C] of T tokens, whose direction counts. maps: where each channel of [N, C, ...] is active. scores: of a detector,
or of several classes that may be right at once: each a chance by itself, as its logit or as it is. boxes: four numbers
at each place, [N, 4, ...] or [N, ..., 4], that count where the `scores` of the same places see something.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

from edgekit.compress.base import example_tensors, forward_outputs
from edgekit.errors import ModelError, UserError
from edgekit.types import OutputsAre

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.showing import ShownOutput
    from edgekit.compress.training.goal import Goal

__all__ = [
    "CORNERS",
    "OutputKind",
    "as_logits",
    "box_axis",
    "output_kind",
    "output_kinds",
    "read_outputs",
    "refuse_unfit_outputs",
    "scores_axis",
    "scores_kind",
]

OutputKind = Literal[
    "logits", "probabilities", "values", "relations", "embedding", "maps", "scores", "chances", "boxes"
]
"""As `OutputsAre`, but settled: class scores are logits or probabilities, a detector's are scores (logits) or chances.

relations: of what a layer shows (see `compress/showing`).
"""

CORNERS = 4
"""Numbers of a box."""

SHAPES: dict[OutputsAre, str] = {
    "logits": "[N, classes, ...] with 2 classes or more",
    "embedding": "[N, C], or [N, T, C] of T tokens, with C of 2 or more",
    "maps": "[N, C, ...] with 2 positions or more",
    "scores": "[N, ...] with a chance for each class, or its logit",
    "boxes": "[N, 4, ...] or [N, ..., 4], four numbers at each place",
}
"""What an output may look like of which this is said."""


def read_outputs(given: object) -> tuple[OutputsAre, ...]:
    """What the user says: one word for all outputs but that which class numbers are for, or one for each, in order.

    Raises UserError for any other word.
    """
    words = [word.strip() for word in given.split(",")] if isinstance(given, str) else []
    if not words or not all(word in get_args(OutputsAre) for word in words):
        raise UserError(
            f"outputs is {given!r:.80}",
            allowed=f"{', '.join(get_args(OutputsAre))}; of several outputs one for each, as scores,boxes",
        )
    return tuple(cast("OutputsAre", word) for word in words)


def output_kind(output: torch.Tensor) -> OutputKind:
    """[N, classes >= 2] holds class scores (rows that sum to 1: probabilities); all else is values.

    So are rows of length one: they are embeddings, of which a softmax means nothing.
    """
    if output.ndim != 2 or output.shape[1] < 2 or not output.is_floating_point() or _has_length_one(output):
        return "values"
    return scores_kind(output)


def output_kinds(
    outputs: Sequence[torch.Tensor],
    goal: Goal | None,
    shown: Sequence[ShownOutput] = (),
    said: Sequence[OutputsAre] = ("auto",),
) -> tuple[OutputKind, ...]:
    """What the outputs are. One that targets are for holds values, one that maps of class numbers are for holds scores.

    `shown`: what the last ones are. `said`: of the others, see `read_outputs`. Raises ModelError where more or fewer
    outputs are spoken of than there are.
    """
    own = outputs[: len(outputs) - len(shown)]
    kinds: list[OutputKind] = []
    for index, (output, word) in enumerate(zip(own, _word_for_each(said, len(own)), strict=True)):
        taught = goal.kind if goal is not None and goal.output == index else None
        holds_classes = taught in ("classes", "positions")
        if word != "auto" and not (holds_classes and len(said) == 1):
            kinds.append(_settled(word, output))
        elif taught == "values":
            kinds.append("values")
        else:
            kinds.append(scores_kind(output) if taught == "positions" else output_kind(output))
    return (*kinds, *shown)


def refuse_unfit_outputs(module: torch.nn.Module, example: Example, said: Sequence[OutputsAre]) -> None:
    """Raises ModelError in one line where outputs cannot be what is said of them: their number, types, shapes."""
    import torch

    with torch.no_grad():
        outputs = forward_outputs(module.eval(), example_tensors(example))
    words = _word_for_each(said, len(outputs))
    for place, (output, word) in enumerate(zip(outputs, words, strict=True)):
        shape = tuple(output.shape)
        if word in ("auto", "values"):
            continue
        if not output.is_floating_point() or not _can_be(word, shape):
            raise ModelError(
                f"output {place} is said to be {word}, it is {str(output.dtype).removeprefix('torch.')} "
                f"{list(shape)}",
                allowed=f"floats {SHAPES[word]}",
            )
        if word == "boxes" and not any(
            other == "scores" and scores_axis(tuple(scores.shape), shape) is not None
            for scores, other in zip(outputs, words, strict=True)
        ):
            raise ModelError(
                f"output {place} is said to be boxes {list(shape)}, and no scores are of the same places",
                allowed="scores that are [N, classes, ...] beside [N, 4, ...], or [N, ..., classes] beside [N, ..., 4]",
                remedy="without scores say values",
            )


def box_axis(shape: Sequence[int]) -> int | None:
    """The axis of a box's four numbers, 1 or the last; None where it is neither, or may be either."""
    last = len(shape) - 1
    axes = [axis for axis in (1, last) if last >= 2 and shape[axis] == CORNERS]
    return axes[0] if len(axes) == 1 else None


def scores_axis(shape: Sequence[int], boxes: Sequence[int]) -> int | None:
    """The axis of classes of scores that are of the same places as `boxes`, the shape of these; None: of other ones."""
    axis = box_axis(boxes)
    if axis is None or len(shape) != len(boxes):
        return None
    return axis if places(shape, axis) == places(boxes, axis) else None


def places(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """The sizes without samples and `axis`."""
    return tuple(size for index, size in enumerate(shape) if index not in (0, axis))


def _can_be(word: OutputsAre, shape: tuple[int, ...]) -> bool:
    if word == "boxes":
        return box_axis(shape) is not None
    if word == "logits":
        return len(shape) >= 2 and shape[1] >= 2
    if word == "embedding":
        return len(shape) in (2, 3) and shape[-1] >= 2
    return len(shape) >= 2 if word == "scores" else len(shape) >= 3 and math.prod(shape[2:]) >= 2


def _word_for_each(said: Sequence[OutputsAre], count: int) -> Sequence[OutputsAre]:
    if len(said) not in (1, count):
        raise ModelError(
            f"outputs says what {len(said)} are ({','.join(said)}), and the network gives {count}",
            allowed=f"one word for all, or {count}",
        )
    return said if len(said) == count else [*said] * count


def _settled(word: OutputsAre, output: torch.Tensor) -> OutputKind:
    if word == "logits":
        return scores_kind(output)
    if word == "scores":
        return "chances" if are_chances(output) else "scores"
    return output_kind(output) if word == "auto" else word


def are_chances(output: torch.Tensor) -> bool:
    """Whether all numbers are from 0 to 1."""
    return bool(((output >= 0.0) & (output <= 1.0)).all())


def scores_kind(scores: torch.Tensor) -> OutputKind:
    """Of class scores [N, classes, ...]."""
    return "probabilities" if _sums_to_one(scores) else "logits"


def _has_length_one(output: torch.Tensor) -> bool:
    """Whether the rows [N, C] are vectors of length one, and not all the same one-hot scores."""
    rows = output.detach().float()
    return bool(((rows.norm(dim=1) - 1.0).abs() < 1e-3).all()) and not _sums_to_one(output)


def _sums_to_one(output: torch.Tensor) -> bool:
    """Whether the scores [N, classes, ...] are probabilities."""
    rows = output.detach().float()
    return bool(((rows.sum(1) - 1.0).abs() < 1e-3).all()) and bool((rows >= 0.0).all())


def as_logits(output: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    """Class scores as logits in float32: the logarithm of probabilities, of chances that of the odds."""
    if kind == "chances":
        return output.float().logit(1e-6)
    return output.float().clamp_min(1e-8).log() if kind == "probabilities" else output.float()
