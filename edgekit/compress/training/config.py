"""How a network is trained on, as plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from edgekit.compress.training.augment import Augment
from edgekit.compress.training.kinds import read_outputs
from edgekit.errors import UserError

__all__ = ["TrainConfig", "one_cycle"]

RATES: Mapping[str, float] = {"sgd": 0.05, "adamw": 5e-4}
"""Optimizer → the peak of its learning rate."""


@dataclass(frozen=True)
class TrainConfig:
    """One fine-tuning run.

    epochs: may be a fraction. optimizer, learning_rate (the peak of one cycle; None: the optimizer's own): see
    optimizing.py. temperature, alpha: see distill.py; alpha 1 is plain training, 0 distillation alone (taken by itself
    where there are no labels). outputs: what outputs are, a word or one for each with commas between, see kinds.py.
    augment: see augment.py; "flip" and "crop-flip" must be asked for, or meant by "auto" (3-channel images).
    threads: of torch, None leaves them as they are. device: "auto" takes CUDA where it is.
    loss, step: "file.py:function" or "package.module:function", see loss.py.
    aside: share of the samples that nothing is trained on; what the weights score on them is told, and chooses between
    the last and the averaged ones (see aside.py). average: decay of an exponential moving average of the weights over
    steps, 0 for none, e.g. 0.998 (see average.py).
    """

    epochs: float = 15.0
    learning_rate: float | None = None
    batch_size: int = 128
    weight_decay: float = 5e-4
    temperature: float = 4.0
    alpha: float = 0.3
    seed: int = 0
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    augment: Augment = "auto"
    threads: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loss: str | None = None
    step: str | None = None
    aside: float = 0.0
    average: float = 0.0
    outputs: str = "auto"

    def __post_init__(self) -> None:
        _positive(epochs=self.epochs, temperature=self.temperature)
        if self.learning_rate is not None:
            _positive(learning_rate=self.learning_rate)
        if self.batch_size < 2:
            raise UserError(
                f"batch_size is {self.batch_size}", allowed="2 or more (batch norm needs two samples)"
            )
        if not 0.0 <= self.alpha <= 1.0:
            raise UserError(f"alpha is {self.alpha}", allowed="0 (teacher alone) to 1 (labels alone)")
        if not 0.0 <= self.weight_decay < 1.0:
            raise UserError(f"weight_decay is {self.weight_decay}", allowed="0 or more and below 1")
        if not 0.0 <= self.aside <= 0.5:
            raise UserError(f"aside is {self.aside}", allowed="0 (nothing) to 0.5 of the training samples")
        if not 0.0 <= self.average < 1.0:
            raise UserError(f"average is {self.average}", allowed="0 (none), or a decay below 1, e.g. 0.998")
        for name, value, allowed in (
            ("optimizer", self.optimizer, ("auto", "sgd", "adamw")),
            ("augment", self.augment, get_args(Augment)),
            ("device", self.device, ("auto", "cpu", "cuda")),
        ):
            if value not in allowed:
                raise UserError(f"{name} is {value!r}", allowed=", ".join(allowed))
        read_outputs(self.outputs)
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is {self.threads}", allowed="1 or more")

    @property
    def peak(self) -> float:
        """The learning rate's; of a configuration with its optimizer settled (see optimizing.py)."""
        return RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the resulting weights."""
        fields = dataclasses.asdict(self)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def one_cycle(progress: float, peak: float) -> float:
    """Learning rate at `progress` (0 to 1): up from peak/10 in the first fifth, then a cosine down."""
    rise = 0.2
    if progress < rise:
        return peak * (0.1 + 0.9 * progress / rise)
    fall = min(1.0, (progress - rise) / (1.0 - rise))
    return peak * (0.001 + 0.999 * 0.5 * (1.0 + math.cos(math.pi * fall)))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise UserError(f"{name} is {value}", allowed="a number above 0")
