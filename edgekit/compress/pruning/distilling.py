"""The trainings of pruned networks with one original as the teacher, each kept in a folder once it is done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import NetworkPlan, Samples
from edgekit.compress.pruning.outcome import StepRecord
from edgekit.compress.training.aside import hold_aside
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.finetune import finetune
from edgekit.compress.training.held import HeldWeights
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.errors import ModelError, TimeLimitReached
from edgekit.opened import digests_now, merged
from edgekit.progress import Step

if TYPE_CHECKING:
    import torch

__all__ = ["METHOD", "Distilling", "SharedProgress", "distilling", "fingerprint_of"]

METHOD = 6
"""Raised when the same arguments would give other weights than before: no key of a training holds our code.

2: batch norms whose momentum is below 0.1 follow the network sooner (NormPace). 3: heads and widths of attentions, and
sizes that a forward writes into its views, follow. 4: transformers are trained by AdamW, and the rate of the steps
follows that of the end. 5: masks learn the teacher's chances at each position; vectors of length one are embeddings.
6: the width of a transformer's stream is pruned; its norms go over the channels that are left.
"""


class SharedProgress:
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


@dataclass(frozen=True)
class Distilling:
    """What the trainings share. `train` is what they train on, `aside` what is held aside of it for all of them.

    `opened` gathers the files that the user's own loss or step reads, path → SHA-256.
    """

    original: torch.nn.Module
    train: Samples
    aside: Samples | None
    validate: Callable[[torch.nn.Module], float]
    progress: SharedProgress
    folder: Path | None
    shared: TeacherOutputs | None = None
    opened: dict[str, str] = field(default_factory=dict)

    def trained(
        self,
        kind: Literal["step", "final"],
        name: str,
        student: torch.nn.Module,
        plan: NetworkPlan,
        train_config: TrainConfig,
        baseline: float,
        allowed: float,
        *,
        left_s: float | None = None,
        ends: float = float("inf"),
        held: HeldWeights | None = None,
    ) -> StepRecord:
        """Train `student`, which `plan` made, in place, or put the saved result into it.

        `allowed`: the largest drop from `baseline` that is accepted. `left_s` shortens the training. `ends`
        (time.monotonic() seconds): raises TimeLimitReached then; a later run goes on from its checkpoint. `held`:
        weights that become zero, by the plan.
        """
        begun = time.monotonic()
        self.progress.begin(train_config.epochs)
        fingerprint = fingerprint_of(student, plan, train_config, len(self.train))
        done = None if self.folder is None else self.folder / f"{name}.safetensors"
        note = None if done is None else _load_step(student, done, fingerprint)
        shortened = False
        if note is not None:
            accuracy, opened, aside = float(note["accuracy"]), note.get("opened", {}), note["aside"]
        else:
            checkpoint = None if self.folder is None else self.folder / f"{name}.checkpoint.safetensors"
            report = finetune(
                student, self.train, train_config, teacher=self.original, aside=self.aside, shared=self.shared,
                progress=self.progress, checkpoint=checkpoint,
                should_stop=lambda: time.monotonic() > ends, time_limit_s=left_s, held=held,
            )  # fmt: skip
            if report.stopped == "asked":
                raise TimeLimitReached(f"the time limit ended in {name}")
            shortened = report.stopped == "time"
            accuracy, opened, aside = self.validate(student), dict(report.opened), report.aside
            if done is not None and not shortened:
                told = {"plan": plan.to_json(), "accuracy": accuracy, "aside": aside, "opened": opened}
                write_tensors(done, student.state_dict(), {"fingerprint": fingerprint, **told})
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
        self.opened.update(merged(self.opened, opened))
        drop = baseline - accuracy
        self.progress.advance(
            1.0, f"{name}: {plan.fraction:.0%} of MACs, accuracy {accuracy:.2%} ({-drop:+.2%})"
        )
        seconds = time.monotonic() - begun
        return StepRecord(kind, plan, accuracy, drop, drop <= allowed, seconds, shortened, aside)


def distilling(
    original: torch.nn.Module,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    config: TrainConfig,
    progress: SharedProgress,
    folder: Path | None,
    shared: TeacherOutputs | None = None,
) -> Distilling:
    """Trainings on `train` but for the share that `config` holds aside: one for all of them, by its seed."""
    aside: Samples | None = None
    if config.aside:
        train, aside = hold_aside(train, config.aside, config.seed)
    return Distilling(original, train, aside, validate, progress, folder, shared)


def fingerprint_of(student: torch.nn.Module, plan: NetworkPlan, config: TrainConfig, samples: int) -> str:
    """What a training on so many samples ends with depends on this, and on which samples they are."""
    state = hashlib.sha256(json.dumps([plan.to_json(), config.digest, samples, METHOD]).encode())
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
