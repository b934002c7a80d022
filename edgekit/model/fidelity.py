"""Whether what was exported still computes what torch does, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.graph.equivalence import Runner, onnx_runner, worst_difference
from edgekit.model.forward import Arrays, run_torch

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["DIFFERS", "unfaithful"]

DIFFERS = "the exported network differs from torch's"
"""What `unfaithful` begins with."""

TOLERANCE = 1e-3  # of an output's largest value


def unfaithful(
    model: onnx.ModelProto, network: torch.nn.Module, samples: Sequence[Arrays], others: Sequence[Arrays]
) -> str:
    """On how many inputs the exported `model` computes something else, and the worst of it; "" for a faithful one.

    `samples` are the user's own: what torch raises on one of them is raised as ModelError. Of the made-up `others`
    those count that torch takes.
    """
    try:
        run = onnx_runner(model)
    except ModelError as problem:
        return f"{DIFFERS}: {problem}"
    wrong = [error for error in _errors(run, _answered(network, samples)) if error[0] > TOLERANCE]
    if wrong:
        share, reason = max(wrong)
        how_bad = "at worst " if len(wrong) > 1 and math.isfinite(share) else ""
        return f"{DIFFERS} on {len(wrong)} of {len(samples)} samples ({how_bad}{reason})"
    for share, reason in _errors(run, _answered_where_taken(network, others)):
        if share > TOLERANCE:
            return (
                f"{DIFFERS} on a made-up input, though not on the samples at hand ({len(samples)}; {reason})"
            )
    return ""


def _errors(run: Runner, answered: Iterable[tuple[Arrays, Arrays]]) -> Iterator[tuple[float, str]]:
    for inputs, wanted in answered:
        try:
            yield worst_difference(wanted, run(inputs))
        except ModelError as problem:
            yield math.inf, str(problem)


def _answered(network: torch.nn.Module, samples: Iterable[Arrays]) -> Iterator[tuple[Arrays, Arrays]]:
    """Inputs with torch's outputs, one after another: together they may be larger than the memory."""
    for inputs in samples:
        yield inputs, run_torch(network, inputs)


def _answered_where_taken(
    network: torch.nn.Module, samples: Iterable[Arrays]
) -> Iterator[tuple[Arrays, Arrays]]:
    for inputs in samples:
        try:
            wanted = run_torch(network, inputs)
        except ModelError:
            continue
        yield inputs, wanted
