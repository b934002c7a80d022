"""The ONNX Runtime backend on a small residual network, quantized as x86 with and without VNNI and Arm want it."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend
from edgekit.backends.onnxruntime.export import KEEP_FLOAT
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph import CalibrationData
from edgekit.graph.rewrites import means_to_pooling
from edgekit.hardware import find_target
from edgekit.quantize import Border, PrecisionTimes, Recipe, SwitchableUnit, find_recipe
from edgekit.testing.layer_times import layer_times
from edgekit.testing.onnx_networks import INPUT, OUTPUT, as_variant, residual_network, samples
from edgekit.types import Artifact, Candidate, Precision

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PLAIN_X86 = frozenset({"avx2", "fma"})
VNNI = frozenset({"avx2", "fma", "avx_vnni"})
DATA = CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")


def export(
    folder: Path,
    precision: Precision = "int8",
    *,
    recipe: Recipe | str = "int8-minmax",
    target: str = "generic-cpu",
    features: frozenset[str] = PLAIN_X86,
    network: Path | None = None,
    times: PrecisionTimes | None = None,
) -> Artifact:
    variant = as_variant(network or residual_network(folder / "residual.onnx"))
    out = folder / f"out-{len(list(folder.iterdir()))}"
    out.mkdir()
    chosen = find_recipe(recipe) if isinstance(recipe, str) else recipe
    request = ExportRequest(
        variant,
        Candidate("c", "original", "onnxruntime", precision, chosen.name),
        find_target(target),
        features,
        out,
        chosen,
        DATA,
        times=times,
    )
    return OnnxRuntimeBackend().export(request)


def outputs(artifact: Artifact) -> np.ndarray:
    with OnnxRuntimeBackend().open(artifact) as session:
        return np.concatenate([session.run({INPUT: sample[None]})[OUTPUT] for sample in samples(32, 5)])


def sqnr_db(artifact: Artifact, float_artifact: Artifact) -> float:
    right = outputs(float_artifact)
    return float(10 * np.log10(np.square(right).sum() / np.square(right - outputs(artifact)).sum()))


def graph_of(artifact: Artifact) -> onnx.GraphProto:
    return onnx.load(str(Path(artifact.folder) / artifact.entry)).graph


def integers(artifact: Artifact, node: str) -> np.ndarray:
    """Stored integers of a layer's weights."""
    from onnx import numpy_helper

    graph = graph_of(artifact)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    makers = {output: each for each in graph.node for output in each.output}
    layer = next(each for each in graph.node if each.name == node)
    return constants[makers[layer.input[1]].input[0]]


def input_zero_point(artifact: Artifact) -> np.ndarray:
    from onnx import numpy_helper

    graph = graph_of(artifact)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    return constants[next(each for each in graph.node if each.op_type == "QuantizeLinear").input[2]]


def test_without_vnni_weights_keep_to_seven_bits(tmp_path: Path) -> None:
    artifact = export(tmp_path)
    weights = integers(artifact, "inner")
    assert weights.dtype == np.int8
    assert np.abs(weights.astype(int)).max() == 64
    assert input_zero_point(artifact).dtype == np.uint8


def test_with_vnni_weights_use_eight_bits(tmp_path: Path) -> None:
    artifact = export(tmp_path, features=VNNI)
    assert np.abs(integers(artifact, "inner").astype(int)).max() == 127
    assert input_zero_point(artifact).dtype == np.uint8


def test_on_arm_activations_are_signed(tmp_path: Path) -> None:
    artifact = export(tmp_path, target="generic-arm64", features=frozenset({"asimd", "asimddp"}))
    assert input_zero_point(artifact).dtype == np.int8
    assert integers(artifact, "inner").dtype == np.int8


def test_weights_have_a_scale_per_output_channel(tmp_path: Path) -> None:
    for channel in integers(export(tmp_path), "inner").astype(int):
        assert np.abs(channel).max() == 64


