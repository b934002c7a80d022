"""After a plan was trained: what training leaves of predicted harm, and for which latency plans are asked for next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Aim", "Ended", "TrainedPlan", "next_aim"]

MOST_TRAINED = 3
"""Plans that are trained wholly: the first, and two between what is then known."""

WORTH, WORTH_SHARE = 0.001, 0.25
"""What another training has to save: so much accuracy at least, and such a share of what the best one lost."""

CONFIDENT = 0.8
"""Of the accuracy limit: where a plan beyond the budget's latency is asked for, the scale may be wrong by the rest."""

OTHER = 0.97
"""Of a plan's harm: what differs by less is as good as the same plan."""

STEPS = 12
"""Halvings of the span of latencies in which a plan is looked for."""


@dataclass(frozen=True)
class TrainedPlan:
    """A plan that was trained wholly.

    `harm`: predicted, beyond that of the network as it is; `structure_ms`: what it took untrained. `drop`,
    `latency_ms`: measured of its best build, as the budget counts them. `is_within`: whether it keeps all limits but
    the accuracy's.
    """

    name: str
    harm: float
    structure_ms: float
    drop: float
    latency_ms: float
    is_within: bool


@dataclass(frozen=True)
class HarmScale:
    """Accuracy drop after training by predicted harm: linear between its points, beyond the last in proportion.

    `harms` ascend from 0, `drops` never fall.
    """

    harms: tuple[float, ...]
    drops: tuple[float, ...]

    def drop(self, harm: float) -> float:
        """Expected after training."""
        last = self.harms[-1]
        if harm <= last:
            return float(np.interp(harm, self.harms, self.drops))
        return self.drops[-1] + (harm - last) * self._slope

    def harm(self, drop: float) -> float:
        """The largest harm that is expected to lose no more; 0 where any loses more, infinite where none does."""
        if drop < self.drops[0]:
            return 0.0
        if drop >= self.drops[-1]:
            beyond = drop - self.drops[-1]
            return self.harms[-1] + beyond / self._slope if self._slope > 0 else math.inf
        after = next(at for at, known in enumerate(self.drops) if known > drop)
        low, high = self.drops[after - 1], self.drops[after]
        left, right = self.harms[after - 1], self.harms[after]
        return left + (right - left) * (drop - low) / (high - low)

    @property
    def _slope(self) -> float:
        return (self.drops[-1] - self.drops[0]) / self.harms[-1] if self.harms[-1] > 0 else 0.0


def harm_scale(points: Sequence[tuple[float, float]], floor: float) -> HarmScale:
    """The scale nearest to (harm, drop) by least squares among those that never fall (Barlow et al. 1972).

    It begins with `floor`, the drop of the unchanged network's build, or less where training has left less.
    """
    from scipy.optimize import isotonic_regression

    known: dict[float, list[float]] = {}
    for harm, drop in points:
        known.setdefault(max(0.0, harm), []).append(drop)
    harms = sorted(set(known) - {0.0})
    begin = max(0.0, min([floor, *(drop for _, drop in points)]))
    if not harms:
        return HarmScale((0.0,), (begin,))
    drops = [float(np.mean(known[harm])) for harm in harms]
    weights = [len(known[harm]) for harm in harms]
    fitted = np.maximum(begin, isotonic_regression(drops, weights=weights).x)
    return HarmScale((0.0, *harms), (begin, *(float(drop) for drop in fitted)))


@dataclass(frozen=True)
class Aim:
    """What is asked for next: plans for this latency with less harm than `below_harm`, and why, in words."""

    latency_ms: float
    below_harm: float
    why: str


@dataclass(frozen=True)
class Ended:
    """Why nothing more is trained, in words."""

    why: str


