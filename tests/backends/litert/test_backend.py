"""The LiteRT backend: precisions, ranges, float layers, the layout gate, the audit; on small networks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.litert.audit import delegated, float_compute
from edgekit.backends.litert.backend import LiteRtBackend
from edgekit.backends.litert.convert import Port, convert, layout_gate
from edgekit.backends.litert.flatbuffer import LAYOUT, Op, Tensor, read_flatbuffer, read_ops
from edgekit.backends.litert.plan import collect
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.to_torch.module import onnx_to_torch
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import Recipe, find_recipe
from edgekit.testing.layer_times import layer_times
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from edgekit.testing.onnx_networks import INPUT, OUTPUT, as_variant, residual_network, samples
from edgekit.types import Artifact, Candidate, Precision, Variant

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

DATA = CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")


def export(
    folder: Path,
    precision: Precision = "int8",
    *,
    recipe: Recipe | str = "int8-minmax",
    variant: Variant | None = None,
    data: CalibrationData | None = DATA,
    target: str = "generic-cpu",
) -> Artifact:
    used = variant or as_variant(residual_network(folder / "residual.onnx"))
    out = folder / f"out-{len(list(folder.iterdir()))}"
    out.mkdir()
    chosen = find_recipe(recipe) if isinstance(recipe, str) else recipe
    candidate = Candidate("c", "original", "litert", precision, chosen.name)
    features = frozenset({"avx2", "avx512_vnni"})
    return LiteRtBackend().export(
        ExportRequest(used, candidate, find_target(target), features, out, chosen, data)
    )


def from_torch(folder: Path, network: Any, shape: tuple[int, ...]) -> Variant:
    torch.manual_seed(0)
    path = folder / "network.onnx"
    signature = export_onnx(network.eval(), (np.zeros(shape, np.float32),), path)
    return Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))


def random_data(shape: tuple[int, ...], count: int = 32) -> CalibrationData:
    values = np.random.default_rng(2).standard_normal((count, *shape[1:])).astype(np.float32)
    return CalibrationData(lambda: iter([(values,)]), count, "digest")


def ops(artifact: Artifact) -> tuple[Op, ...]:
    return read_ops(read_flatbuffer(Path(artifact.folder) / artifact.entry))


def outputs(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with LiteRtBackend().open(artifact) as session:
        (name,) = (spec["name"] for spec in session.signature["inputs"])  # type: ignore[attr-defined]
        return np.concatenate([next(iter(session.run({name: image[None]}).values())) for image in images])


def noise(artifact: Artifact, reference: Artifact) -> float:
    """Error energy over signal energy."""
    right, wrong = outputs(reference, samples(32, 5)), outputs(artifact, samples(32, 5))
    return float(np.square(right - wrong).sum() / np.square(right).sum())


NETWORKS = {
    "residual": (TinyConvNet, (1, 1, 8, 8)),
    "depthwise": (DepthwiseNet, (1, 3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cnn_in_int8_has_no_float_compute_and_no_layout_operation(tmp_path: Path, name: str) -> None:
    network, shape = NETWORKS[name]
    artifact = export(tmp_path, variant=from_torch(tmp_path, network(), shape), data=random_data(shape))
    assert float_compute(ops(artifact)) == ()
    assert [op for op in ops(artifact) if op.kind in LAYOUT] == []
    assert "XNNPACK takes all" in artifact.audit.notes[-1]


def test_a_strided_shortcut_runs_in_xnnpack(tmp_path: Path) -> None:
    kinds = Counter(op.kind for op in ops(export(tmp_path, "fp32")))
    assert kinds["STRIDED_SLICE"] == 0
    assert kinds["CONV_2D"] == 4


def test_activations_are_fused_into_their_layers(tmp_path: Path) -> None:
    artifact = export(tmp_path, "fp32", variant=from_torch(tmp_path, DepthwiseNet(), (1, 3, 32, 32)))
    assert {op.kind for op in ops(artifact)} & {"RELU", "RELU6", "MINIMUM", "MAXIMUM"} == set()


def test_a_transformer_keeps_the_transposes_of_its_own(tmp_path: Path) -> None:
    variant = from_torch(tmp_path, TinyTransformer(), (1, 1, 8, 8))
    artifact = export(tmp_path, "fp32", variant=variant)
    moved = [op for op in ops(artifact) if op.kind in LAYOUT]
    assert 0 < len(moved) <= onnx_to_torch(variant.onnx_path).layout_cost
    assert f"{len(moved)} layout operations: TRANSPOSE" in " ".join(artifact.audit.notes)


def test_a_transformer_in_int8_stays_near_float(tmp_path: Path) -> None:
    shape = (1, 1, 8, 8)
    variant = from_torch(tmp_path, TinyTransformer(), shape)
    images = np.random.default_rng(5).standard_normal((16, *shape[1:])).astype(np.float32)
    right = outputs(export(tmp_path, "fp32", variant=variant), images)
    wrong = outputs(export(tmp_path, variant=variant, data=random_data(shape)), images)
    assert np.square(right - wrong).sum() < 0.01 * np.square(right).sum()


def test_more_layout_operations_than_the_network_has_are_refused_by_name() -> None:
    image = Tensor("image", "float32", (1, 8, 8, 4), constant=False)
    turned = Tensor("turned", "float32", (1, 4, 8, 8), constant=False)
    with pytest.raises(StageError, match="1 layout operations, the network itself 0: TRANSPOSE turned"):
        layout_gate([Op(0, "TRANSPOSE", (image,), (turned,))], 0)


def test_an_image_output_is_given_with_channels_first(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Sigmoid())
    variant = from_torch(tmp_path, network, (1, 3, 8, 8))
    artifact = export(tmp_path, "fp32", variant=variant)
    images = samples(4)
    session = ort.InferenceSession(variant.onnx_path)
    right = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
    np.testing.assert_allclose(outputs(artifact, images), right, rtol=1e-4, atol=1e-5)
    assert json.loads(artifact.options["outputs"])[0]["channels_last"] is True
    assert [op for op in ops(artifact) if op.kind in LAYOUT] == []


def test_tensors_have_the_names_of_the_onnx_network(tmp_path: Path) -> None:
    names = {op.name for op in ops(export(tmp_path, "fp32"))}
    assert {"r1", "r2", "c3", "p1", "r3", "m1", OUTPUT} <= names


def test_names_do_not_depend_on_where_edgekit_lies(tmp_path: Path) -> None:
    content = (Path(export(tmp_path, "fp32").folder) / "model.tflite").read_bytes()
    assert b"edgekit" not in content
    assert b"litert_torch" not in content


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-dynamic"])
def test_every_precision_exports_the_same_bytes_again(tmp_path: Path, precision: Precision) -> None:
    assert export(tmp_path, precision).files == export(tmp_path, precision).files


def test_float16_halves_the_weights_and_computes_in_float32(tmp_path: Path) -> None:
    whole, half = export(tmp_path, "fp32"), export(tmp_path, "fp16")
    assert half.audit.ran_as == "fp32"
    assert half.size_bytes < 0.75 * whole.size_bytes
    assert noise(half, whole) < 1e-5


def test_dynamic_range_needs_no_samples_and_says_what_it_is(tmp_path: Path) -> None:
    whole, dynamic = export(tmp_path, "fp32"), export(tmp_path, "int8-dynamic", data=None)
    assert dynamic.audit.ran_as == "int8-dynamic"
    assert noise(dynamic, whole) < 0.01


def test_dynamic_range_leaves_in_float_what_xnnpack_does_not_take(tmp_path: Path) -> None:
    variant = from_torch(tmp_path, DepthwiseNet(), (1, 3, 32, 32))
    artifact = export(tmp_path, "int8-dynamic", data=None, variant=variant)
    precisions = {(op.kind, op.precision) for op in ops(artifact)}
    assert ("DEPTHWISE_CONV_2D", "fp32") in precisions
    assert ("CONV_2D", "int8-dynamic") in precisions
    assert "Left in float, since XNNPACK" in artifact.audit.notes[0]
    assert "XNNPACK takes all" in artifact.audit.notes[-1]


def test_weights_have_a_scale_per_channel(tmp_path: Path) -> None:
    first = next(op for op in ops(export(tmp_path)) if op.name == "r1")
    weight = next(each for each in first.inputs if each.constant and each.dtype == "int8")
    assert len(weight.scale) == 8
    assert set(weight.zero_point) == {0}


def test_activations_are_int8_whatever_the_cpu_multiplies_fast(tmp_path: Path) -> None:
    kinds = {each.dtype for op in ops(export(tmp_path)) for each in (*op.inputs, *op.outputs)}
    assert "uint8" not in kinds
    assert "int8" in kinds


@pytest.mark.parametrize("observer", ["int8-minmax", "int8-mse", "int8-percentile", "int8-entropy"])
def test_ranges_in_the_file_are_those_of_the_observer(tmp_path: Path, observer: str) -> None:
    recipe = find_recipe(observer)
    path = tmp_path / "float.tflite"
    convert(residual_network(tmp_path / "net.onnx"), path)
    wanted = collect(path, DATA, recipe, [Port(INPUT, True)])
    plain = recipe.__class__(**{**_fields(recipe), "bias_correction": "none"})
    found = {each.name: each for op in ops(export(tmp_path, recipe=plain)) for each in op.outputs}
    safe = wanted["r3"].with_zero()
    low = (-128 - found["r3"].zero_point[0]) * found["r3"].scale[0]
    high = (127 - found["r3"].zero_point[0]) * found["r3"].scale[0]
    assert low == pytest.approx(safe.low, abs=found["r3"].scale[0])
    assert high == pytest.approx(safe.high, abs=found["r3"].scale[0])


def test_ranges_do_not_depend_on_how_samples_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    convert(residual_network(tmp_path / "net.onnx"), path)
    whole = np.concatenate([samples(40), samples(24, 4)])
    pieces = CalibrationData(lambda: iter([(part,) for part in np.array_split(whole, 7)]), 64, "digest")
    recipe = find_recipe("int8-mse")
    assert collect(path, DATA, recipe, [Port(INPUT, True)]) == collect(
        path, pieces, recipe, [Port(INPUT, True)]
    )


def test_biases_are_corrected_where_the_recipe_says_so(tmp_path: Path) -> None:
    recipe = find_recipe("int8-minmax")
    plain = recipe.__class__(**{**_fields(recipe), "bias_correction": "none"})
    corrected, left = export(tmp_path, recipe=recipe), export(tmp_path, recipe=plain)
    assert corrected.files != left.files
    assert noise(corrected, export(tmp_path, "fp32")) < 0.01


def test_the_most_sensitive_layer_stays_in_float_and_is_named(tmp_path: Path) -> None:
    artifact = export(tmp_path, recipe="int8-mixed")
    (kept,) = [
        op for op in ops(artifact) if op.kind in ("CONV_2D", "FULLY_CONNECTED") and op.precision == "fp32"
    ]
    notes = " ".join(artifact.audit.notes)
    assert f"Kept in float as the most sensitive: {kept.name}" in notes
    assert f"1 of {len(ops(artifact))} operations calculate in float" in notes
    assert artifact.audit.ran_as == "int8"


def test_int8_inputs_and_outputs_are_an_option_that_callers_do_not_notice(tmp_path: Path) -> None:
    artifact = export(tmp_path, recipe="int8-io")
    assert {op.kind for op in ops(artifact)} & {"QUANTIZE", "DEQUANTIZE"} == set()
    with LiteRtBackend().open(artifact) as session:
        assert session.signature["inputs"][0]["dtype"] == "float32"  # type: ignore[attr-defined]
    assert noise(artifact, export(tmp_path, "fp32")) < 0.01


@pytest.mark.parametrize("recipe", ["int8-minmax", "int8-mse", "int8-percentile", "int8-entropy"])
def test_one_constant_sample_is_told_and_made_safe(tmp_path: Path, recipe: str) -> None:
    zeros = np.zeros((1, 3, 8, 8), np.float32)
    variant = as_variant(residual_network(tmp_path / "dead.onnx", dead=True))
    artifact = export(
        tmp_path, recipe=recipe, variant=variant, data=CalibrationData(lambda: iter([(zeros,)]), 1, "d")
    )
    assert "Calibration never varied" in artifact.audit.notes[0]
    assert all(scale > 0 for op in ops(artifact) for each in op.outputs for scale in each.scale)
    assert np.isfinite(outputs(artifact, samples(4))).all()


def test_samples_that_are_not_finite_name_the_tensor(tmp_path: Path) -> None:
    broken = np.full((1, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(StageError, match=f'tensor "{INPUT}" holds values that are not finite'):
        export(tmp_path, data=CalibrationData(lambda: iter([(broken,)]), 1, "d"))


def test_a_recipe_of_nncf_is_refused_with_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="int8-nncf") as caught:
        export(tmp_path, recipe="int8-nncf")
    assert caught.value.remedy == "use int8-mse"


def test_lint_names_the_node_and_the_operator(tmp_path: Path) -> None:
    from tests.graph.to_torch.test_module import graph

    path = graph(tmp_path / "net.onnx", "Det", [(1, 3, 3)])
    variant = replace(as_variant(path), onnx_path=str(path))
    (issue,) = LiteRtBackend().lint(variant, find_target("raspberry-pi-4")).issues
    assert (issue.severity, issue.node) == ("error", "the_node")
    assert "Det" in issue.reason


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "edgekit\[tflite\]"'):
        LiteRtBackend().versions()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, share: float) -> None:
    artifact = export(tmp_path, "fp32")
    path = Path(artifact.folder) / artifact.entry
    path.write_bytes(path.read_bytes()[: int(share * artifact.size_bytes)])
    for action in (LiteRtBackend().open, LiteRtBackend().audit):
        with pytest.raises(StageError, match=r"model\.tflite") as caught:
            action(artifact)
        assert len(str(caught.value).splitlines()) == 1


def test_what_no_delegate_takes_is_named(tmp_path: Path) -> None:
    class EverySecondRow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x)[:, :, 1::2, :] * 2.0

    artifact = export(tmp_path, "fp32", variant=from_torch(tmp_path, EverySecondRow(), (1, 3, 8, 8)))
    left = [op for op in ops(artifact) if op.index not in delegated(Path(artifact.folder) / artifact.entry)]
    assert [op.kind for op in left] == ["STRIDED_SLICE"]
    assert "left to LiteRT's own kernels: STRIDED_SLICE" in artifact.audit.notes[-1]


def test_a_profile_times_every_operation_of_a_quantized_network(tmp_path: Path) -> None:
    artifact = export(tmp_path)
    times = layer_times(LiteRtBackend(), artifact, {INPUT: samples(1)}, runs=3)
    assert [each.name for each in times] == [op.name for op in ops(artifact)]
    assert all(each.time_ms > 0 for each in times)


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__struct_fields__}
