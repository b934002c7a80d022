"""Every executor of the table passes the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.building.cluster.executor import RayExecutor
from edgekit.building.executor import EXECUTORS, Executor, make_executor
from edgekit.testing.building_fakes import FakeExecutor
from edgekit.testing.executor_contract import ExecutorContract


class TestProcess(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return make_executor("process", log)


class TestInProcess(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return make_executor("in-process", log)


class TestRay(ExecutorContract):
    """One connection for all but the test that closes it: each takes seconds."""

    @pytest.fixture(autouse=True)
    def _shared(self, ray_executor: RayExecutor, request: pytest.FixtureRequest) -> None:
        self.shared = None if "closing" in request.node.name else ray_executor

    def make_executor(self, log: Path) -> Executor:
        if self.shared is None:
            return make_executor("ray", log)
        return Kept(self.shared, log)


class Kept(RayExecutor):
    """The same connection with another log; it outlives a test."""

    def __init__(self, executor: RayExecutor, log: Path) -> None:
        self.__dict__.update(executor.__dict__, _log=log)

    def close(self) -> None:
        pass


class TestFake(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return FakeExecutor(log)


def test_every_executor_of_the_table_is_under_the_contract() -> None:
    assert set(EXECUTORS) == {"process", "in-process", "ray"}
