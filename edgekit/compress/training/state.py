"""The mutable state of one training: weights, their average, the optimizer; written to a checkpoint and read back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.training.average import Average
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.errors import ModelError, StageError
from edgekit.opened import FileWatch, digests_now

if TYPE_CHECKING:
    import torch

    from edgekit.compress.training.config import TrainConfig

__all__ = ["TrainingState", "begin_training", "check_finite", "resume", "save_checkpoint"]


@dataclass
class TrainingState:
    """One training, at `step`. `names`: of the parameters that are trained. `average`: None where none is wanted."""

    student: torch.nn.Module
    optimizer: torch.optim.Optimizer
    names: dict[torch.nn.Parameter, str]
    fingerprint: str
    average: Average | None
    step: int = 0
    shortened: bool = False
    channels_last: bool = False
    losses: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    watch: FileWatch = field(default_factory=FileWatch)


def begin_training(student: torch.nn.Module, config: TrainConfig, samples: int, aside: int) -> TrainingState:
    """The state before the first step on `samples` samples; `aside` are held aside. `student` is in train mode then."""
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
        optimizer = torch.optim.SGD(groups, lr=config.peak, momentum=0.9, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.peak)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in student.state_dict().items()]
    fingerprint = hashlib.sha256(f"{config.digest} {samples} {aside} {shapes}".encode()).hexdigest()
    average = Average(student, config.average) if config.average else None
    return TrainingState(student, optimizer, names, fingerprint, average)


def save_checkpoint(state: TrainingState, path: Path) -> None:
    """All that the next step depends on. Raises StoreError, OutputError."""
    tensors = {f"model.{name}": tensor for name, tensor in state.student.state_dict().items()}
    for parameter, name in state.names.items():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer.{key}.{name}"] = value
    if state.average is not None:
        tensors.update((f"average.{name}", tensor) for name, tensor in state.average.tensors.items())
    note = {
        "fingerprint": state.fingerprint,
        "step": state.step,
        "shortened": state.shortened,
        "losses": state.losses,
        "counts": state.counts,
        "opened": state.watch.files,
    }
    write_tensors(path, tensors, note)


def resume(state: TrainingState, path: Path, *, limited: bool) -> None:
    """Put the checkpoint into `state` where it is one of this training; leave it as it is otherwise.

    `limited`: whether this sitting has a time limit; without one, what a limit shortened is not gone on with.
    """
    import torch

    if not path.exists():
        return
    try:
        tensors, note = read_tensors(path)
    except ModelError:
        return  # a torn or foreign checkpoint: start over, it will be overwritten
    shortened, opened = bool(note.get("shortened")), note.get("opened", {})
    foreign = note.get("fingerprint") != state.fingerprint or opened != digests_now(opened)
    if foreign or (shortened and not limited):
        return
    state.shortened = shortened
    state.watch.recall(opened)
    with torch.no_grad():
        for name, tensor in state.student.state_dict().items():
            tensor.copy_(tensors[f"model.{name}"])
        if state.average is not None:
            for name, tensor in state.average.tensors.items():
                tensor.copy_(tensors[f"average.{name}"])
        by_name = {name: parameter for parameter, name in state.names.items()}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind != "optimizer":
                continue
            slot, _, name = rest.partition(".")
            owner = by_name[name]
            placed = torch.empty_like(owner).copy_(tensor) if tensor.shape == owner.shape else tensor
            state.optimizer.state[owner][slot] = placed
    state.step, state.losses, state.counts = int(note["step"]), list(note["losses"]), list(note["counts"])


def check_finite(state: TrainingState) -> None:
    """Raises StageError where the loss no longer is."""
    if state.losses and not math.isfinite(state.losses[-1]):
        raise StageError(
            "finetune", f"the loss is not finite after {state.step} steps", "lower the learning rate"
        )
