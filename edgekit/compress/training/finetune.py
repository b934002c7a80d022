"""Fine-tuning with or without a teacher: deterministic for a seed, checkpointed, resumable."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import Samples, example_tensors, to_tensor
from edgekit.compress.norms import NormPace
from edgekit.compress.training.accelerate import multiplies_bf16, resolve_device
from edgekit.compress.training.aside import hold_aside
from edgekit.compress.training.augment import augment_batch, resolve_augment
from edgekit.compress.training.clock import Clock
from edgekit.compress.training.config import TrainConfig, one_cycle
from edgekit.compress.training.ending import end_training
from edgekit.compress.training.goal import moves_with_the_image
from edgekit.compress.training.held import HeldWeights
from edgekit.compress.training.loss import LossFunction, make_loss
from edgekit.compress.training.optimizing import settled
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.compress.training.state import (
    TrainingState,
    begin_training,
    check_finite,
    resume,
    save_checkpoint,
)
from edgekit.errors import DataError, UserError
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch

__all__ = ["TrainReport", "finetune"]

_CHECK_EVERY = 20
_STEPS_PER_SEED = 1_000_003


@dataclass(frozen=True)
class TrainReport:
    """What happened. `loss`: mean training loss of each epoch begun; `steps` counts earlier sittings too.

    stopped: "" (all of it ran), "asked" (should_stop said so: call again to go on), "time" (the time limit
    shortened the schedule; the learning rate was brought down in time, so the weights are usable). opened: files that
    the loss or step has read, path → SHA-256. aside: what the weights that were kept score on the samples held aside;
    None without any, where nothing can be told of them (see aside.py), and where "asked" ended the sitting. kept: which
    weights these are; of the last and the averaged ones the better there, where it can be told.
    """

    steps: int
    planned_steps: int
    resumed_at: int
    stopped: Literal["", "asked", "time"]
    loss: tuple[float, ...]
    seconds: float
    arithmetic: Literal["fp32", "bf16"]
    device: str
    opened: Mapping[str, str] = field(default_factory=dict)
    aside: float | None = None
    kept: Literal["last", "average"] = "last"


def finetune(
    student: torch.nn.Module,
    data: Samples,
    config: TrainConfig,
    *,
    teacher: torch.nn.Module | None = None,
    aside: Samples | None = None,
    shared: TeacherOutputs | None = None,
    progress: Step | None = None,
    checkpoint: Path | None = None,
    save_every_s: float = 60.0,
    should_stop: Callable[[], bool] | None = None,
    time_limit_s: float | None = None,
    held: HeldWeights | None = None,
) -> TrainReport:
    """Train `student` in place on `data`; leave it in eval mode on the CPU.

    Momenta of batch norms that are too slow for so few steps are raised meanwhile (NormPace).
    aside: samples to look at alone, in the place of the share of `data` that `config.aside` would hold aside: for
    trainings with different seeds that are to hold aside the same ones (`hold_aside`). Batches are small enough for two
    to be left beside what is held aside.
    shared: keeps the teacher's outputs for the next student that sees the same batches.
    checkpoint: a file; written at each epoch's end and every `save_every_s`. If it is there and belongs to
    the same run (configuration, structure, number of samples, files that the loss or step has read), training goes on
    from it and ends with the same weights as an uninterrupted run, bit for bit on a CPU; a damaged or foreign one is
    ignored.
    time_limit_s: where the whole run would take longer, the schedule is shortened to fit. A checkpoint of a shortened
    run is no part of a whole one: only a run with a time limit goes on from it.
    held: weights that become zero and stay so; not with averaged weights, which would not.
    Raises DataError when there is nothing to learn from, or too little to hold any of it aside, StageError when the
    loss is not finite.
    """
    import torch

    if len(data) < 2:
        raise DataError(f"fine-tuning got {len(data)} samples", allowed="2 or more")
    if held is not None and config.average:
        raise UserError(f"average is {config.average} where weights are held at zero", allowed="0")
    if aside is None and config.aside:
        data, aside = hold_aside(data, config.aside, config.seed)
    pace = NormPace(student)
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            return _train(
                student, pace, data, aside, config, teacher, shared, progress or SilentStep(), checkpoint,
                save_every_s, should_stop or (lambda: False), time_limit_s, held,
            )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
        pace.restore()
        student.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def _train(
    student: torch.nn.Module,
    pace: NormPace,
    data: Samples,
    aside: Samples | None,
    config: TrainConfig,
    teacher: torch.nn.Module | None,
    shared: TeacherOutputs | None,
    progress: Step,
    checkpoint: Path | None,
    save_every_s: float,
    should_stop: Callable[[], bool],
    time_limit_s: float | None,
    held: HeldWeights | None,
) -> TrainReport:
    device = resolve_device(config.device)
    bf16 = multiplies_bf16(device)
    batch_size = min(config.batch_size, len(data) if aside is None else len(data) // 2)
    epoch_steps = len(data) // batch_size
    planned = max(1, math.ceil(config.epochs * epoch_steps))
    apart = 0 if aside is None else len(aside)
    config = settled(config, student, lambda: example_tensors(next(iter(data.batches(2))).inputs))
    run = begin_training(student.to(device), config, len(data), apart)
    if checkpoint is not None:
        resume(run, checkpoint, limited=time_limit_s is not None)
    resumed_at, begun = run.step, time.monotonic()
    guide = None if teacher is None else _frozen(teacher, device)
    loss_of = make_loss(config, guide, data.labels, run.watch, shared)
    clock = Clock(planned, resumed_at, time_limit_s)
    saved, stopped = begun, ""
    for batch in _stream(data, batch_size, epoch_steps, config.seed, run.step):
        share = clock.progress(run.step)
        run.shortened = run.shortened or clock.shortened
        if share >= 1.0:
            break
        if should_stop():
            stopped = "asked"
            break
        if run.step == resumed_at:
            _lay_out(run, batch)
        epoch = run.step // epoch_steps
        pace.set(run.step + 1)
        if held is not None:
            held.advance(run.student, share)
        _one_step(run, batch, config, loss_of, one_cycle(share, config.peak), bf16, epoch, held)
        progress.advance(
            share, f"epoch {epoch + 1}/{math.ceil(planned / epoch_steps)} loss {run.losses[-1]:.3f}"
        )
        due = run.step % epoch_steps == 0 or time.monotonic() - saved > save_every_s
        if checkpoint is not None and due:
            check_finite(run)
            save_checkpoint(run, checkpoint)
            saved = time.monotonic()
    check_finite(run)
    if checkpoint is not None:
        save_checkpoint(run, checkpoint)
    if held is not None and not stopped:
        held.advance(run.student, 1.0)
    kept: Literal["last", "average"] = "last"
    score = None
    if not stopped:
        kept, score = end_training(run, aside, guide, device)
    progress.advance(clock.progress(run.step), "done" if not stopped else "stopped")
    return TrainReport(
        run.step, planned, resumed_at, "asked" if stopped else "time" if run.shortened else "",
        tuple(run.losses), time.monotonic() - begun, "bf16" if bf16 else "fp32", device,
        dict(run.watch.files), score, kept,
    )  # fmt: skip


def _stream(data: Samples, batch_size: int, epoch_steps: int, seed: int, start: int) -> Iterator[Any]:
    """Full batches, epoch after epoch, each epoch in its own order, beginning with step `start`."""
    for epoch in itertools.count(start // epoch_steps):
        skip = start % epoch_steps if epoch == start // epoch_steps else 0
        order = data.batches(batch_size, shuffle_seed=(seed * _STEPS_PER_SEED + epoch) % 2**31)
        yield from itertools.islice(order, skip, epoch_steps)


def _one_step(
    run: TrainingState,
    batch: Any,
    config: TrainConfig,
    loss_of: LossFunction,
    rate: float,
    bf16: bool,
    epoch: int,
    held: HeldWeights | None,
) -> None:
    import torch

    # Randomness depends on (seed, step) alone, so that a resumed run draws what the unbroken one drew.
    seed = (config.seed * _STEPS_PER_SEED + run.step) % 2**63
    torch.manual_seed(seed)
    device = next(run.student.parameters()).device.type
    inputs = _inputs(batch, device, run.channels_last)
    augment = resolve_augment(config.augment, tuple(inputs[0].shape), moves_with_the_image(batch.labels))
    if len(inputs) == 1 and inputs[0].ndim == 4:
        inputs = (augment_batch(inputs[0], augment, torch.Generator().manual_seed(seed)),)
    labels = None if batch.labels is None else torch.as_tensor(batch.labels, device=device)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        loss = loss_of(run.student, inputs, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if held is not None:
        held.stop_gradients(run.student)
    torch.nn.utils.clip_grad_norm_(run.student.parameters(), 5.0)
    run.optimizer.step()
    if held is not None:
        held.restore(run.student)
    run.step += 1
    if run.average is not None:
        run.average.update(run.student, run.step)
    if epoch >= len(run.losses):
        run.losses.append(0.0)
        run.counts.append(0)
    run.counts[epoch] += 1
    run.losses[epoch] += (float(loss.detach()) - run.losses[epoch]) / run.counts[epoch]
    if run.step % _CHECK_EVERY == 0:
        check_finite(run)


def _lay_out(run: TrainingState, batch: Any) -> None:
    """Channels-last trains faster, but not every network runs in it: `x.view(-1, C * H * W)` wants contiguous tensors.

    What a convolution makes is channels-last where its input or its weight is, so the teacher, with plain weights,
    follows the student's inputs.
    """
    import torch

    student = run.student
    inputs = tuple(tensor[:1] for tensor in _inputs(batch, next(student.parameters()).device.type, True))
    if not any(tensor.ndim == 4 for tensor in inputs):
        return
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with torch.no_grad():
            student.eval()(*inputs)
        run.channels_last = True
    except RuntimeError:
        student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    student.train()


def _inputs(batch: Any, device: str, channels_last: bool) -> tuple[torch.Tensor, ...]:
    import torch

    tensors = tuple(to_tensor(array, device) for array in batch.inputs)
    if not channels_last:
        return tensors
    return tuple(
        tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for tensor in tensors
    )


def _frozen(teacher: torch.nn.Module, device: str) -> torch.nn.Module:
    return copy.deepcopy(teacher).to(device).eval()