def next_aim(
    trained: Sequence[TrainedPlan],
    limit_ms: float,
    max_drop: float,
    floor: float,
    whole_ms: float,
    harm_at: Callable[[float], float | None],
) -> Aim | Ended:
    """What follows from the plans that were trained, at least one.

    `max_drop`: infinite without a limit; `whole_ms`: the network as it is. `harm_at`: latency → the least harm that a
    plan within it is predicted to do, None where none is; it never rises with the latency.

    A plan that meets the budget is only beaten by one that is predicted to lose notably less. One that training made
    too slow is followed by a faster one. Where the accuracy is missed and nothing at the budget's latency promises to
    keep it, the latency that would is looked for, so that what cannot be had has a frontier.
    """
    scale = harm_scale([(plan.harm, plan.drop) for plan in trained], floor)
    inside = [plan for plan in trained if plan.is_within]
    meeting = [plan for plan in inside if plan.drop <= max_drop]
    decided: Aim | Ended
    if meeting:
        decided = better_one(min(meeting, key=lambda plan: plan.drop), limit_ms, scale, harm_at)
    elif not inside and (late := [plan for plan in trained if plan.drop <= max_drop]):
        decided = faster_one(late, limit_ms)
    else:  # a faster plan would lose more
        decided = milder_one(trained, inside or trained, limit_ms, max_drop, whole_ms, scale, harm_at)
    if isinstance(decided, Aim) and len(trained) >= MOST_TRAINED:
        return Ended(f"{len(trained)} plans were trained wholly, and no more are")
    return decided


def better_one(
    best: TrainedPlan, limit_ms: float, scale: HarmScale, harm_at: Callable[[float], float | None]
) -> Aim | Ended:
    """A plan that uses more of the budget, where it is worth its training."""
    harm = harm_at(limit_ms)
    if harm is not None and harm < OTHER * best.harm:
        saved = best.drop - scale.drop(harm)
        if saved >= max(WORTH, WORTH_SHARE * best.drop):
            return Aim(
                limit_ms, OTHER * best.harm, f"a plan that is predicted to lose {100 * saved:.2g} points less"
            )
    return Ended(
        f"{best.name} met the budget when it was looked at, and no other plan is predicted to be worth its training"
    )


def faster_one(late: Sequence[TrainedPlan], limit_ms: float) -> Aim | Ended:
    """For a latency that is smaller by what trained networks took longer than their untrained structures."""
    nearest = min(late, key=lambda plan: plan.latency_ms)
    if nearest.latency_ms <= limit_ms:
        return Ended(f"{nearest.name} keeps the latency, and breaks another limit")
    slower = max(plan.latency_ms / plan.structure_ms for plan in late)
    aim_ms = min(limit_ms / slower, limit_ms * limit_ms / nearest.latency_ms)
    return Aim(aim_ms, math.inf, f"{nearest.name} took {nearest.latency_ms:.3g} ms once trained")


def milder_one(
    trained: Sequence[TrainedPlan],
    inside: Sequence[TrainedPlan],
    limit_ms: float,
    max_drop: float,
    whole_ms: float,
    scale: HarmScale,
    harm_at: Callable[[float], float | None],
) -> Aim | Ended:
    """One that does less harm: within the budget where that promises enough, else beyond it, once."""
    least = min(inside, key=lambda plan: plan.drop)
    lost = f"{least.name} lost {100 * least.drop:.2f} points at {least.latency_ms:.3g} ms"
    harm, done = harm_at(limit_ms), min(plan.harm for plan in inside)
    if harm is not None and harm < OTHER * done and scale.drop(harm) <= max_drop:
        return Aim(limit_ms, OTHER * done, f"{lost}, and the budget has room for a milder plan")
    accurate = [plan for plan in trained if plan.drop <= max_drop]
    if accurate:
        fastest = min(accurate, key=lambda plan: plan.latency_ms)
        return Ended(
            f"{lost}, and the fastest plan that keeps the accuracy, {fastest.name}, took {fastest.latency_ms:.3g} ms"
        )
    aim_ms = least_latency(harm_at, scale.harm(CONFIDENT * max_drop), limit_ms, whole_ms)
    if aim_ms is None:
        return Ended(f"{lost}, and by that no plan that is faster than the network itself keeps the accuracy")
    harmful = min(plan.harm for plan in trained)
    return Aim(aim_ms, OTHER * harmful, f"{lost}; the accuracy is predicted to need {aim_ms:.3g} ms")


def least_latency(
    harm_at: Callable[[float], float | None], wanted: float, low_ms: float, high_ms: float
) -> float | None:
    """The smallest latency at which a plan is predicted to do no more harm than `wanted`; None where none does."""

    def suffices(latency_ms: float) -> bool:
        harm = harm_at(latency_ms)
        return harm is not None and harm <= wanted

    high_ms *= OTHER
    if high_ms <= low_ms or not suffices(high_ms):
        return None
    for _ in range(STEPS):
        middle_ms = (low_ms + high_ms) / 2
        low_ms, high_ms = (low_ms, middle_ms) if suffices(middle_ms) else (middle_ms, high_ms)
    return high_ms
