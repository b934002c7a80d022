"""Training samples held aside: what weights score on them chooses, so that the validation split need not.

A network that is to be compressed has mostly seen them, and hands on what it learnt: scores on them compare networks
with one origin, and claim nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.compress.training.evaluate import accuracy, agreement
from edgekit.compress.training.goal import fits
from edgekit.errors import DataError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Samples

__all__ = ["hold_aside", "score_aside"]

FEWEST_ASIDE, FEWEST_TRAINED = 2, 4  # two batches of two are trained on, at least
_PURPOSE = 0x61736964  # another stream of random numbers than that of any order of training


def hold_aside(data: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """`data` without a `share` (above 0, to 0.5) of it, and that share; which, says `seed` alone.

    At least 2 samples are held aside and 4 left. With one label a sample, each class gives its share (targets: each
    range of them). Raises DataError for fewer than 6 samples.
    """
    count = len(data)
    if count < FEWEST_ASIDE + FEWEST_TRAINED:
        raise DataError(
            f"{count} samples to train on, and some to be held aside", allowed="6 or more, or aside 0"
        )
    held = min(max(FEWEST_ASIDE, round(share * count)), count - FEWEST_TRAINED)
    chance = np.random.default_rng((seed, _PURPOSE))
    order = chance.permutation(count)
    if data.labels is not None and data.labels.ndim == 1:
        order = order[np.argsort(data.labels[order], kind="stable")]
    picked = (np.arange(held) * count + chance.integers(count)) // held
    is_aside = np.zeros(count, bool)
    is_aside[order[picked]] = True
    return data.subset(np.flatnonzero(~is_aside)), data.subset(np.flatnonzero(is_aside))


def score_aside(
    module: torch.nn.Module, aside: Samples, teacher: torch.nn.Module | None, device: str = "cpu"
) -> float | None:
    """How well `module` does on samples held aside; 1 is perfect. Both networks are on `device`.

    Accuracy where the labels fit an output (see evaluate.accuracy), whatever loss was trained with; else agreement with
    the teacher; None without either. So a build's validation is scored, too.
    """
    known = accuracy(module, aside, device=device) if fits(aside, module, device) else None
    if known is not None or teacher is None:
        return known
    return agreement(module, teacher, aside, device=device)
