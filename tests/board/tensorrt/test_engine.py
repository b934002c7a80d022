"""Engines are built on arrival, kept with a record of how, and built again when it no longer fits.

TensorRT-RTX builds for real here, ahead of time for a GPU that need not be present.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends.tensorrt.build_recipe import recipe_for
from edgekit.board.commands import main
from edgekit.board.files import sha256_file
from edgekit.board.sessions.opening import open_session, prepare_artifact
from edgekit.board.tensorrt import kept
from edgekit.board.tensorrt.cuda import gpu
from edgekit.board.tensorrt.engine import engine_for, find_golden, self_test
from edgekit.board.tensorrt.library import EngineError
from edgekit.hardware import find_target
from tests.devices.models import write_classifier

trt = pytest.importorskip("tensorrt_rtx")
SM = "sm_89"


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines are kept here for all folders."""
    monkeypatch.setenv("EDGEKIT_ENGINES", str(tmp_path / "shared"))
    return tmp_path / "shared"


def write_artifact(folder: Path) -> Path:
    """A folder with model.onnx and build.json for rtx-ada."""
    folder.mkdir()
    write_classifier(folder / "model.onnx")
    (folder / "build.json").write_bytes(recipe_for(find_target("rtx-ada"), "fp32", "", 17).encode())
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "artifact")


def change(folder: Path, **values: Any) -> None:
    path = folder / "build.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "engine" / "model.engine.json").read_text())
    return content


def build(folder: Path) -> tuple[str, list[str]]:
    """Why it was built, and what was said."""
    said: list[str] = []
    _, reason = engine_for(str(folder), said.append, SM)
    return reason, said


def test_the_first_time_it_is_built_and_recorded(artifact: Path) -> None:
    reason, said = build(artifact)
    assert reason == "there is no engine yet"
    assert "building the engine" in said[0]
    assert (artifact / "engine" / "model.engine").stat().st_size > 10_000
    written = record(artifact)
    assert (written["library"], written["version"], written["sm"]) == ("tensorrt_rtx", trt.__version__, SM)
    assert written["files"]["model.onnx"] == sha256_file(str(artifact / "model.onnx"))


def test_the_second_time_it_is_found(artifact: Path) -> None:
    build(artifact)
    assert build(artifact) == ("", [])


def test_an_engine_of_another_version_is_built_again_and_that_is_said(artifact: Path) -> None:
    build(artifact)
    path = artifact / "engine" / "model.engine.json"
    path.write_text(json.dumps({**record(artifact), "version": "1.0.0"}))
    reason, said = build(artifact)
    assert reason == f"it was built by another version: 1.0.0, here it is {trt.__version__}"
    assert reason in said[0]
    assert record(artifact)["version"] == trt.__version__


def test_an_engine_of_another_gpu_is_built_again(artifact: Path) -> None:
    build(artifact)
    path = artifact / "engine" / "model.engine.json"
    path.write_text(json.dumps({**record(artifact), "sm": "sm_86"}))
    assert "another GPU architecture: sm_86" in build(artifact)[0]


def test_an_engine_of_another_network_is_built_again(artifact: Path) -> None:
    build(artifact)
    write_classifier(artifact / "model.onnx", seed=1)
    assert build(artifact)[0] == "it was built from other files"


def test_an_engine_that_was_changed_is_built_again(artifact: Path) -> None:
    build(artifact)
    (artifact / "engine" / "model.engine").write_bytes(b"cut")
    assert build(artifact)[0] == "the engine file was changed"


def test_a_damaged_record_is_no_record(artifact: Path) -> None:
    build(artifact)
    (artifact / "engine" / "model.engine.json").write_text("{")
    assert "cannot be read" in build(artifact)[0]


def test_the_same_artifact_in_another_folder_takes_the_engine_that_is_there(
    artifact: Path, tmp_path: Path
) -> None:
    build(artifact)
    twin = write_artifact(tmp_path / "twin")
    assert build(twin) == ("", ["the engine was built here before"])
    engines = [(folder / "engine" / "model.engine").read_bytes() for folder in (artifact, twin)]
    assert engines[0] == engines[1]


def test_a_shared_engine_that_was_changed_is_not_taken(artifact: Path, shared: Path, tmp_path: Path) -> None:
    build(artifact)
    next(shared.glob("*/model.engine")).write_bytes(b"cut")
    assert build(write_artifact(tmp_path / "twin"))[0] == "there is no engine yet"


