"""Prune a little, train a little, look; again and again until the accuracy limit or the wanted cost."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import Samples
from edgekit.compress.folding import folded
from edgekit.compress.pruning.dropping import propose_depth
from edgekit.compress.pruning.plan import PrunePlan
from edgekit.compress.pruning.propose import PruneConfig, apply_plan, kept_whole, propose, told
from edgekit.compress.pruning.soundness import retrace
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.finetune import finetune
from edgekit.errors import ModelError, StageError, TimeLimitReached
from edgekit.opened import digests_now, merged
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["IterateConfig", "PruneOutcome", "StepRecord", "prune_iteratively"]

OUT_OF_TIME = "the time limit leaves no room for another step"
LAST_STEP_BEGINS, LAST_STEP_ENDS = 0.5, 0.75  # of the time: the rest is for the final training


@dataclass(frozen=True)
class IterateConfig:
    """How the steps go.

    step_epochs, step_learning_rate: the short fine-tuning after each step. slack: how far above the limit a
    drop after so short a training may be (fraction), since the final training wins some of it back.
    """

    step_epochs: float = 0.3
    step_learning_rate: float = 0.02
    slack: float = 0.03
    max_steps: int = 40


@dataclass(frozen=True)
class StepRecord:
    """One line of history. `accuracy` and `drop` are fractions, on the samples that `validate` uses."""

    kind: Literal["step", "final"]
    plan: PrunePlan
    accuracy: float
    drop: float
    accepted: bool
    seconds: float
    shortened: bool = False


@dataclass(frozen=True)
class PruneOutcome:
    """The pruned, trained network (eval mode, CPU) and how it came about.

    `reason` says why pruning ended, `kept` which layers kept their width and why ("" if none had to). `shortened`: the
    deadline left out steps, or part of the final training. `opened`: files that the user's own loss or step has read,
    path → SHA-256.
    """

    module: torch.nn.Module
    plan: PrunePlan
    baseline: float
    history: tuple[StepRecord, ...]
    reason: str
    kept: str = ""
    shortened: bool = False
    opened: Mapping[str, str] = field(default_factory=dict)


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
    steps: IterateConfig = IterateConfig(),
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Prune `original` until `target_fraction` of its MACs is left or accuracy drops by more than `limit`.

    The blocks `dropped` go first, without a step of training; with a `target_fraction` of 1 nothing else does.
    Each step takes `config.ratio_step` of the original's MACs, distils from the original for
    `steps.step_epochs` and validates; a step whose drop is above limit + slack is taken back and ends the
    pruning. What was kept is then trained with `train_config`. With `target_fraction` None only the limit
    ends it. `folder` keeps every finished step: a rerun with the same arguments goes on from there.
    `deadline` (time.monotonic() seconds) shortens the final training; no step begins after half of the time, and one
    that is not done after three quarters is left out, to be gone on with by a rerun. Nothing shortened is kept in
    `folder`. Raises StageError when not even the first step can be made, TimeLimitReached when time is too short.
    """
    original = folded(original)
    expected = _expected_epochs(config, train_config, steps, target_fraction)
    share = _Share(progress or SilentStep(), expected)
    work = _Work(original, example, train, validate, config, train_config, steps, share, folder)
    baseline = validate(original)
    begin = propose_depth(original, example, dropped) if dropped else PrunePlan()
    shallow = apply_plan(original, example, begin) if dropped else original
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
        opened=work.opened,
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
            network, work.example, work.config, wanted, work.train, previous=plan if plan.changes else None
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


class _Share:
    """Progress of one training within the whole: weighed by epochs, never falling, 1 only at the end."""

    def __init__(self, progress: Step, total_epochs: float) -> None:
        self._progress, self._total = progress, total_epochs
        self._before = self._now = 0.0
        self._shown = 0.0

    def begin(self, epochs: float) -> None:
        """A training of `epochs` begins."""
        self._before, self._now = self._before + self._now, epochs

    def advance(self, fraction: float, text: str = "") -> None:
        done = (self._before + fraction * self._now) / self._total
        self._shown = max(self._shown, min(done, 0.999))
        self._progress.advance(self._shown, text)

    def end(self, text: str) -> None:
        """All is done."""
        self._progress.advance(1.0, text)


