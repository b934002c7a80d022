"""Engine sessions, by both of TensorRT's interfaces, with the GPU faked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.board.tensorrt.library import EngineError
from edgekit.board.tensorrt.session import EngineSession
from tests.board.tensorrt.fake_tensorrt import FakeCuda, FakeTensorRt

VALUES = np.array([[1.0, 2.0, 3.0]], np.float32)


@pytest.fixture(params=["8.2.1.8", "8.5.2", "10.3.0"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> EngineSession:
    path = tmp_path / "model.engine"
    path.write_bytes(b"engine")
    return EngineSession(FakeTensorRt(request.param), str(path), FakeCuda())


def test_the_signature_is_that_of_the_network(session: EngineSession) -> None:
    spec = {"dtype": "float32", "shape": [1, 3]}
    assert session.signature == {"inputs": [{"name": "x", **spec}], "outputs": [{"name": "y", **spec}]}


def test_it_answers(session: EngineSession) -> None:
    np.testing.assert_array_equal(session.run({"x": VALUES})["y"], 2 * VALUES)


def test_answers_of_one_run_survive_the_next(session: EngineSession) -> None:
    first = session.run({"x": VALUES})["y"]
    session.run({"x": 5 * VALUES})
    np.testing.assert_array_equal(first, 2 * VALUES)


def test_a_step_waits_for_the_gpu(session: EngineSession) -> None:
    session.bind({"x": VALUES})
    before = session.cuda.synchronized
    session.step()
    assert session.cuda.synchronized == before + 1


def test_feeds_of_other_names_or_shapes_are_refused(session: EngineSession) -> None:
    with pytest.raises(ValueError, match=r"\['z'\].*\['x'\]"):
        session.run({"z": VALUES})
    with pytest.raises(ValueError, match="the engine takes"):
        session.run({"x": VALUES[:, :2]})


def test_closing_frees_the_device(session: EngineSession) -> None:
    with session:
        pass
    assert session.cuda.closed


def test_an_engine_that_does_not_load_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"of another version")
    with pytest.raises(EngineError, match=r"TensorRT 8\.2\.1 cannot load the engine"):
        EngineSession(FakeTensorRt("8.2.1"), str(path), FakeCuda())
