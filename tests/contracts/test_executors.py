"""Every executor of the table passes the contract."""

from __future__ import annotations

from pathlib import Path

from edgekit.building.executor import EXECUTORS, Executor, make_executor
from edgekit.testing.building_fakes import FakeExecutor
from edgekit.testing.executor_contract import ExecutorContract


class TestProcess(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return make_executor("process", log)


class TestInProcess(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return make_executor("in-process", log)


class TestFake(ExecutorContract):
    def make_executor(self, log: Path) -> Executor:
        return FakeExecutor(log)


def test_every_executor_of_the_table_is_under_the_contract() -> None:
    assert set(EXECUTORS) == {"process", "in-process", "ray"}
