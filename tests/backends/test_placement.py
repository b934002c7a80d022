"""Where artifacts have integers: a simulation of what is read out of them predicts what their runtimes do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.backends.placement import read_placement
from edgekit.data import make_splits, open_source
from edgekit.data.splits import Splits
from edgekit.devices.local import local_machine
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.quantize import find_recipe
from edgekit.types import Candidate, Preprocess, Variant
from tests.conftest import UserNetwork

AVX2 = frozenset({"avx2", "fma"})
VNNI = AVX2 | {"avx512_vnni", "avx_vnni"}


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return make_splits(open_source("digits", Preprocess(), tmp_path_factory.mktemp("digits")), seed=0)


@pytest.fixture(scope="module")
def network(digits_network: UserNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import load_file

    from edgekit.model import export_onnx
    from edgekit.testing.networks import TinyConvNet

    module = TinyConvNet(width=32)
    module.load_state_dict(load_file(digits_network.weights))
    path = tmp_path_factory.mktemp("placed") / "net.onnx"
    export_onnx(module.eval(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    return path


def request_for(
    path: Path, backend: str, recipe: str, splits: Splits, folder: Path, features: frozenset[str] = VNNI
) -> ExportRequest:
    inputs = next(iter(splits.calibration.batches(128))).inputs
    variant = Variant(
        "net", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    folder.mkdir()
    return ExportRequest(
        variant, Candidate("x", "net", backend, "int8", recipe), find_target("generic-cpu"), features, folder,
        find_recipe(recipe), CalibrationData(lambda: iter([inputs]), len(inputs[0]), "digest"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "recipe", "extra", "features", "bits"),
    [
        ("onnxruntime", "int8-mse", "onnxruntime", VNNI, 8),
        ("onnxruntime", "int8-mse", "onnxruntime", AVX2, 7),
        ("openvino", "int8-nncf-mse", "nncf", VNNI, 8),
        ("litert", "int8-mse", "litert_torch", VNNI, 8),
    ],
)
def test_the_simulation_predicts_what_the_runtime_does(
    network: Path,
    splits: Splits,
    tmp_path: Path,
    backend: str,
    recipe: str,
    extra: str,
    features: frozenset[str],
    bits: int,
) -> None:
    from edgekit.compress.qat.training import simulated_outputs, untrained_model

    pytest.importorskip(extra)
    if features == VNNI and backend != "litert" and local_machine().features.isdisjoint(VNNI - AVX2):
        pytest.skip(
            "this CPU has no VNNI: products of 8 bits saturate, as on no CPU that they are written for"
        )
    made = get_backend(backend)
    first = request_for(network, backend, recipe, splits, tmp_path / "first", features)
    observed = read_placement(made.export(first), made.plan(first), network)
    path = tmp_path / "untrained.onnx"
    onnx.save(untrained_model(network, observed), str(path))
    second = request_for(path, backend, "int8-trained", splits, tmp_path / "second", features)
    artifact = made.export(second)
    placement = read_placement(artifact, made.plan(second), path)
    assert placement.rules == observed.rules
    assert placement.integers.weight_bits == bits
    (simulated,) = simulated_outputs(path, placement, splits.validation)
    with made.open(artifact) as session:
        (name,) = (port["name"] for port in session.signature["inputs"])
        ran = np.concatenate(
            [
                next(iter(session.run({name: digit[None]}).values()))
                for batch in splits.validation.batches(64)
                for digit in batch.inputs[0]
            ]
        )
    assert np.mean(simulated.argmax(1) == ran.argmax(1)) >= 0.995
    assert np.sqrt(np.square(simulated - ran).mean()) < 0.01 * np.abs(ran).max()


def test_openvino_s_seven_bits_are_refused(network: Path, splits: Splits, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    request = request_for(network, "openvino", "int8-trained", splits, tmp_path / "first", AVX2)
    with pytest.raises(StageError, match="not for OpenVINO: without VNNI its weights have 7 bits"):
        get_backend("openvino").plan(request)


def test_what_holds_the_same_integers_is_named_once(network: Path, splits: Splits, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    backend = get_backend("onnxruntime")
    request = request_for(network, "onnxruntime", "int8-mse", splits, tmp_path / "first")
    placement = read_placement(backend.export(request), backend.plan(request), network)
    makers = {node.output[0]: node.op_type for node in onnx.load(str(network)).graph.node}
    assert "Flatten" not in {makers.get(name) for name in placement.ranges}
    assert "Relu" in {makers.get(name) for name in placement.ranges}
    assert "Gemm" in {
        node.op_type for node in onnx.load(str(network)).graph.node if node.name in placement.layers
    }


def test_integers_that_are_not_simulated_are_refused(network: Path, splits: Splits, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    backend = get_backend("onnxruntime")
    request = request_for(network, "onnxruntime", "int8-mse", splits, tmp_path / "first")
    plan = backend.plan(request)
    artifact = backend.export(request)
    for integers, told in (
        (replace(plan.integers, symmetric=True, activation="int8"), "symmetric activations"),
        (replace(plan.integers, weight="uint8"), "uint8 weights"),
    ):
        with pytest.raises(StageError, match=f"{told} are not simulated"):
            read_placement(artifact, replace(plan, integers=integers), network)
