"""The environment beside a number."""

from __future__ import annotations

from edgekit.board.machine import describe
from edgekit.measure import read_environment
from edgekit.types import SensorReading


def test_the_runners_facts_become_an_environment() -> None:
    facts = describe()
    environment = read_environment(facts, threads=2, cpus=[0, 1], notes=["busy"])
    assert environment.cpu == facts["cpu"]
    assert environment.versions["numpy"] == facts["versions"]["numpy"]
    assert (environment.threads, environment.pinned_cpus, environment.notes) == (2, (0, 1), ("busy",))


def test_a_machines_sensors_are_read_before_and_after_a_job() -> None:
    raw = {"temperature_c": {"cpu": 41.5}, "clock_mhz": {"0": 1500.0}}
    silent: dict[str, dict[str, float]] = {"temperature_c": {}, "clock_mhz": {}}
    facts = describe()
    environment = read_environment(facts, threads=1, sensors={"before": raw, "after": silent})
    assert environment.sensors_before == SensorReading({"cpu": 41.5}, {"0": 1500.0})
    assert environment.sensors_after == SensorReading()
    assert read_environment(facts, threads=1).sensors_before is None
