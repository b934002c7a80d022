"""What was measured of an artifact, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.types.steadiness import Steadiness

__all__ = [
    "LARGEST_SEED",
    "TIMED_S",
    "Accuracy",
    "Agreement",
    "Energy",
    "Environment",
    "Estimate",
    "Latency",
    "Measurement",
    "Origin",
    "Percentile",
    "SensorReading",
    "WorstPart",
]

LARGEST_SEED = 2**32 - 1
"""Of a choice by chance: numpy's RandomState, which boards have, takes no larger one."""

TIMED_S = 3.0
"""Of timed runs of each candidate of a build, where it is not asked for otherwise."""

Origin = Literal["device", "host", "emulated", "estimated"]


Percentile = Literal["p50", "p90", "p99"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval, all in the same unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SensorReading:
    """What a machine told at one moment: degrees Celsius by thermal zone, MHz by CPU. Empty: it tells none."""

    temperature_c: Mapping[str, float] = field(default_factory=dict)
    clock_mhz: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """Where a measurement was taken. `sensors_before` and `sensors_after` the job; None where no job ran."""

    machine: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    os: str
    python: str
    versions: Mapping[str, str]
    threads: int
    pinned_cpus: tuple[int, ...]
    governor: str
    load_1m: float
    notes: tuple[str, ...] = ()
    sensors_before: SensorReading | None = None
    sensors_after: SensorReading | None = None


@dataclass(frozen=True)
class Latency:
    """Batch-1 latency. `rounds_ms` holds the raw samples, one tuple per interleaved round.

    `turns`: its place in the order of each round, 1 for the first. `preemptions`: involuntary context switches
    during the timed runs. `steadiness`: what the board's sensors say. Empty and None where they were not noted.
    """

    p50: Estimate
    p90: Estimate
    p99: Estimate
    rounds_ms: tuple[tuple[float, ...], ...]
    warmup_runs: int
    steady: bool
    turns: tuple[int, ...] = ()
    preemptions: int | None = None
    steadiness: Steadiness | None = None

    def at(self, percentile: Percentile) -> Estimate:
        """The estimate of the named percentile, in milliseconds."""
        return {"p50": self.p50, "p90": self.p90, "p99": self.p99}[percentile]


@dataclass(frozen=True)
class WorstPart:
    """The channel or column of the outputs of which least is `kept` (1: all, 0 and less: nothing), in words."""

    kept: float
    text: str

    @property
    def lost(self) -> bool:
        """Whether less than half of it is kept, which users are told of."""
        return self.kept < 0.5


@dataclass(frozen=True)
class Accuracy:
    """`value` and the paired `drop` from the original (positive: worse), on `samples` samples of `split`.

    `worst_part`: of a comparison with the original's outputs, where there are no labels and no classes.
    `drop_bound`: the high end of the drop's interval at the confidence that was asked for; None: none was.
    """

    metric: str
    split: str
    samples: int
    value: Estimate
    drop: Estimate
    worst_part: WorstPart | None = None
    drop_bound: float | None = None


@dataclass(frozen=True)
class Agreement:
    """`differing` of `samples` samples have another class, or, without classes, a value that differs by over 5 % of its
    output's range. `worst` is the largest difference as a share of the range of `output`, at `worst_sample` (from 0).
    """

    samples: int
    differing: int
    by_class: bool
    worst: float
    worst_sample: int
    output: str


@dataclass(frozen=True)
class Energy:
    """Of one inference, beyond what the idle board takes in that time. `source`: what told the power."""

    per_inference_mj: Estimate
    idle_watts: float
    source: str


@dataclass(frozen=True)
class Measurement:
    """What the runner saw of one artifact. `import_ms`: of the runtime's package; None where it was not timed.

    `energy`: None where it was not asked for or the board does not tell its power. `available_bytes`: memory that the
    machine had free before; None where it is not told.
    """

    candidate: str
    origin: Origin
    environment: Environment
    load_ms: float
    peak_memory_bytes: int
    latency: Latency | None = None
    accuracy: Accuracy | None = None
    import_ms: float | None = None
    energy: Energy | None = None
    available_bytes: int | None = None
