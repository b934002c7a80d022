"""Prune a little, train a little, look; again and again until the accuracy limit or the wanted cost."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples, example_tensors
from edgekit.compress.folding import folded
from edgekit.compress.pruning.distilling import Distilling, SharedProgress, distilling
from edgekit.compress.pruning.dropping import propose_depth
from edgekit.compress.pruning.outcome import PruneOutcome, StepRecord
from edgekit.compress.pruning.plan import PrunePlan
from edgekit.compress.pruning.propose import PruneConfig, apply_plan, kept_whole, propose, told
from edgekit.compress.pruning.soundness import retrace
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.optimizing import settled
from edgekit.errors import StageError, TimeLimitReached
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["IterateConfig", "prune_iteratively"]

OUT_OF_TIME = "the time limit leaves no room for another step"
LAST_STEP_BEGINS, LAST_STEP_ENDS = 0.5, 0.75  # of the time: the rest is for the final training


@dataclass(frozen=True)
class IterateConfig:
    """How the steps go.

    step_epochs: of the short fine-tuning after each step; step_rate: its learning rate's peak, as a share of the final
    training's. slack: how far above the limit a drop after so short a training may be (fraction), since the final
    training wins some of it back.
    """

    step_epochs: float = 0.3
    step_rate: float = 0.4
    slack: float = 0.03
    max_steps: int = 40


def prune_iteratively(
    original: torch.nn.Module,
    example: Example,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    config: PruneConfig,
    train_config: TrainConfig,
    *,
    limit: float,
    target_fraction: float | None,
    dropped: Sequence[str] = (),
    merged: Sequence[str] = (),
    baseline: float | None = None,
    teacher: torch.nn.Module | None = None,
    steps: IterateConfig = IterateConfig(),
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Prune `original` until `target_fraction` of its MACs is left or accuracy drops by more than `limit`.

    The blocks `dropped` go first and those `merged` become one convolution, without a step of training; with a
    `target_fraction` of 1 nothing else does.
    Each step takes `config.ratio_step` of the original's MACs, distils for `steps.step_epochs` from `teacher` (None:
    the original) and validates; drops are from `baseline`, or the teacher's score where it is not given. A step whose
    drop is above limit + slack is taken back and ends the pruning. What was kept is then trained with `train_config`.
    With `target_fraction` None only the limit ends it. `folder` keeps every finished step: a rerun with the same
    arguments goes on from there. `deadline` (time.monotonic() seconds) shortens the final training; no step begins
    after half of the time, and one that is not done after three quarters is left out, to be gone on with by a rerun.
    Nothing shortened is kept in `folder`. Raises StageError when not even the first step can be made, TimeLimitReached
    when time is too short.
    """
    original = folded(original)
    train_config = settled(train_config, original, lambda: example_tensors(example))
    teaching = original if teacher is None else folded(teacher)
    expected = _expected_epochs(config, train_config, steps, target_fraction)
    share = SharedProgress(progress or SilentStep(), expected)
    trainings = distilling(teaching, train, validate, train_config, share, folder)
    work = _Work(example, config, train_config, steps, trainings)
    baseline = validate(teaching) if baseline is None else baseline
    is_shallower = bool(dropped or merged)
    begin = propose_depth(original, example, dropped, merged) if is_shallower else PrunePlan()
    shallow = apply_plan(original, example, begin) if is_shallower else original
    network, plan, history, reason = _descend(
        work, shallow, begin, baseline, limit, target_fraction, deadline
    )
    if not plan.changes:
        raise StageError("prune", f"no step within the accuracy limit: {reason}", "allow a larger drop")
    left = None if deadline is None else max(1.0, deadline - time.monotonic())
    final, record = work.final(network, plan, baseline, limit, left)
    retrace(final, example)
    share.end(reason)
    kept = kept_whole(shallow, example, config) if plan.steps else {}
    return PruneOutcome(
        module=final,
        plan=plan,
        baseline=baseline,
        history=(*history, record),
        reason=reason,
        kept=told(kept) if kept else "",
        shortened=reason == OUT_OF_TIME or record.shortened,
        opened=trainings.opened,
        aside=record.aside,
    )


