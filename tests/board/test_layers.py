"""Times per layer, as a board's runtime tells them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.board.coordinator import DEFAULTS, JOB
from edgekit.board.layers import layer_rows
from edgekit.board.session import RuntimeSession
from tests.devices.models import PIXELS, write_classifier, write_ir

FEEDS = {"input": np.zeros((1, 3, PIXELS, PIXELS), np.float32)}


def test_onnx_runtime_tells_each_node_with_what_it_takes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_classifier(tmp_path / "net.onnx")
    rows = layer_rows("onnxruntime", str(path), {}, 1, FEEDS, 3)
    assert {"FusedConv", "FusedGemm", "Conv", "Gemm"} & {row["op"] for row in rows}
    assert all(row["mean_ms"] > 0 and row["facts"]["takes"] for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


def test_openvino_tells_each_layer_with_its_kernel(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_ir(tmp_path / "net.xml", write_classifier(tmp_path / "net.onnx"))
    rows = layer_rows("openvino", str(path), {}, 1, FEEDS, 3)
    convolution = next(row for row in rows if row["facts"].get("layerType") == "Convolution")
    assert convolution["facts"]["kernel"]
    assert convolution["mean_ms"] >= 0


def test_a_runtime_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown runtime 'none'"):
        layer_rows("none", "net.onnx", {}, 1, FEEDS, 3)


def test_a_session_without_a_profiler_says_so() -> None:
    for ask in (lambda: RuntimeSession().layer_rows({}, 1), lambda: RuntimeSession().part_ms("", {}, 1, 1)):
        with pytest.raises(ValueError, match="this runtime"):
            ask()


@pytest.mark.parametrize(
    "wanted",
    [{"runs": 0}, {"runs": 1.5}, {}, {"runs": 3, "parts": [{"path": "a"}]}, {"runs": 3, "parts": "a"}],
)
def test_a_job_that_asks_for_layers_wrongly_is_refused(wanted: object) -> None:
    entry = {"id": "a", "runtime": "onnxruntime", "path": "a", "layers": wanted}
    with pytest.raises(ValueError, match="layers"):
        JOB(dict(DEFAULTS, entries=[entry]), "job")
