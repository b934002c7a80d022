from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.graph import CalibrationData
from edgekit.testing.onnx_networks import residual_network, samples


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network as an ONNX file with batch 1."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return residual_network(tmp_path_factory.mktemp("onnx") / "residual.onnx")


@pytest.fixture(scope="session")
def data() -> CalibrationData:
    """64 samples in batches of 40 and 24."""
    return CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")
