"""How builds are configured for each TensorRT, with its builder faked; TensorRT-RTX's is real in test_engine.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.board.tensorrt.build import build_engine
from edgekit.board.tensorrt.library import EngineError
from tests.board.tensorrt.fake_builder import FakeBuilderTensorRt

RECIPE: dict[str, Any] = {
    "typing": "weak",
    "flags": ["FP16", "INT8"],
    "tf32": True,
    "workspace_bytes": 1 << 28,
    "timing_cache": "timing.cache",
    "device": "gpu",
    "dla_core": 0,
    "gpu_fallback": False,
    "quantization": "explicit",
    "calibration_cache": "calibration.cache",
}


def build(folder: Path, trt: FakeBuilderTensorRt, content: bytes = b"good network", **changes: Any) -> bytes:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return build_engine(str(path), {**RECIPE, **changes}, trt, cache_folder=str(folder))


def on(trt: FakeBuilderTensorRt) -> set[str]:
    """Builder flags that were set, by name."""
    return {name for name, value in trt.BuilderFlag.__members__.items() if value in trt.config.set}


def test_tensorrt_8_2_gets_its_workspace_by_the_old_name(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("8.2.1.8")
    assert build(tmp_path, trt) == b"engine"
    assert (trt.config.max_workspace_size, trt.config.pools) == (1 << 28, {})


def test_later_ones_get_it_as_a_memory_pool(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("8.5.2")
    build(tmp_path, trt)
    assert (trt.config.max_workspace_size, trt.config.pools) == (0, {0: 1 << 28})


def test_weak_typing_sets_the_precision_flags(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("10.3.0")
    build(tmp_path, trt)
    assert on(trt) == {"FP16", "INT8"}
    assert trt.network_flags == 1


def test_strong_typing_sets_no_precision_flag(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("10.13.0", strong=True)
    build(tmp_path, trt, typing="strong")
    assert on(trt) == set()
    assert trt.network_flags == 0b11


def test_sparse_weights_are_asked_for_under_both_typings(tmp_path: Path) -> None:
    flags = ["FP16", "SPARSE_WEIGHTS"]
    weak, strong = FakeBuilderTensorRt("10.3.0"), FakeBuilderTensorRt("10.13.0", strong=True)
    build(tmp_path, weak, flags=flags)
    build(tmp_path, strong, flags=flags, typing="strong")
    assert (on(weak), on(strong)) == ({"FP16", "SPARSE_WEIGHTS"}, {"SPARSE_WEIGHTS"})


def test_strong_typing_on_an_old_tensorrt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"8\.5\.2 has no strongly typed networks"):
        build(tmp_path, FakeBuilderTensorRt("8.5.2"), typing="strong")


def test_fp32_switches_tf32_off(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("10.3.0")
    build(tmp_path, trt, flags=[], tf32=False)
    assert trt.config.cleared == {trt.BuilderFlag.__members__["TF32"]}


def test_the_dla_is_asked_for_with_the_gpu_behind_it(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("8.5.2", dla_cores=2)
    build(tmp_path, trt, device="dla", gpu_fallback=True)
    assert (trt.config.default_device_type, trt.config.DLA_core) == ("dla", 0)
    assert "GPU_FALLBACK" in on(trt)


def test_a_board_without_dla_core_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no DLA core"):
        build(tmp_path, FakeBuilderTensorRt("8.5.2"), device="dla")


@pytest.mark.parametrize(
    ("version", "number"), [("8.2.1.8", "8201"), ("8.5.2", "8502"), ("10.3.0", "100300")]
)
def test_a_calibration_cache_gets_the_header_of_the_version_that_reads_it(
    tmp_path: Path, version: str, number: str
) -> None:
    (tmp_path / "calibration.cache").write_bytes(b"TRT-8200-EntropyCalibration2\nx: 3c010a14\n")
    trt = FakeBuilderTensorRt(version)
    build(tmp_path, trt, quantization="implicit")
    content = trt.config.int8_calibrator.read_calibration_cache()
    assert content == f"TRT-{number}-EntropyCalibration2\nx: 3c010a14\n".encode()


def test_the_timing_cache_is_read_and_written(tmp_path: Path) -> None:
    build(tmp_path, FakeBuilderTensorRt("8.5.2"))
    second = FakeBuilderTensorRt("8.5.2")
    build(tmp_path, second)
    assert second.config.cache == b"timed"
    assert (tmp_path / "timing.cache").read_bytes() == b"timedtimed"


def test_a_parser_without_node_names_gives_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="node number 7: no importer for Foo"):
        build(tmp_path, FakeBuilderTensorRt("8.2.1"), b"bad network")


def test_only_tensorrt_rtx_compiles_for_a_gpu_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"good network")
    with pytest.raises(EngineError, match="only TensorRT-RTX compiles"):
        build_engine(str(path), RECIPE, FakeBuilderTensorRt("10.3.0"), "sm_89")


# ---- the builder's optimization level ----------------------------------------------------------------------


def at_level(folder: Path, trt: FakeBuilderTensorRt, level: int | None) -> bytes:
    path = folder / "model.onnx"
    path.write_bytes(b"good network")
    return build_engine(str(path), RECIPE, trt, cache_folder=str(folder), level=level)


def test_from_8_6_on_the_builder_takes_a_level(tmp_path: Path) -> None:
    trt = FakeBuilderTensorRt("8.6.1")
    trt.config.builder_optimization_level = 3  # type: ignore[attr-defined]
    at_level(tmp_path, trt, None)
    assert trt.config.builder_optimization_level == 3  # type: ignore[attr-defined]
    at_level(tmp_path, trt, 5)
    assert trt.config.builder_optimization_level == 5  # type: ignore[attr-defined]


def test_before_it_a_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT 8\.5\.2 has no optimization levels"):
        at_level(tmp_path, FakeBuilderTensorRt("8.5.2"), 5)