def test_the_oldest_shared_engines_go(artifact: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SHARED", 1)
    build(artifact)
    write_classifier(artifact / "model.onnx", seed=1)
    build(artifact)
    assert len(list(shared.iterdir())) == 1


def test_a_place_that_cannot_be_written_costs_no_build(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_ENGINES", str(tmp_path / "file" / "below"))
    assert build(artifact)[0] == "there is no engine yet"
    assert (artifact / "engine" / "model.engine").is_file()


def test_another_tensorrt_than_the_builds_is_refused(artifact: Path) -> None:
    change(artifact, versions=">=9.0,<9.1")
    with pytest.raises(EngineError, match=r"for tensorrt_rtx >=9\.0,<9\.1, this machine has"):
        build(artifact)


def test_another_gpu_than_the_builds_is_refused(artifact: Path) -> None:
    change(artifact, sm="sm_86")
    with pytest.raises(EngineError, match="for a GPU of sm_86, this one is sm_89"):
        build(artifact)


def test_without_a_gpu_nothing_is_built(artifact: Path) -> None:
    if gpu() is None:
        with pytest.raises(EngineError, match="built on the board"):
            engine_for(str(artifact))


def test_the_parsers_errors_name_the_node(artifact: Path) -> None:
    model = onnx.load(str(artifact / "model.onnx"))
    model.graph.node[1].op_type, model.graph.node[1].name = "Hardmax2", "odd"
    onnx.save(model, str(artifact / "model.onnx"))
    with pytest.raises(EngineError, match="odd"):
        build(artifact)


def test_a_truncated_network_is_refused(artifact: Path) -> None:
    path = artifact / "model.onnx"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EngineError):
        build(artifact)


def test_a_dynamic_network_is_refused(artifact: Path) -> None:
    write_classifier(artifact / "model.onnx", batch="n")
    with pytest.raises(EngineError, match="input input has a dynamic shape"):
        build(artifact)


def test_a_chip_that_it_does_not_compile_for_is_named_with_those_it_does(artifact: Path) -> None:
    change(artifact, sm="")
    with pytest.raises(EngineError, match=r"does not compile for SM53; it knows .*SM89"):
        engine_for(str(artifact), compile_for="sm_53")


def test_a_flag_that_the_library_lacks_is_named(artifact: Path) -> None:
    change(artifact, typing="weak", flags=["FP16"])
    with pytest.raises(EngineError, match="no builder flag FP16"):
        build(artifact)


def test_a_recipe_of_another_schema_is_refused(artifact: Path) -> None:
    change(artifact, schema=9)
    with pytest.raises(EngineError, match="schema 1"):
        build(artifact)


def write_golden(folder: Path, *, off: float = 0.0) -> str:
    inputs = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    with open_session("onnxruntime", str(folder / "model.onnx")) as session:
        outputs = np.concatenate([session.run({"input": sample[None]})["scores"] for sample in inputs])
    np.savez(folder / "golden.npz", in0=inputs, out0=outputs + off)
    return str(folder / "golden.npz")


def test_the_self_test_passes_on_golden_outputs(artifact: Path) -> None:
    golden = write_golden(artifact)
    with open_session("onnxruntime", str(artifact / "model.onnx")) as session:
        tested = self_test(session, golden, 1e-3)
    assert (tested["samples"], tested["off"] <= 1e-5) == (3, True)


def test_the_self_test_refuses_what_is_off(artifact: Path) -> None:
    golden = write_golden(artifact, off=10.0)
    with (
        open_session("onnxruntime", str(artifact / "model.onnx")) as session,
        pytest.raises(EngineError, match="does not give its golden outputs"),
    ):
        self_test(session, golden, 1e-3)


def test_golden_outputs_are_found_beside_the_network_or_above_it(artifact: Path) -> None:
    golden = write_golden(artifact)
    (artifact / "model").mkdir()
    assert find_golden(str(artifact)) == find_golden(str(artifact / "model")) == golden


def test_its_command_says_what_stands_in_the_way(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(artifact, versions=">=9.0,<9.1")
    code = main(["engine", str(artifact)])
    told = capsys.readouterr().err
    assert code == 1
    assert told.startswith("engine: ")


def test_its_command_takes_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["engine"])
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_session_builds_the_engine_first(artifact: Path) -> None:
    change(artifact, versions=">=9.0,<9.1")
    with pytest.raises(RuntimeError, match=r">=9\.0,<9\.1|no NVIDIA GPU"):
        open_session("tensorrt", str(artifact / "model.onnx"))


def test_the_engine_is_built_in_a_process_of_its_own_whose_last_words_are_the_reason(artifact: Path) -> None:
    change(artifact, versions=">=9.0,<9.1")
    with pytest.raises(RuntimeError, match=r"^engine: .*(>=9\.0,<9\.1|no NVIDIA GPU)"):
        prepare_artifact("tensorrt", str(artifact / "model.onnx"))


# ---- the builder's optimization level ----------------------------------------------------------------------


def test_an_engine_of_another_level_lies_beside_and_takes_none_of_the_first(
    artifact: Path, shared: Path
) -> None:
    build(artifact)
    said: list[str] = []
    path, reason = engine_for(str(artifact), said.append, SM, level=5)
    assert Path(path).parent == artifact / "engine-level-5"
    assert reason == "there is no engine yet"
    assert "building the engine" in said[0]  # and not taken from what is kept of the default's
    assert json.loads((artifact / "engine-level-5/model.engine.json").read_text())["builder_level"] == 5
    assert "builder_level" not in record(artifact)
    assert len(list(shared.iterdir())) == 2
    assert engine_for(str(artifact), None, SM, level=5)[1] == ""
    assert build(artifact)[0] == ""


def test_an_engine_of_a_level_is_built_again_where_its_record_says_another(artifact: Path) -> None:
    engine_for(str(artifact), None, SM, level=5)
    path = artifact / "engine-level-5/model.engine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "builder_level": 4}))
    assert "another level" in engine_for(str(artifact), None, SM, level=5)[1]


@pytest.mark.parametrize("level", ["6", "-1", "three", ""])
def test_a_level_that_there_is_none_of_is_refused(artifact: Path, level: str) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 5"):
        open_session("tensorrt", str(artifact / "model.onnx"), {"builder_level": level})
