"""The environment beside a number."""

from __future__ import annotations

from edgekit.board.machine import describe
from edgekit.measure import read_environment


def test_the_runners_facts_become_an_environment() -> None:
    facts = describe()
    environment = read_environment(facts, threads=2, cpus=[0, 1], notes=["busy"])
    assert environment.cpu == facts["cpu"]
    assert environment.versions["numpy"] == facts["versions"]["numpy"]
    assert (environment.threads, environment.pinned_cpus, environment.notes) == (2, (0, 1), ("busy",))
