"""The numbers and choices of a request: which of them make sense, in one table, whoever wrote them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import get_args, get_type_hints

from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.compress import read_outputs
from edgekit.errors import BudgetError, DataError, UserError
from edgekit.labels import ERROR_METRICS
from edgekit.types import QatChoice
from edgekit.types.measurements import LARGEST_SEED, Percentile

__all__ = ["refuse_bad_numbers"]

MOST_THREADS = 1024
LONGEST_TIMED_S = 600.0  # a measurement has a time-out of its own
LARGEST = sys.float_info.max


@dataclass(frozen=True)
class NumberRange:
    """What a number may be: within the limits, or also at them (`closed`); `whole`: without a fraction."""

    low: float
    high: float
    allowed: str
    closed: bool = True
    whole: bool = False

    def holds(self, value: object) -> bool:
        """Whether `value` is such a number. NaN and infinity are none, nor is a truth value."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        # A whole number stays one: not every one fits into a float.
        number = int(value) if isinstance(value, Integral) else float(value)
        return self.low <= number <= self.high if self.closed else self.low < number < self.high


POSITIVE = NumberRange(0.0, LARGEST, "a number above 0", closed=False)
NOT_NEGATIVE = NumberRange(0.0, LARGEST, "a number of 0 or more, in the labels' unit")
ANY = NumberRange(-LARGEST, LARGEST, "a finite number")
COUNT = NumberRange(1, 2**63 - 1, "a whole number from 1 on", whole=True)
BUDGET = {
    "max_latency_ms": POSITIVE,
    "max_drop": NumberRange(0.0, 1.0, "a share from 0 to 1: 0.01 is one point"),
    "max_size_bytes": COUNT,
    "max_memory_bytes": COUNT,
    "max_energy_mj": POSITIVE,
    "confidence": NumberRange(0.5, 0.9999, "a share from 0.5 to 0.9999: 0.95 is 95 %"),
}
REQUEST = {
    "threads": NumberRange(1, MOST_THREADS, f"a whole number from 1 to {MOST_THREADS}", whole=True),
    "calibration_samples": COUNT,
    "seed": NumberRange(0, LARGEST_SEED, f"a whole number from 0 to {LARGEST_SEED}", whole=True),
    "time_limit_s": POSITIVE,
    "timed_s": NumberRange(
        sys.float_info.min, LONGEST_TIMED_S, f"seconds above 0 and up to {LONGEST_TIMED_S:g}"
    ),
}
TRAIN = {
    "epochs": POSITIVE,
    "step_epochs": POSITIVE,
    "learning_rate": POSITIVE,
    "qat_epochs": POSITIVE,
    "batch_size": NumberRange(2, 2**31 - 1, "2 or more (batch norm needs two samples)", whole=True),
    "temperature": POSITIVE,
    "alpha": NumberRange(0.0, 1.0, "0 (teacher alone) to 1 (labels alone)"),
    "step_ratio": NumberRange(0.0, 1.0, "between 0 and 1, as 0.1", closed=False),
}
PREPROCESS = {"resize": COUNT, "crop": COUNT}
OPTIONAL = frozenset((*BUDGET, "time_limit_s", "epochs", "learning_rate", "qat_epochs", "resize", "crop"))
"""None says: not asked for."""
CHOICES = {"percentile": get_args(Percentile)}
REQUEST_CHOICES = {"qat": get_args(QatChoice)}
TRAIN_CHOICES = {
    name: get_args(get_type_hints(TrainOptions)[name]) for name in ("importance", "optimizer", "device")
}


def refuse_bad_numbers(request: BuildRequest) -> None:
    """Raises UserError (BudgetError, DataError) for the first value that makes no sense, with what is allowed."""
    _refuse_other(BudgetError, request.budget, CHOICES)
    _refuse_other(UserError, request, REQUEST_CHOICES)
    _refuse_other(UserError, request.train, TRAIN_CHOICES)
    read_outputs(request.train.outputs)
    budget = {**BUDGET, "max_drop": NOT_NEGATIVE} if request.metric in ERROR_METRICS else BUDGET
    for error, part, table in (
        (BudgetError, request.budget, budget),
        (UserError, request, REQUEST),
        (UserError, request.train, TRAIN),
        (DataError, request.preprocess, PREPROCESS),
    ):
        for name, allowed in table.items():
            value = getattr(part, name)
            values = value if isinstance(value, tuple) else (value,)
            if not (value is None and name in OPTIONAL) and not all(map(allowed.holds, values)):
                raise error(f"{name} is {value!r:.80}", allowed=allowed.allowed)
    for name, value in divisors(request):
        if not ANY.holds(value) or (name != "mean" and value == 0):
            raise DataError(f"{name} is {value!r:.80}", allowed="finite numbers, and no divisor of 0")


def _refuse_other(error: type[UserError], part: object, choices: Mapping[str, Sequence[str]]) -> None:
    for name, offered in choices.items():
        if getattr(part, name) not in offered:
            raise error(f"{name} is {getattr(part, name)!r:.80}", allowed=", ".join(offered))


def divisors(request: BuildRequest) -> Iterator[tuple[str, object]]:
    """Preprocessing's numbers by name: what samples are divided by, and what is subtracted."""
    preprocess = request.preprocess
    yield "scale", preprocess.scale
    for name in ("mean", "std"):
        for value in getattr(preprocess, name):
            yield name, value
