"""The suite that every executor passes. A plug-in's tests subclass `ExecutorContract`; pytest finds its tests there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from edgekit.building.executor import Executor
from edgekit.errors import StageError
from edgekit.testing.building_fakes import FakeTask

__all__ = ["ExecutorContract"]


class ExecutorContract:
    """Subclass it and give an executor."""

    def make_executor(self, log: Path) -> Executor:
        """An executor that writes what libraries say into `log`."""
        raise NotImplementedError

    def test_a_task_is_answered_and_its_files_lie_in_the_folder(self, tmp_path: Path) -> None:
        with closing(self.make_executor(tmp_path / "log")) as executor:
            assert executor.run(FakeTask("file", 7), tmp_path) == 7
        assert (tmp_path / "made").read_text() == "7"

    @pytest.mark.parametrize(
        ("deed", "cause"),
        [
            ("assert", "AssertionError: channels differ: 3 and 4"),
            ("bare", "AssertionError: in building_fakes.py, line "),
            ("error", "FakeError: no such layer"),
            ("exit", "SystemExit: the compiler gave up"),
        ],
    )
    def test_whatever_a_library_throws_is_told_in_one_line_and_the_log_has_the_traceback(
        self, tmp_path: Path, deed: str, cause: str
    ) -> None:
        with closing(self.make_executor(tmp_path / "log")) as executor:
            with pytest.raises(StageError) as caught:
                executor.run(FakeTask(deed), tmp_path)  # type: ignore[arg-type]
            assert executor.run(FakeTask("answer", 3), tmp_path) == 3
        assert caught.value.stage == "fake"
        assert caught.value.cause.startswith(cause)
        assert "\n" not in caught.value.cause
        log = (tmp_path / "log").read_text()
        assert "Traceback" in log
        assert "in perform" in log

    def test_what_edgekit_itself_raises_keeps_its_words(self, tmp_path: Path) -> None:
        with closing(self.make_executor(tmp_path / "log")) as executor:
            with pytest.raises(StageError) as of_user:
                executor.run(FakeTask("user"), tmp_path)
            with pytest.raises(StageError) as of_stage:
                executor.run(FakeTask("stage"), tmp_path)
        assert of_user.value.cause == "net.onnx cannot be opened; export it again"
        told = of_stage.value
        assert (told.stage, told.cause, told.remedy) == ("quantize", "no range", "more samples")

    def test_closing_twice_is_nothing(self, tmp_path: Path) -> None:
        executor = self.make_executor(tmp_path / "log")
        executor.run(FakeTask("answer"), tmp_path)
        executor.close()
        executor.close()
