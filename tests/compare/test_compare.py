"""Whole comparisons, with the real runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.compare import CompareSamples, Comparison, compare_artifacts
from edgekit.errors import DataError, ModelError
from edgekit.testing.onnx_networks import residual_network, samples
from edgekit.types import Artifact
from tests.compare.artifacts import broken, onnx_artifact, renamed, stream, truncated

pytest.importorskip("onnxruntime")


def sqnr(found: Comparison) -> dict[str, float]:
    return {layer.name: layer.difference.sqnr_db for layer in found.layers}


def test_an_artifact_does_not_differ_from_itself(int8_onnx: Artifact) -> None:
    found = compare_artifacts(int8_onnx, int8_onnx, stream())
    assert found.parts_at is None
    assert {layer.difference.cosine for layer in found.layers} == {1.0}
    assert found.unmatched_a == found.unmatched_b == ()
    assert found.outputs[0].agreement is not None
    assert found.outputs[0].agreement.value == 1.0


def test_two_runtimes_agree_on_a_float_network_under_its_names(
    float_onnx: Artifact, float_openvino: Artifact
) -> None:
    found = compare_artifacts(float_onnx, float_openvino, stream())
    assert found.parts_at is None
    assert {"r1", "r2", "r3", "scores"} <= set(sqnr(found))
    assert {layer.matched for layer in found.layers} == {"name"}
    assert min(sqnr(found).values()) > 80


@pytest.mark.parametrize("fixture", ["int8_onnx", "int8_openvino"])
def test_a_quantized_network_is_shown_on_its_grids_and_does_not_part(
    float_onnx: Artifact, fixture: str, request: pytest.FixtureRequest
) -> None:
    found = compare_artifacts(float_onnx, request.getfixturevalue(fixture), stream())
    assert found.parts_at is None
    assert (found.a.arithmetic, found.b.arithmetic) == ("fp32", "int8")
    relus = [layer for layer in found.layers if layer.name in ("r1", "r2", "r3")]
    assert len(relus) == 3
    assert all(layer.grid is not None and layer.grid.step > 0 for layer in relus)
    assert all(20 < layer.difference.sqnr_db < 60 for layer in relus)
    assert found.outputs[0].difference.cosine > 0.99


def test_a_bias_that_openvino_keeps_behind_shape_arithmetic_is_one_layer_with_its_product(
    tmp_path: Path, float_onnx: Artifact
) -> None:
    ov = pytest.importorskip("openvino")
    source = residual_network(tmp_path / "net.onnx")
    ov.save_model(ov.Core().read_model(str(source)), str(tmp_path / "net.xml"), compress_to_fp16=False)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    unfolded = replace(onnx_artifact(tmp_path / "net.xml"), backend="openvino", options=options)
    found = compare_artifacts(float_onnx, unfolded, stream())
    assert found.unmatched_b == ()
    assert {"c1", "c2"} <= set(sqnr(found))
    assert min(sqnr(found).values()) > 80


def test_every_value_of_a_quantized_tensor_lies_on_its_grid(int8_onnx: Artifact) -> None:
    from edgekit.backends import open_reader

    with open_reader(int8_onnx) as reader:
        values = reader.look({"pixels": samples(1)})
        for facts in reader.tensors:
            if facts.grid is not None:
                steps = values[facts.name] / facts.grid.step
                assert np.allclose(steps, np.rint(steps), atol=1e-3)


def test_showing_tensors_leaves_the_integer_kernels_in_place(int8_onnx: Artifact) -> None:
    assert compare_artifacts(int8_onnx, int8_onnx, stream(4)).notes == ()


@pytest.mark.parametrize(("weight", "channel", "tensor"), [("w1", 3, "c1"), ("w2", 5, "c2"), ("w3", 2, "c3")])
def test_a_broken_layer_is_named_as_the_first_where_they_part(
    tmp_path: Path, weight: str, channel: int, tensor: str
) -> None:
    good = residual_network(tmp_path / "good.onnx")
    bad = broken(good, tmp_path / "bad.onnx", weight, channel, 6.0)
    found = compare_artifacts(onnx_artifact(good), onnx_artifact(bad), stream())
    assert found.parts_at == tensor
    divergence = found.first_divergence()
    assert divergence is not None
    assert (
        f"weights differ in 1 of {16 if weight == 'w3' else 8} output channels: in channel {channel}"
        in divergence.hints[0]
    )


def test_a_broken_layer_is_found_across_runtimes_and_precisions(
    tmp_path: Path, int8_openvino: Artifact
) -> None:
    good = residual_network(tmp_path / "good.onnx")
    bad = broken(good, tmp_path / "bad.onnx", "w2", 5, -6.0)
    found = compare_artifacts(onnx_artifact(bad), int8_openvino, stream())
    assert found.parts_at == "r2"
    assert found.outputs[0].difference.sqnr_db < 20


def test_a_broken_layer_is_found_when_no_name_survives(tmp_path: Path) -> None:
    good = residual_network(tmp_path / "good.onnx")
    bad = renamed(broken(good, tmp_path / "bad.onnx", "w2", 5, -6.0), tmp_path / "renamed.onnx")
    found = compare_artifacts(onnx_artifact(good), onnx_artifact(bad), stream())
    assert found.parts_at == "c2"
    order = [layer.name_b for layer in found.layers if layer.matched != "name"]
    assert order == sorted(order, key=lambda name: int(name.removeprefix("inner_")))
    assert {layer.name: layer.matched for layer in found.layers}["c1"] == "values"


def test_the_result_does_not_hang_on_how_samples_are_batched(
    float_onnx: Artifact, int8_onnx: Artifact
) -> None:
    arrays = samples(24, 5)
    at_once = CompareSamples(lambda: iter([((arrays,), None)]), 24, "at once")
    one, other = (compare_artifacts(float_onnx, int8_onnx, given) for given in (stream(), at_once))
    assert sqnr(one) == sqnr(other)


def test_labels_give_both_accuracies(float_onnx: Artifact) -> None:
    labels = np.zeros(24, np.int64)
    found = compare_artifacts(float_onnx, float_onnx, stream(24, labels))
    assert found.accuracy is not None
    assert found.accuracy[0] == found.accuracy[1]


def test_without_samples_inputs_are_random_and_told_so(float_onnx: Artifact, int8_onnx: Artifact) -> None:
    found = compare_artifacts(float_onnx, int8_onnx, count=3)
    assert found.samples == 3
    assert "random inputs" in found.inputs


def test_another_network_is_refused_in_one_line(tmp_path: Path, float_onnx: Artifact) -> None:
    from tests.devices.models import write_classifier

    other = onnx_artifact(write_classifier(tmp_path / "other.onnx"))
    with pytest.raises(ModelError, match="is not the same network"):
        compare_artifacts(float_onnx, other, names=("float", "other"))


def test_samples_of_another_shape_are_refused(float_onnx: Artifact) -> None:
    wrong = CompareSamples(lambda: iter([((np.zeros((2, 1, 9, 9), np.float32),), None)]), 2, "wrong")
    with pytest.raises(DataError, match="samples of shape"):
        compare_artifacts(float_onnx, float_onnx, wrong)


def test_samples_with_channels_last_are_turned(float_onnx: Artifact) -> None:
    arrays = samples(8, 5)
    last = CompareSamples(lambda: iter([((arrays.transpose(0, 2, 3, 1).copy(),), None)]), 8, "channels last")
    first = CompareSamples(lambda: iter([((arrays,), None)]), 8, "channels first")
    one, other = (compare_artifacts(float_onnx, float_onnx, given) for given in (last, first))
    ranges = [[layer.difference.range_a for layer in found.layers] for found in (one, other)]
    assert ranges[0] == ranges[1]


def test_a_calibration_that_saw_too_small_values_is_told_as_a_narrow_range(
    float_onnx: Artifact, int8_onnx: Artifact
) -> None:
    arrays = 6.0 * samples(16, 5)
    loud = CompareSamples(lambda: iter([((arrays,), None)]), 16, "loud samples")
    found = compare_artifacts(float_onnx, int8_onnx, loud)
    divergence = found.first_divergence()
    assert divergence is not None
    assert divergence.name == "pixels"
    assert "lie outside of its range" in divergence.hints[0]


@pytest.mark.parametrize("fixture", ["float_onnx", "float_openvino"])
def test_a_truncated_file_is_refused_in_one_line(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Artifact = request.getfixturevalue(fixture)
    half = truncated(Path(whole.folder) / whole.entry, tmp_path / whole.entry)
    with pytest.raises(ModelError, match="cannot be opened") as caught:
        compare_artifacts(whole, replace(whole, folder=str(half.parent)))
    assert "\n" not in str(caught.value)
