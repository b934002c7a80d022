"""The weighted mean of what several networks give, by what their outputs are.

Of class scores it is the mean of the chances at the temperature of the training, so that the distillation loss differs
from the weighted sum of the teachers' own by what does not depend on the student: sum w KL(p_k || q) = KL(mean || q) +
a constant. So it is of maps. Of a detector's scores it is the mean of the chances, of its boxes that at each place by
how sure each teacher is of one there, of embeddings that of the directions, of values their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.training.dense import confidence
from edgekit.compress.training.kinds import OutputKind, as_logits

if TYPE_CHECKING:
    import torch

__all__ = ["mean_outputs"]


def mean_outputs(
    given: Sequence[Sequence[torch.Tensor]],
    weights: Sequence[float],
    kinds: Sequence[OutputKind],
    temperature: float,
) -> list[torch.Tensor]:
    """`given`: the outputs of each network; `weights` of them sum to 1; `kinds`: of each output."""
    means = []
    for place, kind in enumerate(kinds):
        parts = [outputs[place] for outputs in given]
        if kind == "boxes":
            sure = [
                weight * confidence(outputs, kinds, place)
                for outputs, weight in zip(given, weights, strict=True)
            ]
            means.append(_sum(parts, sure) / (sum(sure[1:], sure[0]) + 1e-12))
        else:
            means.append(_mean(parts, weights, kind, temperature))
    return means


def _mean(
    parts: Sequence[torch.Tensor], weights: Sequence[float], kind: OutputKind, temperature: float
) -> torch.Tensor:
    import torch

    if kind == "scores":
        return _sum([as_logits(part, kind).sigmoid() for part in parts], weights).logit(1e-6)
    if kind == "embedding":
        return _sum([torch.nn.functional.normalize(part, dim=-1) for part in parts], weights)
    if kind == "maps":
        flat = [part.flatten(2) for part in parts]
        return _mixed(flat, weights, 2, temperature).reshape(parts[0].shape)
    if kind not in ("logits", "probabilities"):
        return _sum(parts, weights)
    scores = _mixed([as_logits(part, kind) for part in parts], weights, 1, temperature)
    return scores if kind == "logits" else scores.softmax(1)


def _mixed(
    logits: Sequence[torch.Tensor], weights: Sequence[float], axis: int, temperature: float
) -> torch.Tensor:
    """Logits of the mean of the chances along `axis` at the temperature."""
    import torch

    chances = [
        (part.float() / temperature).log_softmax(axis) + math.log(weight)
        for part, weight in zip(logits, weights, strict=True)
    ]
    return temperature * torch.stack(chances).logsumexp(0)


def _sum(parts: Sequence[torch.Tensor], weights: Sequence[torch.Tensor | float]) -> torch.Tensor:
    import torch

    return torch.stack([part * weight for part, weight in zip(parts, weights, strict=True)]).sum(0)
