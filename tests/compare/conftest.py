from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.types import Artifact
from tests.compare.artifacts import exported, write_tflite


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="session")
def float_onnx(folder: Path) -> Artifact:
    return exported(folder, "onnxruntime")


@pytest.fixture(scope="session")
def int8_onnx(folder: Path) -> Artifact:
    return exported(folder, "onnxruntime", "int8")


@pytest.fixture(scope="session")
def float_openvino(folder: Path) -> Artifact:
    return exported(folder, "openvino")


@pytest.fixture(scope="session")
def int8_openvino(folder: Path) -> Artifact:
    return exported(folder, "openvino", "int8")


@pytest.fixture(scope="session")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float.tflite, int8.tflite, float.onnx and images.npz of one network."""
    return write_tflite(tmp_path_factory.mktemp("tflite"))
