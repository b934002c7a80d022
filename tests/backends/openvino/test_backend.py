"""The OpenVINO backend on a small residual network."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.openvino.audit import audit_model
from edgekit.backends.openvino.backend import OpenVinoBackend
from edgekit.backends.openvino.plan import refused_floats
from edgekit.board.machine import describe
from edgekit.devices.local import local_machine
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import Recipe
from edgekit.testing.layer_times import layer_times
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import Artifact, Candidate, Precision, Signature, TensorSpec, Variant

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

SAMPLES = 24


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Two convolutions around a residual, a pooling, a small matrix product: [1, 3, 8, 8] → [1, 4]."""
    from onnx import TensorProto, helper, numpy_helper

    from edgekit.files import sha256_file
    from edgekit.graph import onnx_cost, read_signature

    rng = np.random.default_rng(7)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) * 0.2).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["a1"], "residual"),
        helper.make_node("Relu", ["a1"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p1"], "pool"),
        helper.make_node("Flatten", ["p1"], ["f1"], "flat"),
        helper.make_node("Gemm", ["f1", "w3", "b3"], ["logits"], "head", transB=1),
    ]
    weights = [
        constant("w1", 16, 3, 3, 3),
        constant("b1", 16),
        constant("w2", 16, 16, 3, 3),
        constant("b2", 16),
        constant("w3", 4, 16),
        constant("b3", 4),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        weights,
    )
    path = tmp_path_factory.mktemp("variant") / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return Variant(
        "original", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((SAMPLES, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def calibration(samples: np.ndarray) -> CalibrationData:
    return CalibrationData(lambda: iter([(samples[:10],), (samples[10:],)]), SAMPLES, "digest")


def recipe(**changes: object) -> Recipe:
    plain = Recipe(name="test", title="", backends=("openvino",), observer="nncf", samples=SAMPLES)
    return msgspec.structs.replace(plain, **changes)


def export(
    variant: Variant,
    folder: Path,
    precision: Precision,
    calibration: CalibrationData | None = None,
    rule: Recipe | None = None,
    features: frozenset[str] = frozenset({"avx2", "fma"}),
) -> Artifact:
    folder.mkdir(parents=True)
    candidate = Candidate(
        f"original-ov-{precision}", "original", "openvino", precision, rule.name if rule else ""
    )
    target = find_target("generic-cpu")
    return OpenVinoBackend().export(
        ExportRequest(variant, candidate, target, features, folder, rule, calibration, threads=1)
    )


def outputs(artifact: Artifact, samples: np.ndarray) -> np.ndarray:
    with OpenVinoBackend().open(artifact) as session:
        return np.concatenate([session.run({"x": sample[None]})["logits"] for sample in samples])


def reference(variant: Variant, samples: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(variant.onnx_path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": sample[None]})[0] for sample in samples])


def sqnr_db(right: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.square(right).sum() / np.square(right - found).sum()))


def quantizer_ranges(artifact: Artifact) -> dict[str, tuple[float, float]]:
    """Tensor name → range of the activation quantizer that reads it."""
    import openvino as ov

    found = {}
    for node in ov.Core().read_model(str(Path(artifact.folder) / artifact.entry)).get_ops():
        if node.get_type_name() == "FakeQuantize":
            for name in node.input_value(0).get_names():
                low, high = (float(node.input_value(port).get_node().data.reshape(-1)[0]) for port in (1, 2))
                found[name] = (low, high)
    return found


def largest_weight(artifact: Artifact) -> int:
    import openvino as ov

    model = ov.Core().read_model(str(Path(artifact.folder) / artifact.entry))
    stored = [
        node.data
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.data.dtype == np.int8
    ]
    return max(int(np.abs(values.astype(np.int32)).max()) for values in stored)


def test_versions_come_from_metadata() -> None:
    assert set(OpenVinoBackend().versions()) == {"openvino", "nncf", "onnx"}


def test_a_missing_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "edgekit\[openvino\]"'):
        OpenVinoBackend().versions()


def test_fp32_computes_what_onnx_computes(variant: Variant, samples: np.ndarray, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "fp32")
    assert np.allclose(outputs(artifact, samples), reference(variant, samples), atol=1e-5)


def test_fp32_asks_for_float32_arithmetic_and_gets_it(variant: Variant, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "fp32")
    assert artifact.options == {"INFERENCE_PRECISION_HINT": "f32"}
    assert artifact.audit.ran_as == "fp32"


def test_bf16_is_the_same_model_with_another_hint(variant: Variant, tmp_path: Path) -> None:
    plain, brain = export(variant, tmp_path / "a", "fp32"), export(variant, tmp_path / "b", "bf16")
    assert brain.files == plain.files
    assert brain.options == {"INFERENCE_PRECISION_HINT": "bf16"}


def test_what_did_not_run_as_asked_is_told(variant: Variant, tmp_path: Path) -> None:
    audit = export(variant, tmp_path / "a", "bf16").audit
    assert audit.ran_as == "bf16" or any("asked for bf16, ran as" in note for note in audit.notes)


def test_fp16_halves_the_file_and_says_what_it_runs_in(variant: Variant, tmp_path: Path) -> None:
    plain, half = export(variant, tmp_path / "a", "fp32"), export(variant, tmp_path / "b", "fp16")
    sizes = [
        next(each.size_bytes for each in made.files if each.path == "model.bin") for made in (plain, half)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    assert half.audit.ran_as == "fp16" or any("stored in 16 bits" in note for note in half.audit.notes)


def test_weight_only_stores_bytes_and_computes_in_float(
    variant: Variant, samples: np.ndarray, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "w8")
    assert any("weights are stored in 8 bits" in note for note in artifact.audit.notes)
    assert sqnr_db(reference(variant, samples), outputs(artifact, samples)) > 30


def test_four_bits_are_for_matrix_products(tmp_path: Path) -> None:
    from tests.backends.onnxruntime.test_weights import perceptron

    network = as_variant(perceptron(tmp_path / "net.onnx"))
    plain = export(network, tmp_path / "a", "fp32")
    try:
        small = export(network, tmp_path / "b", "w4")
    except StageError as problem:
        if "avx512f" in local_machine().features:
            raise
        pytest.skip(f"OpenVINO has no such kernel for this CPU: {problem.cause}")
    assert small.size_bytes < 0.5 * plain.size_bytes
    assert any("weights are stored in 4 bits" in note for note in small.audit.notes)
    sample = {"x": np.random.default_rng(0).normal(size=(1, 4, 256)).astype(np.float32)}
    answers = []
    for artifact in (plain, small):
        with OpenVinoBackend().open(artifact) as session:
            answers.append(session.run(sample)["y"])
    assert sqnr_db(*answers) > 15


def test_names_of_inputs_and_outputs_are_those_of_the_onnx_file(variant: Variant, tmp_path: Path) -> None:
    with OpenVinoBackend().open(export(variant, tmp_path / "a", "fp32")) as session:
        assert set(session.run({"x": np.zeros((1, 3, 8, 8), np.float32)})) == {"logits"}


def test_equal_input_gives_equal_bytes(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    for number, rule in enumerate((recipe(), recipe(observer="mse", bias_correction="full"))):
        first = export(variant, tmp_path / f"a{number}", "int8", calibration, rule)
        second = export(variant, tmp_path / f"b{number}", "int8", calibration, rule)
        assert first.files == second.files


def test_no_path_is_in_the_model_file(variant: Variant, calibration: CalibrationData, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe())
    assert str(Path(variant.onnx_path).parent) not in (Path(artifact.folder) / artifact.entry).read_text()


@pytest.mark.parametrize("observer", ["nncf", "minmax", "percentile", "entropy", "mse"])
def test_int8_stays_close_to_float_with_every_observer(
    observer: str, variant: Variant, calibration: CalibrationData, samples: np.ndarray, tmp_path: Path
) -> None:
    artifact = export(
        variant, tmp_path / "a", "int8", calibration, recipe(observer=observer, bias_correction="fast")
    )
    assert artifact.audit.ran_as == "int8"
    assert sqnr_db(reference(variant, samples), outputs(artifact, samples)) > 12


def test_ranges_of_our_observer_are_in_the_model(
    variant: Variant, calibration: CalibrationData, samples: np.ndarray, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(observer="minmax"))
    low, high = quantizer_ranges(artifact)["x"]
    step = float(samples.max() - samples.min()) / 255
    assert low == pytest.approx(float(samples.min()), abs=step)
    assert high == pytest.approx(float(samples.max()), abs=step)


def test_what_lies_below_zero_in_few_samples_is_not_cut_off(variant: Variant, tmp_path: Path) -> None:
    """NNCF takes the mean of the samples' least values, which is positive here."""
    values = np.random.default_rng(1).uniform(1, 2, (SAMPLES, 3, 8, 8)).astype(np.float32)
    values[0, 0, 0, 0] = -3.0
    data = CalibrationData(lambda: iter([(values,)]), SAMPLES, "mostly positive")
    low, _ = quantizer_ranges(export(variant, tmp_path / "a", "int8", data, recipe(observer="minmax")))["x"]
    assert low == pytest.approx(-3.0, abs=5 / 255)


def test_zero_is_a_level_of_every_range(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(observer="mse"))
    for low, high in quantizer_ranges(artifact).values():
        position = -low / ((high - low) / 255)
        assert position == pytest.approx(round(position), abs=1e-3)


def test_bias_correction_changes_the_model(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    made = [
        export(variant, tmp_path / mode, "int8", calibration, recipe(bias_correction=mode)).files
        for mode in ("none", "fast", "full")
    ]
    assert made[0] != made[1] != made[2] != made[0]


def test_weights_keep_to_seven_bits_where_products_saturate(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    without = export(variant, tmp_path / "a", "int8", calibration, recipe(), frozenset({"avx2", "fma"}))
    having = export(
        variant, tmp_path / "b", "int8", calibration, recipe(), frozenset({"avx2", "avx512f", "avx512_vnni"})
    )
    assert largest_weight(without) <= 64 < largest_weight(having)


def test_the_most_sensitive_layer_stays_float_and_is_named(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(keep_float=1))
    layers = {layer.name: layer.precision for layer in artifact.audit.layers}
    kept = [name for name in ("first", "second") if layers[name] == "fp32"]
    assert len(kept) == 1
    assert f"kept in float, the most sensitive layers: {kept[0]}" in artifact.audit.notes


def test_layers_in_float_compute_in_bf16_where_the_recipe_and_the_cpu_have_it(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    asked = recipe(keep_float=1, float_as="bf16")
    features = frozenset({"avx2", "avx512f", "avx512_bf16"})
    artifact = export(variant, tmp_path / "a", "int8", calibration, asked, features)
    assert artifact.options == {"INFERENCE_PRECISION_HINT": "bf16"}
    ran = {layer.name: layer.precision for layer in artifact.audit.layers}
    here = set(describe()["features"])
    expected = "bf16" if here & {"avx512_bf16", "amx_bf16"} else "fp32"
    assert sorted(ran[name] for name in ("first", "second")) == sorted([expected, "int8"])
    with pytest.raises(
        StageError, match='float_as = "bf16" is not for OpenVINO: this CPU has no avx512_bf16'
    ):
        export(variant, tmp_path / "b", "int8", calibration, asked)
    with pytest.raises(StageError, match="stores float16 and computes float32"):
        export(variant, tmp_path / "c", "int8", calibration, recipe(float_as="fp16"), features)


def test_what_a_gpu_has_in_float_is_fp16_whatever_the_recipe_says() -> None:
    target = find_target("generic-cpu")
    (place,) = (index for index, runtime in enumerate(target.runtimes) if runtime.name == "openvino")
    changed = msgspec.structs.replace(target.runtimes[place], device="GPU")
    runtimes = (*target.runtimes[:place], changed, *target.runtimes[place + 1 :])
    assert set(refused_floats(msgspec.structs.replace(target, runtimes=runtimes), frozenset())) == {
        "fp32",
        "bf16",
    }


def test_op_types_of_the_recipe_stay_float(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(keep_float_ops=("Gemm",)))
    assert {layer.name: layer.precision for layer in artifact.audit.layers}["head"] == "fp32"


def test_sums_of_a_network_that_attends_stay_float(tmp_path: Path) -> None:
    import openvino as ov
    import torch

    from edgekit.model import export_onnx
    from edgekit.testing.networks import TinyTransformer

    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((SAMPLES, 1, 8, 8)).astype(np.float32)
    path = tmp_path / "net.onnx"
    signature = export_onnx(TinyTransformer().eval(), (images[:1],), path)
    data = CalibrationData(lambda: iter([(images,)]), SAMPLES, "images")
    artifact = export(
        replace(as_variant(path), signature=signature), tmp_path / "a", "int8", data, recipe(observer="mse")
    )
    operations = ov.Core().read_model(str(Path(artifact.folder) / artifact.entry)).get_ops()
    kinds = {
        tuple(node.input_value(port).get_node().get_type_name() for port in (0, 1))
        for node in operations
        if node.get_type_name() == "Add"
    }
    assert not any("FakeQuantize" in pair for pair in kinds)
    assert sum(node.get_type_name() == "FakeQuantize" for node in operations) > 4


def test_where_a_plan_leaves_no_layer_in_int8_it_says_so(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(keep_float_ops=("Conv", "Gemm")))
    told = " ".join(artifact.audit.notes)
    assert "layers with weights are in float by its plan, and nothing runs in int8" in told
    assert "has no int8 arithmetic" not in told


def test_a_tiny_matrix_product_stays_float_and_is_named(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    assert (
        next(layer.macs for layer in variant.cost.layers if layer.name == "head") < 0.005 * variant.cost.macs
    )
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe())
    assert any("of the MACs each: head" in note for note in artifact.audit.notes)


def test_int8_without_samples_is_a_failure_of_the_candidate(variant: Variant, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="needs a recipe and calibration samples"):
        export(variant, tmp_path / "a", "int8")


def test_a_precision_that_openvino_lacks_is_a_failure_of_the_candidate(
    variant: Variant, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="OpenVINO has no fp8"):
        export(variant, tmp_path / "a", "fp8")


def test_nothing_is_printed_and_loggers_are_put_back(
    variant: Variant, calibration: CalibrationData, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import rich

    level = logging.getLogger("nncf").level
    export(variant, tmp_path / "a", "int8", calibration, recipe(bias_correction="fast"))
    assert capfd.readouterr() == ("", "")
    assert not rich.get_console().quiet
    assert logging.getLogger("nncf").level == level


def test_audit_of_an_opened_artifact_equals_that_of_the_export(variant: Variant, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "fp32")
    assert OpenVinoBackend().audit(artifact) == artifact.audit


def test_audit_knows_a_quantized_model_by_its_quantizers(
    variant: Variant, calibration: CalibrationData, tmp_path: Path
) -> None:
    artifact = export(variant, tmp_path / "a", "int8", calibration, recipe(keep_float_ops=("Gemm",)))
    audit = audit_model(Path(artifact.folder) / artifact.entry, {}, 1)
    assert any("stayed in float: head" in note for note in audit.notes)


def test_profile_times_every_arithmetic_layer(variant: Variant, samples: np.ndarray, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "fp32")
    times = layer_times(OpenVinoBackend(), artifact, {"x": samples[:1]}, runs=5)
    assert {"first", "second", "head"} <= {layer.name for layer in times}
    assert all(layer.time_ms >= 0 for layer in times)


def test_a_damaged_model_is_a_failure_of_the_candidate(variant: Variant, tmp_path: Path) -> None:
    artifact = export(variant, tmp_path / "a", "fp32")
    (Path(artifact.folder) / artifact.entry).write_text("<net>")
    with pytest.raises(StageError, match="load"):
        OpenVinoBackend().open(artifact)


def test_lint_accepts_what_the_cpu_can_run(variant: Variant) -> None:
    assert OpenVinoBackend().lint(variant, find_target("generic-cpu")).issues == ()


def test_lint_forbids_dynamic_shapes_on_an_npu(variant: Variant) -> None:
    dynamic = replace(
        variant,
        signature=Signature((TensorSpec("x", "float32", (None, 3, 8, 8)),), variant.signature.outputs),
    )
    issues = OpenVinoBackend().lint(dynamic, find_target("intel-npu")).issues
    assert [issue.node for issue in issues if issue.severity == "error"] == ["x"]


def test_lint_names_what_openvino_cannot_read(variant: Variant, tmp_path: Path) -> None:
    model = onnx.load(variant.onnx_path)
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "odd.onnx"
    onnx.save(model, str(path))
    (issue,) = (
        OpenVinoBackend().lint(replace(variant, onnx_path=str(path)), find_target("generic-cpu")).issues
    )
    assert issue.severity == "error"
    assert "NoSuchOperator" in issue.reason


@pytest.mark.parametrize("before", ["Flatten", "Reshape", "DepthToSpace"])
def test_outputs_keep_their_names_where_an_elementwise_operation_is_last(before: str, tmp_path: Path) -> None:
    """Compiling moves it before the reshape, and the output then bears the name of the tensor inside as well."""
    from edgekit.backends.openvino.ir import read_onnx, write_model
    from edgekit.board.sessions.openvino import OpenVinoSession
    from tests.backends.graphs import conv, graph, node, weights

    moved = {
        "Flatten": node("Flatten", ["/c"], ["/a/moved"]),
        "Reshape": node("Reshape", ["/c", "shape"], ["/a/moved"]),
        "DepthToSpace": node("DepthToSpace", ["/c"], ["/a/moved"], blocksize=2),
    }[before]
    constants = {"w": weights(4, 4, 3, 3)}
    if before == "Reshape":
        constants["shape"] = np.array([1, 2, 2, 64], dtype=np.int64)
    model = graph(
        [conv("x", "/c"), moved, node("Sigmoid", ["/a/moved"], ["scores"])], constants, outputs=["scores"]
    )
    onnx.save(model, str(tmp_path / "network.onnx"))
    write_model(read_onnx(tmp_path / "network.onnx"), tmp_path / "model.xml")
    with OpenVinoSession(str(tmp_path / "model.xml"), {}, 1) as session:
        assert [spec["name"] for spec in session.signature["outputs"]] == ["scores"]


@pytest.mark.parametrize(
    ("precision", "features", "zeros", "is_asked"),
    [
        ("int8", {"amx_int8"}, True, True),
        ("int8", {"avx512_vnni"}, True, False),
        ("int8", {"amx_int8"}, False, False),
        ("fp32", {"amx_int8"}, True, False),
    ],
)
def test_sparse_weights_are_unpacked_by_kernels_on_amx_alone(
    variant: Variant, calibration: CalibrationData, tmp_path: Path, precision: Precision, features: set[str],
    zeros: bool, is_asked: bool,
) -> None:  # fmt: skip
    from onnx import numpy_helper

    model = onnx.load(variant.onnx_path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if zeros and values.ndim > 1:
            values.reshape(-1)[::2] = 0.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    path = tmp_path / "sparse.onnx"
    onnx.save(model, str(path))
    sparse = replace(variant, onnx_path=str(path))
    rule = recipe() if precision == "int8" else None
    artifact = export(sparse, tmp_path / "out", precision, calibration, rule, frozenset(features))
    assert artifact.options.get("CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE") == ("0.5" if is_asked else None)
    with OpenVinoBackend().open(artifact):  # the option is taken on every CPU
        pass