def _descend(
    work: _Work,
    network: torch.nn.Module,
    plan: PrunePlan,
    baseline: float,
    limit: float,
    target: float | None,
    deadline: float | None,
) -> tuple[torch.nn.Module, PrunePlan, list[StepRecord], str]:
    """Step by step down from `network`, which `plan` made; the last accepted one, its plan, history, why it ended."""
    history = list[StepRecord]()
    begun = time.monotonic()
    span_s = float("inf") if deadline is None else max(0.0, deadline - begun)
    for index in range(1, work.steps.max_steps + 1):
        if target is not None and plan.changes and plan.fraction <= target:
            return network, plan, history, f"{plan.fraction:.0%} of the MACs are left, as wanted"
        wanted = max(1.0 - work.config.ratio_step * index, target or 0.0)
        if plan.changes and plan.fraction <= wanted:
            continue  # a coarse earlier step already went this far
        if plan.changes and time.monotonic() - begun > LAST_STEP_BEGINS * span_s:
            return network, plan, history, OUT_OF_TIME
        proposed = propose(
            network,
            work.example,
            work.config,
            wanted,
            work.distilling.train,
            previous=plan if plan.changes else None,
        )
        if proposed.widths == plan.widths:
            return network, plan, history, "nothing more can be pruned at the allowed widths"
        try:
            ends = begun + LAST_STEP_ENDS * span_s
            trained, record = work.step(index, network, plan, proposed, baseline, limit, ends)
        except TimeLimitReached:
            if not plan.changes:
                raise
            return network, plan, history, OUT_OF_TIME
        history.append(record)
        if not record.accepted:
            allowed = f"{limit:.2%} + {work.steps.slack:.2%} slack"
            reason = f"the drop of {record.drop:.2%} is above the limit of {allowed}"
            return network, plan, history, reason
        network, plan = trained, proposed
    return network, plan, history, "the largest number of steps is reached"


def _expected_epochs(
    config: PruneConfig, train: TrainConfig, steps: IterateConfig, target: float | None
) -> float:
    """Epochs in all, if no step fails. Without a wanted fraction, half of the MACs is a fair guess."""
    count = math.ceil((1.0 - (0.5 if target is None else target)) / config.ratio_step)
    return steps.step_epochs * min(count, steps.max_steps) + train.epochs


@dataclass(frozen=True)
class _Work:
    example: Example
    config: PruneConfig
    train_config: TrainConfig
    steps: IterateConfig
    distilling: Distilling

    def step(
        self,
        index: int,
        network: torch.nn.Module,
        plan: PrunePlan,
        proposed: PrunePlan,
        baseline: float,
        limit: float,
        ends: float,
    ) -> tuple[torch.nn.Module, StepRecord]:
        """One short training of the newly pruned network, or the saved result of it; see Distilling.trained."""
        short = dataclasses.replace(
            self.train_config,
            epochs=self.steps.step_epochs,
            learning_rate=self.steps.step_rate * self.train_config.peak,
            seed=self.train_config.seed + index,
        )
        student = apply_plan(network, self.example, _difference(plan, proposed))
        allowed = limit + self.steps.slack
        record = self.distilling.trained(
            "step", f"step-{index:02d}", student, proposed, short, baseline, allowed, ends=ends
        )
        return student, record

    def final(
        self,
        network: torch.nn.Module,
        plan: PrunePlan,
        baseline: float,
        limit: float,
        left_s: float | None,
    ) -> tuple[torch.nn.Module, StepRecord]:
        """The long training at the end."""
        student = copy.deepcopy(network)
        record = self.distilling.trained(
            "final", "final", student, plan, self.train_config, baseline, limit, left_s=left_s
        )
        return student, record


def _difference(plan: PrunePlan, later: PrunePlan) -> PrunePlan:
    """`later` as seen from the network that `plan` left: indices count the channels left by `plan`."""
    before = {step.layer: step for step in plan.steps}
    steps = []
    for step in later.steps:
        first = before.get(step.layer)
        if first is None:
            steps.append(step)
        elif first.kept != step.kept:
            place = {channel: i for i, channel in enumerate(first.kept)}
            kept = tuple(place[channel] for channel in step.kept)
            steps.append(dataclasses.replace(step, width=len(first.kept), kept=kept))
    dropped = tuple(name for name in later.dropped if name not in plan.dropped)
    merged = tuple(name for name in later.merged if name not in plan.merged)
    return PrunePlan(tuple(steps), later.original_macs, later.macs, dropped, merged)
