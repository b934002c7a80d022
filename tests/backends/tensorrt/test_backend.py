"""The TensorRT backend, without a GPU: what it writes for which board, and how that runs here."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.backends.tensorrt.build_recipe import calibration_cache, toolkit
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph import CalibrationData
from edgekit.graph.proto import opset_of
from edgekit.graph.wiring import coverage
from edgekit.hardware import find_target
from edgekit.quantize import Range, find_recipe
from edgekit.testing.onnx_networks import INPUT, OUTPUT, as_variant, residual_network, samples
from edgekit.types import Artifact, Candidate, Precision

BACKEND = get_backend("tensorrt")


def export(
    tmp_path: Path,
    target: str,
    precision: Precision,
    *,
    device: str = "",
    recipe: str = "int8-minmax",
    data: Any = None,
) -> Artifact:
    folder = tmp_path / f"{target}-{precision}{device}-{recipe}"
    folder.mkdir()
    network = tmp_path / "network.onnx"
    variant = as_variant(network if network.exists() else residual_network(network))
    stored = samples(64) if data is None else data
    calibrated = precision == "int8"
    request = ExportRequest(
        variant,
        Candidate("x", "original", "tensorrt", precision, recipe if calibrated else "", device),
        find_target(target),
        frozenset(),
        folder,
        find_recipe(recipe) if calibrated else None,
        CalibrationData(lambda: iter([(stored,)]), len(stored), "d") if calibrated else None,
    )
    return BACKEND.export(request)


def recipe_of(artifact: Artifact) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(artifact.folder) / "build.json").read_text())
    return content


def network_of(artifact: Artifact) -> onnx.ModelProto:
    return onnx.load(str(Path(artifact.folder) / artifact.entry))


def names(artifact: Artifact) -> set[str]:
    return {file.path for file in artifact.files}


def test_a_jetson_nano_gets_opset_13_and_the_fp16_flag(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-nano", "fp16")
    recipe = recipe_of(artifact)
    assert opset_of(network_of(artifact)) == recipe["opset"] == 13
    assert (recipe["typing"], recipe["flags"], recipe["versions"]) == ("weak", ["FP16"], ">=8.2,<8.3")
    assert recipe["sm"] == "sm_53"


def test_weakly_typed_fp16_stays_float32_on_the_board_and_is_rounded_here(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-nano", "fp16")
    host = BACKEND.on_host(artifact)
    assert {each.data_type for each in network_of(artifact).graph.initializer} >= {onnx.TensorProto.FLOAT}
    assert host.entry == "host.onnx"
    assert "host.onnx" not in names(artifact)
    kinds = {each.data_type for each in network_of(host).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_strongly_typed_fp16_is_float16_itself(tmp_path: Path) -> None:
    artifact = export(tmp_path, "rtx-ada", "fp16")
    kinds = {each.data_type for each in network_of(artifact).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert (recipe_of(artifact)["typing"], recipe_of(artifact)["flags"]) == ("strong", [])
    assert BACKEND.on_host(artifact).entry == artifact.entry


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-tx2"])
def test_int8_on_a_board_without_it_is_refused_with_what_to_do_instead(tmp_path: Path, target: str) -> None:
    with pytest.raises(StageError, match=f"{target} cannot run int8") as caught:
        export(tmp_path, target, "int8")
    assert "FP16" in caught.value.remedy


def test_int8_stands_between_pairs_and_the_recipe_says_explicit(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-orin-nano", "int8")
    assert coverage(network_of(artifact)).in_float == ()
    assert recipe_of(artifact)["quantization"] == "explicit"
    assert recipe_of(artifact)["flags"] == ["FP16", "INT8"]
    assert artifact.audit.ran_as == "int8"


def test_a_bias_never_comes_as_dequantized_int32(tmp_path: Path) -> None:
    graph = network_of(export(tmp_path, "jetson-orin-nano", "int8")).graph
    assert onnx.TensorProto.INT32 not in {each.data_type for each in graph.initializer}


def test_old_parsers_get_float_weights_behind_pairs_new_ones_int8(tmp_path: Path) -> None:
    old, new = (network_of(export(tmp_path, target, "int8")) for target in ("jetson-xavier-nx", "rtx-ada"))
    made = [
        sum(each.op_type == "QuantizeLinear" and "/weight" in each.name for each in model.graph.node)
        for model in (old, new)
    ]
    assert made == [4, 0]


def test_both_weight_forms_answer_the_same(tmp_path: Path) -> None:
    outputs = []
    for target in ("jetson-orin-nano", "rtx-ada"):
        host = BACKEND.on_host(export(tmp_path, target, "int8"))
        with get_backend(host.backend).open(host) as session:
            outputs.append(session.run({INPUT: samples(1, 9)})[OUTPUT])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)


def test_boards_with_implicit_calibration_get_a_cache_of_the_same_ranges(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-xavier-nx", "int8")
    lines = (Path(artifact.folder) / "calibration.cache").read_text().splitlines()
    assert lines[0] == "TRT-8200-EntropyCalibration2"
    scales = {
        name: struct.unpack(">f", bytes.fromhex(text))[0]
        for name, text in (line.split(": ") for line in lines[1:])
    }
    pair = next(each for each in network_of(artifact).graph.initializer if each.name == f"{INPUT}/scale")
    assert scales[INPUT] == pytest.approx(float(onnx.numpy_helper.to_array(pair)))
    assert "calibration.cache" in names(artifact)


def test_strongly_typed_boards_get_no_cache(tmp_path: Path) -> None:
    assert "calibration.cache" not in names(export(tmp_path, "jetson-thor", "int8"))


def test_the_cache_holds_scales_as_big_endian_hexadecimal() -> None:
    content = calibration_cache({"a": Range(-127.0, 3.0)}, (10, 3))
    assert content == b"TRT-100300-EntropyCalibration2\na: 3f800000\n"


def test_on_the_dla_int8_is_calibrated_implicitly_and_fallbacks_are_counted(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-xavier-nx", "int8", device="dla")
    recipe = recipe_of(artifact)
    assert (recipe["device"], recipe["gpu_fallback"], recipe["quantization"]) == ("dla", True, "implicit")
    assert not any(each.op_type == "QuantizeLinear" for each in network_of(artifact).graph.node)
    assert artifact.audit.ran_as == "int8"
    assert any(
        "2 of 12 nodes fall back" in note and "shortcut_pad: Pad" in note for note in artifact.audit.notes
    )


def test_the_dlas_quantized_twin_travels_so_that_a_bundle_can_be_checked(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-xavier-nx", "int8", device="dla")
    assert "host.onnx" in names(artifact)
    assert coverage(network_of(BACKEND.on_host(artifact))).in_float == ()


def test_a_board_without_dla_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="jetson-orin-nano has no DLA"):
        export(tmp_path, "jetson-orin-nano", "fp16", device="dla")


def test_the_workspace_fits_the_smallest_board(tmp_path: Path) -> None:
    recipe = recipe_of(export(tmp_path, "jetson-nano", "fp32"))
    assert 0 < recipe["workspace_bytes"] <= find_target("jetson-nano").memory_bytes / 8  # type: ignore[operator]


def test_fp32_is_no_tf32(tmp_path: Path) -> None:
    assert recipe_of(export(tmp_path, "rtx-ada", "fp32"))["tf32"] is False


def test_sensitive_layers_stay_in_float_and_are_named(tmp_path: Path) -> None:
    artifact = export(tmp_path, "jetson-orin-nano", "int8", recipe="int8-mixed-quarter")
    left = coverage(network_of(artifact)).in_float
    assert len(left) == 1
    assert any("Kept in float" in note and left[0] in note for note in artifact.audit.notes)


def test_degenerate_calibration_is_told_and_made_safe(tmp_path: Path) -> None:
    flat = np.zeros((16, 3, 8, 8), np.float32)
    artifact = export(tmp_path, "jetson-orin-nano", "int8", data=flat)
    assert any("Always zero" in note and INPUT in note for note in artifact.audit.notes)
    host = BACKEND.on_host(artifact)
    with get_backend(host.backend).open(host) as session:
        assert np.isfinite(session.run({INPUT: samples(1)})[OUTPUT]).all()


def test_opening_without_a_gpu_says_what_to_do(tmp_path: Path) -> None:
    artifact = export(tmp_path, "rtx-ada", "fp32")
    if BACKEND.on_host(artifact) != artifact:
        with pytest.raises(StageError, match=r"no NVIDIA GPU|TensorRT") as caught:
            BACKEND.open(artifact)
        assert caught.value.stage == "open"


def test_without_onnx_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r"edgekit\[tensorrt\]"):
        BACKEND.versions()


def test_a_target_says_which_tensorrt_it_has() -> None:
    rtx, old, thor = (toolkit(find_target(name)) for name in ("rtx-ampere", "jetson-nano", "jetson-thor"))
    assert (rtx.library, rtx.strong, rtx.sm) == ("tensorrt_rtx", True, "sm_86")
    assert (old.library, old.strong, old.oldest) == ("tensorrt", False, (8, 2))
    assert (thor.library, thor.strong) == ("tensorrt", True)
