"""One row more in a table is all that a new runtime or a new device needs: a build uses it, nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgekit
from edgekit.bundle import read_manifest, verify_bundle
from edgekit.devices import DEVICES
from edgekit.errors import UserError
from edgekit.result import Result
from edgekit.runtimes import RUNTIMES
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.testing.fake_runtime import FAKE_RUNTIME, make_board

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FEATURES, CLASSES, SAMPLES = 12, 3, 600

BOARD = """\
name = "fake-board"
title = "A made-up board"
family = "fake"
architecture = "aarch64"

[sources]
sheet = "Made up"

[identity]
models = ["Fake Board"]
source = ["sheet"]

[memory]
sizes_bytes = [1_000_000_000]
source = ["sheet"]

[channels]
multiples = { fp32 = 8 }
source = ["sheet"]

[[runtimes]]
name = "onnxruntime"
versions = ">=1.22"
precisions = ["fp32"]
opset_max = 21
source = ["sheet"]

[[runtimes]]
name = "NAME"
versions = ">=1"
precisions = ["fp32", "int8"]
opset_max = 21
source = ["sheet"]

[[int8]]
activation = "int8"
weight = "int8"
weight_bits = 8
why = "made up"
source = ["sheet"]
"""

RECIPE = """\
name = "fake-int8"
title = "INT8 of the fake runtime"
backends = ["fake-runtime"]
observer = "minmax"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that holds nothing yet; the user's config folder is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("targets", "calibration"):
        (tmp_path / name).mkdir()
    return tmp_path


def samples() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three clouds of points that a line tells apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % CLASSES
    centres = 3 * np.eye(CLASSES, FEATURES)
    return (centres[labels] + rng.standard_normal((SAMPLES, FEATURES))).astype(np.float32), labels


def write_network(path: Path) -> Path:
    """x [1, 12] → Gemm → scores [1, 3]: the centres of the clouds as weights."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {"w": 3 * np.eye(CLASSES, FEATURES, dtype=np.float32), "b": np.zeros(CLASSES, np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["scores"], "gemm", transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def build(project: Path, **options: object) -> Result:
    return edgekit.build(
        target="fake-board",
        model=write_network(project / "net.onnx"),
        data=samples(),
        max_latency_ms=100.0,
        max_drop=0.05,
        out=project / "out",
        store=project / "store",
        prune=False,
        timed_s=0.3,
        repeat=False,
        calibration_samples=64,
        **options,
    )


def add_board(monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], FakeBoardDevice]) -> None:
    monkeypatch.setitem(DEVICES, "fake-board", (make.__module__, make.__name__))  # type: ignore[arg-type]


def test_a_runtime_is_one_row(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, FAKE_RUNTIME.name, FAKE_RUNTIME)  # type: ignore[arg-type]
    add_board(monkeypatch, make_board)
    (project / "targets" / "fake-board.toml").write_text(BOARD.replace("NAME", FAKE_RUNTIME.name))
    (project / "calibration" / "fake-int8.toml").write_text(RECIPE)

    result = build(project, device="fake-board", executor="in-process")

    made = {(candidate.id, candidate.precision, candidate.recipe) for candidate in result.candidates}
    assert made == {("original-fake-fp32", "fp32", ""), ("original-fake-int8-fake-int8", "int8", "fake-int8")}
    assert result.verdict == "MEETS"
    assert all(row.accuracy is not None and row.accuracy.value > 0.9 for row in result.candidates)
    assert not result.failures
    bundle = project / "out" / "bundle"
    assert read_manifest(bundle).candidate.backend == FAKE_RUNTIME.name
    assert verify_bundle(bundle).ok
    page = (project / "out" / "report.html").read_text(encoding="utf-8")
    assert FAKE_RUNTIME.colour in page
    refused = {row.what: row.instead for row in result.rejected}
    assert refused["onnxruntime fp32"].startswith("ONNX Runtime is not installed on Fake Board")


def test_a_device_is_one_row(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_board(monkeypatch, FakeBoardDevice)
    (project / "targets" / "fake-board.toml").write_text(BOARD.replace("NAME", "litert"))

    result = build(project, device="fake-board", allow_weak_original=True)

    assert [(row.id, row.origin) for row in result.candidates] == [("original-ort-fp32", "device")]
    assert result.environment.cpu == "Fake-A53"
    assert "a fake board: nothing was run" in result.environment.notes
    refused = {row.what: row.instead for row in result.rejected}
    assert refused["litert int8"] == "LiteRT is not installed on Fake Board Rev 1: pip install ai-edge-litert"


def test_an_unknown_device_is_refused_with_what_is_allowed(project: Path) -> None:
    (project / "targets" / "fake-board.toml").write_text(BOARD.replace("NAME", "litert"))
    with pytest.raises(UserError, match='no device "toaster"; allowed: local'):
        build(project, device="toaster")
