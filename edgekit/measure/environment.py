"""The runner's facts of a machine, as the environment that stands beside every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.types import Environment, SensorReading

__all__ = ["read_environment"]


def read_environment(
    facts: Mapping[str, Any],
    *,
    threads: int,
    cpus: Sequence[int] = (),
    notes: Sequence[str] = (),
    sensors: Mapping[str, Any] | None = None,
) -> Environment:
    """`facts` as the runner's `describe` gives them; `cpus` the CPUs that the process was pinned to.

    `sensors`: the runner's readings {before, after} of a job; None where no job ran.
    """
    return Environment(
        machine=str(facts["machine"]),
        cpu=str(facts["cpu"]),
        features=tuple(facts["features"]),
        cores=int(facts["cores"]),
        memory_bytes=int(facts["memory_bytes"]),
        os=str(facts["os"]),
        python=str(facts["python"]),
        versions=dict(facts["versions"]),
        threads=threads,
        pinned_cpus=tuple(cpus),
        governor=str(facts["governor"]),
        load_1m=float(facts["load_1m"]),
        notes=tuple(notes),
        sensors_before=None if sensors is None else _reading(sensors["before"]),
        sensors_after=None if sensors is None else _reading(sensors["after"]),
    )


def _reading(raw: Mapping[str, Mapping[str, float]]) -> SensorReading:
    return SensorReading(dict(raw["temperature_c"]), dict(raw["clock_mhz"]))