def _expected_epochs(
    config: PruneConfig, train: TrainConfig, steps: IterateConfig, target: float | None
) -> float:
    """Epochs in all, if no step fails. Without a wanted fraction, half of the MACs is a fair guess."""
    count = math.ceil((1.0 - (0.5 if target is None else target)) / config.ratio_step)
    return steps.step_epochs * min(count, steps.max_steps) + train.epochs


@dataclass(frozen=True)
class _Work:
    original: torch.nn.Module
    example: Example
    train: Samples
    validate: Callable[[torch.nn.Module], float]
    config: PruneConfig
    train_config: TrainConfig
    steps: IterateConfig
    progress: _Share
    folder: Path | None
    opened: dict[str, str] = field(default_factory=dict)

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
        """One short training of the newly pruned network, or the saved result of it.

        `ends` (time.monotonic() seconds): raises TimeLimitReached then; a later run goes on from its checkpoint.
        """
        short = dataclasses.replace(
            self.train_config,
            epochs=self.steps.step_epochs,
            learning_rate=self.steps.step_learning_rate,
            seed=self.train_config.seed + index,
        )
        student = apply_plan(network, self.example, _difference(plan, proposed))
        allowed = limit + self.steps.slack
        return self._trained(
            "step", f"step-{index:02d}", student, proposed, short, baseline, allowed, ends=ends
        )

    def final(
        self, network: torch.nn.Module, plan: PrunePlan, baseline: float, limit: float, left_s: float | None
    ) -> tuple[torch.nn.Module, StepRecord]:
        """The long training at the end."""
        student = copy.deepcopy(network)
        return self._trained(
            "final", "final", student, plan, self.train_config, baseline, limit, left_s=left_s
        )

    def _trained(
        self,
        kind: Literal["step", "final"],
        name: str,
        student: torch.nn.Module,
        plan: PrunePlan,
        train_config: TrainConfig,
        baseline: float,
        allowed: float,
        *,
        left_s: float | None = None,
        ends: float = float("inf"),
    ) -> tuple[torch.nn.Module, StepRecord]:
        begun = time.monotonic()
        self.progress.begin(train_config.epochs)
        fingerprint = _fingerprint(student, plan, train_config, len(self.train))
        done = None if self.folder is None else self.folder / f"{name}.safetensors"
        note = None if done is None else _load_step(student, done, fingerprint)
        shortened = False
        if note is not None:
            accuracy, opened = float(note["accuracy"]), note.get("opened", {})
        else:
            checkpoint = None if self.folder is None else self.folder / f"{name}.checkpoint.safetensors"
            report = finetune(
                student, self.train, train_config, teacher=self.original, progress=self.progress,
                checkpoint=checkpoint, should_stop=lambda: time.monotonic() > ends, time_limit_s=left_s,
            )  # fmt: skip
            if report.stopped == "asked":
                raise TimeLimitReached(f"the time limit ended in {name}")
            shortened = report.stopped == "time"
            accuracy, opened = self.validate(student), dict(report.opened)
            if done is not None and not shortened:
                told = {"plan": plan.to_json(), "accuracy": accuracy, "opened": opened}
                write_tensors(done, student.state_dict(), {"fingerprint": fingerprint, **told})
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
        self.opened.update(merged(self.opened, opened))
        drop = baseline - accuracy
        self.progress.advance(
            1.0, f"{name}: {plan.fraction:.0%} of MACs, accuracy {accuracy:.2%} ({-drop:+.2%})"
        )
        seconds = time.monotonic() - begun
        return student, StepRecord(kind, plan, accuracy, drop, drop <= allowed, seconds, shortened)


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
    return PrunePlan(tuple(steps), later.original_macs, later.macs, dropped)


def _fingerprint(student: torch.nn.Module, plan: PrunePlan, config: TrainConfig, samples: int) -> str:
    state = hashlib.sha256(json.dumps([plan.to_json(), config.digest, samples]).encode())
    for name, tensor in student.state_dict().items():
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def _load_step(student: torch.nn.Module, path: Path, fingerprint: str) -> Mapping[str, Any] | None:
    """The note of a finished step, whose weights are put into `student`; None where it has to be made again."""
    if not path.exists():
        return None
    try:
        tensors, note = read_tensors(path)
    except ModelError:
        return None  # torn: made again
    opened = note.get("opened", {})
    if note.get("fingerprint") != fingerprint or opened != digests_now(opened):
        return None
    student.load_state_dict(tensors)
    return note
