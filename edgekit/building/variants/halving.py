"""Successive halving: several plans are trained a little, the better half a little more, and the best one wholly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LENGTHS_BY_TIME", "RUNGS", "SPARE", "Contest", "epochs_that_fit", "halved"]

RUNGS = (1 / 16, 1 / 8)
"""Shares of the whole training that plans get before half of them goes."""

LENGTHS_BY_TIME = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Of the default length: what a training may have where only a time limit bounds it. Few: a rerun finds its own."""

SPARE = 1.1
"""Of a training's expected time: a machine may slow down."""


@dataclass(frozen=True)
class Contest:
    """Who won, and name → scores, one for each rung that it took part in."""

    winner: str
    scores: Mapping[str, tuple[float, ...]]


def halved(
    names: Sequence[str],
    rungs: Sequence[float],
    score: Callable[[str, float], float],
    may_go_on: Callable[[], bool] = lambda: True,
    ahead: Callable[[Sequence[str], float], None] = lambda names, rung: None,
) -> Contest:
    """The best of `names`, which stand in the order of what is expected of them.

    On each rung all that are left are scored (higher is better); half of them, rounded up, goes on, until one is left.
    Equal scores go by the order of `names`. Where `may_go_on` says no, the best so far has won (Jamieson & Talwalkar,
    AISTATS 2016). `ahead` is told who is scored on a rung before any is, to prepare all of them side by side. Raises
    ValueError without names.
    """
    if not names:
        raise ValueError("a contest of nobody")
    scores: dict[str, tuple[float, ...]] = dict.fromkeys(names, ())
    left = list(names)
    for rung in rungs:
        if len(left) == 1:
            break
        if may_go_on():
            ahead(left, rung)
        for name in left:
            if not may_go_on():
                # Whoever has not been scored on this rung stands as it did before it.
                return Contest(best(left, scores), scores)
            scores[name] = (*scores[name], score(name, rung))
        order = sorted(left, key=lambda name: (-scores[name][-1], names.index(name)))
        left = order[: math.ceil(len(left) / 2)]
    return Contest(left[0], scores)


def best(left: Sequence[str], scores: Mapping[str, tuple[float, ...]]) -> str:
    """By the last rung that all of them have been on."""
    rung = min(len(scores[name]) for name in left)
    if rung == 0:
        return left[0]
    return max(left, key=lambda name: (scores[name][rung - 1], -left.index(name)))


def epochs_that_fit(default: float, left_s: float, epoch_s: float) -> float:
    """The longest of LENGTHS_BY_TIME, from so many epochs by default, that fits into the time; the shortest if none."""
    lengths = [default * length for length in LENGTHS_BY_TIME]
    return max((epochs for epochs in lengths if SPARE * epochs * epoch_s <= left_s), default=lengths[0])
