"""Every backend passes the backend contract; the table knows them all."""

from __future__ import annotations

import pytest

from edgekit.backends import get_backend, usable_backends
from edgekit.backends.base import Backend
from edgekit.errors import UserError
from edgekit.runtimes import RUNTIMES
from edgekit.testing.backend_contract import BackendContract

pytest.importorskip("onnx")


class TestOnnxRuntime(BackendContract):
    recipe = "int8-minmax"

    def make_backend(self) -> Backend:
        pytest.importorskip("onnxruntime")
        return get_backend("onnxruntime")


class TestOpenVino(BackendContract):
    recipe = "int8-nncf"

    def make_backend(self) -> Backend:
        pytest.importorskip("openvino")
        pytest.importorskip("nncf")
        return get_backend("openvino")


class TestLiteRt(BackendContract):
    recipe = "int8-minmax"

    def make_backend(self) -> Backend:
        pytest.importorskip("ai_edge_litert")
        pytest.importorskip("ai_edge_quantizer")
        return get_backend("litert")


class TestTensorRt(BackendContract):
    """For RTX GPUs, which TensorRT-RTX compiles for without one."""

    recipe = "int8-minmax"
    target = "rtx-ada"

    def make_backend(self) -> Backend:
        pytest.importorskip("onnxruntime")
        return get_backend("tensorrt")


class TestTensorRtOnAJetson(BackendContract):
    recipe = "int8-minmax"
    target = "jetson-xavier-nx"

    def make_backend(self) -> Backend:
        pytest.importorskip("onnxruntime")
        return get_backend("tensorrt")


def test_every_backend_is_found_under_its_own_name() -> None:
    assert [get_backend(name).name for name in RUNTIMES] == list(RUNTIMES)


def test_an_unknown_backend_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UserError, match="allowed: onnxruntime, openvino, litert"):
        get_backend("caffe")
    with pytest.raises(UserError, match=r"did you mean openvino\?"):
        get_backend("openvinno")


def test_usable_backends_says_none_or_the_pip_line() -> None:
    for name, missing in usable_backends().items():
        assert missing is None or f"edgekit[{get_backend(name).extra}]" in missing
