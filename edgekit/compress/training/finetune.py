"""Fine-tuning with or without a teacher: deterministic for a seed, checkpointed, resumable."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import Samples, to_tensor
from edgekit.compress.training.accelerate import multiplies_bf16, resolve_device
from edgekit.compress.training.augment import augment_batch, resolve_augment
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.compress.training.config import TrainConfig, one_cycle
from edgekit.compress.training.goal import moves_with_the_image
from edgekit.compress.training.loss import LossFunction, make_loss
from edgekit.errors import DataError, ModelError, StageError
from edgekit.opened import FileWatch, digests_now
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
    the loss or step has read, path → SHA-256.
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


@dataclass
class _Run:
    """The mutable state of one training run."""

    student: torch.nn.Module
    optimizer: torch.optim.Optimizer
    names: dict[torch.nn.Parameter, str]
    fingerprint: str
    step: int = 0
    shortened: bool = False
    channels_last: bool = False
    losses: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    watch: FileWatch = field(default_factory=FileWatch)


def finetune(
    student: torch.nn.Module,
    data: Samples,
    config: TrainConfig,
    *,
    teacher: torch.nn.Module | None = None,
    progress: Step | None = None,
    checkpoint: Path | None = None,
    save_every_s: float = 60.0,
    should_stop: Callable[[], bool] | None = None,
    time_limit_s: float | None = None,
) -> TrainReport:
    """Train `student` in place on `data`; leave it in eval mode on the CPU.

    checkpoint: a file; written at each epoch's end and every `save_every_s`. If it is there and belongs to
    the same run (configuration, structure, number of samples, files that the loss or step has read), training goes on
    from it and ends with the same weights as an uninterrupted run, bit for bit on a CPU; a damaged or foreign one is
    ignored.
    time_limit_s: where the whole run would take longer, the schedule is shortened to fit. A checkpoint of a shortened
    run is no part of a whole one: only a run with a time limit goes on from it.
    Raises DataError when there is nothing to learn from, StageError when the loss is not finite.
    """
    import torch

    if len(data) < 2:
        raise DataError(f"fine-tuning got {len(data)} samples", allowed="2 or more")
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            return _train(
                student, data, config, teacher, progress or SilentStep(), checkpoint, save_every_s,
                should_stop or (lambda: False), time_limit_s,
            )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
        student.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def _train(
    student: torch.nn.Module,
    data: Samples,
    config: TrainConfig,
    teacher: torch.nn.Module | None,
    progress: Step,
    checkpoint: Path | None,
    save_every_s: float,
    should_stop: Callable[[], bool],
    time_limit_s: float | None,
) -> TrainReport:
    device = resolve_device(config.device)
    bf16 = multiplies_bf16(device)
    batch_size = min(config.batch_size, len(data))
    epoch_steps = len(data) // batch_size
    planned = max(1, math.ceil(config.epochs * epoch_steps))
    run = _begin(student.to(device), config, len(data), device)
    if checkpoint is not None:
        _resume(run, checkpoint, limited=time_limit_s is not None)
    resumed_at, begun = run.step, time.monotonic()
    loss_of = make_loss(config, None if teacher is None else _frozen(teacher, device), data.labels, run.watch)
    clock = _Clock(planned, resumed_at, time_limit_s)
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
        _one_step(run, batch, config, loss_of, one_cycle(share, config.learning_rate), bf16, epoch)
        progress.advance(
            share, f"epoch {epoch + 1}/{math.ceil(planned / epoch_steps)} loss {run.losses[-1]:.3f}"
        )
        due = run.step % epoch_steps == 0 or time.monotonic() - saved > save_every_s
        if checkpoint is not None and due:
            _check_finite(run)
            _save(run, checkpoint)
            saved = time.monotonic()
    _check_finite(run)
    if checkpoint is not None:
        _save(run, checkpoint)
    progress.advance(clock.progress(run.step), "done" if not stopped else "stopped")
    return TrainReport(
        run.step, planned, resumed_at, "asked" if stopped else "time" if run.shortened else "",
        tuple(run.losses), time.monotonic() - begun, "bf16" if bf16 else "fp32", device,
        dict(run.watch.files),
    )  # fmt: skip


def _stream(data: Samples, batch_size: int, epoch_steps: int, seed: int, start: int) -> Iterator[Any]:
    """Full batches, epoch after epoch, each epoch in its own order, beginning with step `start`."""
    for epoch in itertools.count(start // epoch_steps):
        skip = start % epoch_steps if epoch == start // epoch_steps else 0
        order = data.batches(batch_size, shuffle_seed=(seed * _STEPS_PER_SEED + epoch) % 2**31)
        yield from itertools.islice(order, skip, epoch_steps)


def _one_step(
    run: _Run, batch: Any, config: TrainConfig, loss_of: LossFunction, rate: float, bf16: bool, epoch: int
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
    torch.nn.utils.clip_grad_norm_(run.student.parameters(), 5.0)
    run.optimizer.step()
    run.step += 1
    if epoch >= len(run.losses):
        run.losses.append(0.0)
        run.counts.append(0)
    run.counts[epoch] += 1
    run.losses[epoch] += (float(loss.detach()) - run.losses[epoch]) / run.counts[epoch]
    if run.step % _CHECK_EVERY == 0:
        _check_finite(run)


class _Clock:
    """How far the schedule is: by steps, or by time where the time limit would cut the steps short."""

    def __init__(self, planned: int, start: int, limit_s: float | None) -> None:
        self._planned, self._start, self._limit_s = planned, start, limit_s
        self._begun = time.monotonic()
        self._last = 0.0
        self.shortened = False

    def progress(self, step: int) -> float:
        """0 to 1, never falling."""
        share = step / self._planned
        if self._limit_s is not None:
            spent = time.monotonic() - self._begun
            done = step - self._start
            needed = spent / done * (self._planned - self._start) if done else 0.0
            if needed > self._limit_s and spent > 0.02 * self._limit_s:
                first = self._start / self._planned
                self.shortened = True
                share = max(share, first + (1.0 - first) * spent / self._limit_s)
        self._last = min(1.0, max(self._last, share))
        return self._last


def _begin(student: torch.nn.Module, config: TrainConfig, samples: int, device: str) -> _Run:
    import torch

    student.train()
    names = {parameter: name for name, parameter in student.named_parameters() if parameter.requires_grad}
    decayed = [parameter for parameter in names if parameter.ndim > 1]
    others = [parameter for parameter in names if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in student.state_dict().items()]
    fingerprint = hashlib.sha256(f"{config.digest} {samples} {shapes}".encode()).hexdigest()
    return _Run(student, optimizer, names, fingerprint)


def _save(run: _Run, path: Path) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in run.student.state_dict().items()}
    for parameter, name in run.names.items():
        for key, value in run.optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer.{key}.{name}"] = value
    note = {
        "fingerprint": run.fingerprint,
        "step": run.step,
        "shortened": run.shortened,
        "losses": run.losses,
        "counts": run.counts,
        "opened": run.watch.files,
    }
    write_tensors(path, tensors, note)


def _resume(run: _Run, path: Path, *, limited: bool) -> None:
    import torch

    if not path.exists():
        return
    try:
        tensors, note = read_tensors(path)
    except ModelError:
        return  # a torn or foreign checkpoint: start over, it will be overwritten
    run.shortened, opened = bool(note.get("shortened")), note.get("opened", {})
    foreign = note.get("fingerprint") != run.fingerprint or opened != digests_now(opened)
    if foreign or (run.shortened and not limited):
        run.shortened = False
        return
    run.watch.recall(opened)
    with torch.no_grad():
        for name, tensor in run.student.state_dict().items():
            tensor.copy_(tensors[f"model.{name}"])
        by_name = {name: parameter for parameter, name in run.names.items()}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind != "optimizer":
                continue
            slot, _, name = rest.partition(".")
            owner = by_name[name]
            placed = torch.empty_like(owner).copy_(tensor) if tensor.shape == owner.shape else tensor
            run.optimizer.state[owner][slot] = placed
    run.step, run.losses, run.counts = int(note["step"]), list(note["losses"]), list(note["counts"])


def _lay_out(run: _Run, batch: Any) -> None:
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


def _check_finite(run: _Run) -> None:
    if run.losses and not math.isfinite(run.losses[-1]):
        raise StageError(
            "finetune", f"the loss is not finite after {run.step} steps", "lower the learning rate"
        )