def test_per_tensor_weights_share_one_scale(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-minmax"), granularity="per-tensor")
    channels = np.abs(integers(export(tmp_path, recipe=recipe), "inner").astype(int)).max(axis=(1, 2, 3))
    assert channels.max() == 64
    assert channels.min() < 64


def test_every_layer_between_input_and_output_runs_in_integers(tmp_path: Path) -> None:
    audit = export(tmp_path, features=PLAIN_X86).audit
    floats = [layer for layer in audit.layers if layer.precision != "int8"]
    assert {layer.op for layer in floats} <= {"QuantizeLinear", "DequantizeLinear"}
    assert len(floats) == 2
    assert audit.ran_as == "int8"


def test_the_shortcut_is_padded_in_integers(tmp_path: Path) -> None:
    graph = graph_of(export(tmp_path))
    makers = {output: each for each in graph.node for output in each.output}
    pad = next(each for each in graph.node if each.op_type == "Pad")
    while pad.op_type in ("Pad", "Slice"):
        pad = makers[pad.input[0]]
    assert pad.op_type in ("QuantizeLinear", "DequantizeLinear")
    assert not any(
        each.op_type == "DequantizeLinear" and each.output[0] in _pad_inputs(graph) for each in graph.node
    )


def _pad_inputs(graph: onnx.GraphProto) -> set[str]:
    return {each.input[0] for each in graph.node if each.op_type == "Pad"}


@pytest.mark.parametrize(
    "recipe", ["int8-minmax", "int8-mse", "int8-percentile", "int8-entropy", "int8-mixed"]
)
def test_each_recipe_stays_near_float(tmp_path: Path, recipe: str) -> None:
    assert sqnr_db(export(tmp_path, recipe=recipe), export(tmp_path, "fp32")) > 20


def test_the_rewrites_change_no_value(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    model = onnx.shape_inference.infer_shapes(onnx.load(str(residual_network(tmp_path / "n.onnx"))))
    before = ReferenceEvaluator(model).run(None, {INPUT: samples(1)})[0]
    means_to_pooling(model)
    assert "ReduceMean" not in {node.op_type for node in model.graph.node}
    assert np.allclose(ReferenceEvaluator(model).run(None, {INPUT: samples(1)})[0], before, atol=1e-6)


def test_bias_correction_brings_the_mean_output_nearer(tmp_path: Path) -> None:
    plain = msgspec.structs.replace(find_recipe("int8-minmax"), bias_correction="none")
    right = outputs(export(tmp_path, "fp32")).mean(axis=0)
    shift = {
        name: float(np.abs(outputs(export(tmp_path, recipe=recipe)).mean(axis=0) - right).sum())
        for name, recipe in (("plain", plain), ("corrected", find_recipe("int8-minmax")))
    }
    assert shift["corrected"] < shift["plain"]


def test_sensitive_layers_stay_float_and_are_named(tmp_path: Path) -> None:
    artifact = export(tmp_path, recipe=msgspec.structs.replace(find_recipe("int8-mixed"), keep_float=2.0))
    kept = next(note for note in artifact.audit.notes if note.startswith("Kept in float"))
    in_float = {
        layer.name for layer in artifact.audit.layers if layer.precision == "fp32" and layer.op != "Flatten"
    }
    named = set(kept.removeprefix("Kept in float as the most sensitive: ").removesuffix(".").split(", "))
    assert len(named) == 2
    assert named <= in_float
    assert any("arithmetic layers run in float" in note for note in artifact.audit.notes)


@pytest.mark.parametrize("maker", [True, False])
def test_a_float_layer_reads_what_float_made_before_it_is_rounded_for_others(
    tmp_path: Path, maker: bool
) -> None:
    """What `stem` makes goes into `left`, in float, and into `right`, in int8."""
    path = forked_network(tmp_path / "fork.onnx")
    chosen = {"left": 0.0, "both": 0.0} | ({"stem": 0.0} if maker else {})
    units = tuple(SwitchableUnit((name,), chosen.get(name)) for name in ("stem", "left", "right", "both"))
    borders = (Border("s", 0, (1, 2), 0.0), Border("l", 1, (3,), 0.0), Border("r", 2, (3,), 0.0))
    times = PrecisionTimes(units, borders, 1.0, True, "a board that is made up")
    artifact = export(tmp_path, recipe=find_recipe("int8-mixed"), network=path, times=times)
    assert artifact.quantization is not None
    assert {layer.name for layer in artifact.quantization.in_float} == chosen.keys()
    nodes = {node.name: node for node in onnx.load(str(Path(artifact.folder) / artifact.entry)).graph.node}
    assert (nodes["left"].input[0] == "s") == maker
    assert nodes["right"].input[0] != "s"
    assert np.isfinite(outputs(artifact)).all()


def forked_network(path: Path) -> Path:
    """float32 [1, 3, 8, 8] → [1, 4, 8, 8]: two convolutions side by side behind one, added."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.standard_normal((4, channels, 3, 3)).astype(np.float32) * 0.3, f"w{name}")
        for name, channels in (("stem", 3), ("left", 4), ("right", 4))
    ]
    nodes = [
        helper.make_node("Conv", [given, f"w{name}"], [made], name=name, pads=[1, 1, 1, 1])
        for name, given, made in (("stem", INPUT, "s"), ("left", "s", "l"), ("right", "s", "r"))
    ]
    nodes.append(helper.make_node("Add", ["l", "r"], [OUTPUT], name="both"))
    graph = helper.make_graph(
        nodes,
        "fork",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def test_without_its_session_option_a_float_layer_would_be_quantized_on_the_fly(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-minmax"), keep_float_ops=("Conv",))
    artifact = export(tmp_path, recipe=recipe)
    assert artifact.options == KEEP_FLOAT
    assert {layer.op for layer in artifact.audit.layers if layer.name == "widen"} == {"Conv"}


def test_fully_quantized_and_float_artifacts_need_no_session_option(tmp_path: Path) -> None:
    assert export(tmp_path).options == export(tmp_path, "fp32").options == {}


def test_op_types_can_be_kept_in_float(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-minmax"), keep_float_ops=("Gemm",))
    layers = export(tmp_path, recipe=recipe).audit.layers
    assert {layer.op for layer in layers if layer.name == "head"} == {"Gemm"}


def test_a_dead_layer_is_quantized_all_the_same(tmp_path: Path) -> None:
    artifact = export(tmp_path, network=residual_network(tmp_path / "dead.onnx", dead=True))
    assert np.isfinite(outputs(artifact)).all()


def test_an_old_opset_is_raised_for_int8(tmp_path: Path) -> None:
    artifact = export(tmp_path, network=residual_network(tmp_path / "old.onnx", opset=11))
    assert artifact.audit.ran_as == "int8"


def test_an_old_opset_is_told_by_lint(tmp_path: Path) -> None:
    variant = as_variant(residual_network(tmp_path / "old.onnx", opset=11))
    issues = OnnxRuntimeBackend().lint(variant, find_target("generic-cpu")).issues
    assert [issue.severity for issue in issues] == ["warning"]
    assert "opset 11" in issues[0].reason


def test_a_foreign_operator_is_forbidden_by_lint(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "foreign.onnx")
    model = onnx.load(str(path))
    model.graph.node.append(onnx.helper.make_node("Fancy", [OUTPUT], ["fancy"], name="fancy", domain="acme"))
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    onnx.save(model, str(path))
    issues = OnnxRuntimeBackend().lint(as_variant(path), find_target("generic-cpu")).issues
    assert [(issue.severity, issue.node) for issue in issues] == [("error", "fancy")]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precisions_it_does_not_make_are_refused_with_the_reason(
    tmp_path: Path, precision: Precision
) -> None:
    with pytest.raises(StageError) as caught:
        export(tmp_path, precision)
    assert precision in caught.value.cause
    assert caught.value.remedy


def test_a_recipe_of_nncf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="NNCF"):
        export(tmp_path, recipe="int8-nncf")


def test_a_missing_package_is_told_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "edgekit\[onnxruntime\]"'):
        OnnxRuntimeBackend().versions()


def test_a_profile_gives_each_layer_its_own_name_and_precision(tmp_path: Path) -> None:
    times = layer_times(OnnxRuntimeBackend(), export(tmp_path), {INPUT: samples(1)}, runs=4)
    by_name = {layer.name: layer for layer in times}
    assert {"stem", "inner", "widen", "head"} <= set(by_name)
    assert {by_name[name].precision for name in ("stem", "inner", "widen", "head")} == {"int8"}


def test_nothing_is_left_beside_the_artifact(tmp_path: Path) -> None:
    artifact = export(tmp_path, recipe="int8-mixed")
    assert [path.name for path in Path(artifact.folder).iterdir()] == ["model.onnx"]


def test_a_missing_artifact_is_a_stage_error(tmp_path: Path) -> None:
    artifact = replace(export(tmp_path, "fp32"), entry="gone.onnx")
    with pytest.raises(StageError, match=r"gone\.onnx"):
        OnnxRuntimeBackend().open(artifact)


@pytest.mark.parametrize("target", ["raspberry-pi-4", "generic-arm64", "generic-cpu"])
def test_what_runs_in_int8_is_told_as_on_the_board_and_not_as_on_this_machine(
    tmp_path: Path, target: str
) -> None:
    """On x86 convolutions of int8 activations, which Arm wants, stay between quantizers."""
    audit = export(tmp_path, target=target).audit
    assert audit.ran_as == "int8"
    assert not any("arithmetic layers run in float" in note for note in audit.notes)
