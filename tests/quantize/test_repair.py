"""Repairs of a float network: what stays as it is, what comes nearer to float, and what runtimes make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.layers import weighted_layers
from edgekit.graph.taps import load_graph
from edgekit.hardware import find_target
from edgekit.quantize import Recipe, Scheme, find_recipe
from edgekit.quantize.repair import repaired_network, told_repairs
from edgekit.quantize.rescale import SUFFIX, rescaled, seams
from edgekit.quantize.rounding import round_adaptively, rounded_rows
from edgekit.quantize.simulate import fake_quantize_weights
from edgekit.testing.memo import CountingMemo
from edgekit.types import Artifact, Candidate, Variant

VNNI = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})
PLAIN = Scheme()
EQUALIZED = find_recipe("int8-equalized")
SIZE = 8


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE)).astype(np.float32)


DATA = CalibrationData(lambda: iter([(pixels(64),)]), 64, "normal")


def unequal_network(path: Path, *, clip: bool = False, spread: float = 32.0) -> Path:
    """float32 [1, 3, 8, 8] → [1, 6]: Conv "first" → Relu (or Clip) → depthwise "second" → Relu → Conv "third" → Relu →
    pool → Flatten → Gemm "head", whose inner channels differ by up to spread²."""
    rng = np.random.default_rng(1)
    node = helper.make_node

    def factors(count: int) -> np.ndarray:
        return spread ** (2 * rng.random(count) - 1)

    f1, f2, f3 = factors(16), factors(16), factors(24)
    normal = rng.standard_normal
    arrays = {
        "w1": normal((16, 3, 3, 3)) * 0.3 * f1[:, None, None, None],
        "b1": normal(16) * 0.2 * f1,
        "w2": normal((16, 1, 3, 3)) * 0.4 * (f2 / f1)[:, None, None, None],
        "b2": normal(16) * 0.2 * f2,
        "w3": normal((24, 16, 1, 1)) * 0.3 * f3[:, None, None, None] / f2[None, :, None, None],
        "b3": normal(24) * 0.2 * f3,
        "w4": normal((6, 24)) / f3,
        "b4": normal(6),
    }
    bound = ["low", "high"] if clip else []
    act = "Clip" if clip else "Relu"
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        node(act, ["c1", *bound], ["r1"], name="act1"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", group=16, pads=[1, 1, 1, 1], strides=[2, 2]),
        node(act, ["c2", *bound], ["r2"], name="act2"),
        node("Conv", ["r2", "w3", "b3"], ["c3"], name="third"),
        node("Relu", ["c3"], ["r3"], name="act3"),
        node("GlobalAveragePool", ["r3"], ["p"], name="pool"),
        node("Flatten", ["p"], ["f"], name="flat"),
        node("Gemm", ["f", "w4", "b4"], ["scores"], name="head", transB=1),
    ]
    constants = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in arrays.items()]
    if clip:
        ends = (("low", 0.0), ("high", 6.0))
        constants += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in ends]
    return saved(path, nodes, [1, 3, SIZE, SIZE], [1, 6], constants)


def attention_like(path: Path) -> Path:
    """float32 [1, 5, 12] → [1, 5, 12]: a normalization with unequal channels, read by two products, their product."""
    rng = np.random.default_rng(2)
    factors = 64.0 ** (2 * rng.random(12) - 1)
    arrays = {
        "scale": factors, "shift": 0.1 * factors, "wq": rng.standard_normal((12, 12)) / factors[:, None],
        "wk": rng.standard_normal((12, 12)) / factors[:, None], "bq": rng.standard_normal(12),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "scale", "shift"], ["n"], name="norm"),
        node("MatMul", ["n", "wq"], ["q"], name="queries"),
        node("Add", ["q", "bq"], ["qb"], name="queries_bias"),
        node("MatMul", ["n", "wk"], ["k"], name="keys"),
        node("Mul", ["qb", "k"], ["scores"], name="product"),
    ]
    constants = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in arrays.items()]
    return saved(path, nodes, [1, 5, 12], [1, 5, 12], constants)


def saved(path: Path, nodes: Any, taken: list[int], given_shape: list[int], constants: Any) -> Path:
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, taken)],
        [helper.make_tensor_value_info("scores", kind, given_shape)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unequal_network(tmp_path_factory.mktemp("unequal") / "net.onnx")


@pytest.fixture(scope="module")
def built(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Artifact]:
    """Runtime and recipe → its artifact of the network, made once."""

    @cache
    def build(backend: str, recipe: str) -> Artifact:
        pytest.importorskip({"openvino": "nncf", "litert": "litert_torch"}.get(backend, backend))
        folder = tmp_path_factory.mktemp("built") / recipe
        return get_backend(backend).export(request_for(network, backend, find_recipe(recipe), folder))

    return build


def request_for(
    path: Path, backend: str, recipe: Recipe, folder: Path, target: str = "generic-cpu"
) -> ExportRequest:
    folder.mkdir()
    variant = Variant(
        "net", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    candidate = Candidate("x", "net", backend, "int8", recipe.name)
    return ExportRequest(variant, candidate, find_target(target), VNNI, folder, recipe, DATA)


def error_of(path: Path, artifact: Any) -> float:
    """Root mean square of what the artifact's outputs differ by, as a share of the float network's."""
    images, model = pixels(16, 9), onnx.load(str(path))
    right = np.concatenate([run_onnx(model, (image[None],))[0] for image in images])
    with get_backend(artifact.backend).open(artifact) as session:
        given_out = np.concatenate([session.run({"x": image[None]})["scores"] for image in images])
    return float(np.sqrt(np.square(given_out - right).mean() / np.square(right).mean()))


def changed(recipe: str, **keys: Any) -> Recipe:
    return msgspec.structs.replace(find_recipe(recipe), **keys)


def test_equalized_channels_span_alike_and_the_function_stays(network: Path) -> None:
    model = load_graph(network)
    moved = rescaled(model, DATA, equalize=True, smooth=0.0, per_channel=True)
    assert (moved.equalized, moved.smoothed) == (3, 0)
    for image in pixels(4, 5):
        before, after = (run_onnx(net, (image[None],)) for net in (model, moved.model))
        assert difference(before, after, tolerance=1e-4) == ""
    wide = {}
    for net, name in ((model, "r1"), (moved.model, f"r1{SUFFIX}")):
        tapped = onnx.ModelProto()
        tapped.CopyFrom(net)
        tapped.graph.output.append(onnx.ValueInfoProto(name=name))
        values = np.concatenate([run_onnx(tapped, (image[None],))[-1] for image in pixels(64)])
        largest = values.max(axis=(0, 2, 3))
        wide[name] = largest.max() / largest.min()
    assert wide["r1"] > 50
    assert wide[f"r1{SUFFIX}"] < 1.01  # a depthwise layer reads it: weights of its own take the whole factor


def test_behind_a_normalization_all_that_read_it_take_the_factors(tmp_path: Path) -> None:
    model = load_graph(attention_like(tmp_path / "net.onnx"))
    tokens = np.random.default_rng(3).standard_normal((64, 1, 5, 12)).astype(np.float32)
    data = CalibrationData(lambda: iter([(sample,) for sample in tokens]), 64, "tokens")
    moved = rescaled(model, data, equalize=False, smooth=0.5, per_channel=True)
    assert (moved.equalized, moved.smoothed) == (0, 1)
    before, after = (run_onnx(net, (tokens[0],)) for net in (model, moved.model))
    assert difference(before, after, tolerance=1e-4) == ""
    scales = {
        name: numpy_helper.to_array(next(t for t in net.graph.initializer if t.name == "scale"))
        for name, net in (("before", model), ("after", moved.model))
    }
    spread = {name: scale.max() / scale.min() for name, scale in scales.items()}
    assert spread["after"] < spread["before"] / 10


def test_where_no_factor_goes_through_the_reason_is_told(tmp_path: Path, network: Path) -> None:
    clipped = load_graph(unequal_network(tmp_path / "net.onnx", clip=True))
    kept, left = seams(clipped)
    assert [seam.source for seam in kept] == ["third"]
    assert left["first"] == "Clip act1 does not let a factor of a channel through"
    assert left["head"] == "it is an output of the network"
    shared = load_graph(network)
    shared.graph.node.append(helper.make_node("Relu", ["r1"], ["other"], name="other"))
    assert "reads it too" in seams(shared)[1]["first"]
    twice = load_graph(network)
    twice.graph.node.append(helper.make_node("Relu", ["w2"], ["weights_out"], name="weights_read"))
    assert seams(twice)[1]["first"] == "w2 is shared"


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 12), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_no_channel_is_rounded_worse_than_to_the_nearest(
    seed: int, channels: int, inputs: int, seen: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, looked = rng.standard_normal((channels, inputs)), rng.standard_normal((seen, inputs))
    scales = np.abs(rows).max(axis=1, keepdims=True) / 7
    moments = looked.T @ looked / seen
    integers = rounded_rows(rows, scales, 7, moments)
    assert (np.abs(integers - rows / scales) <= 1 + 1e-9).all()
    assert (np.abs(integers).max(axis=1) == 7).all()

    def cost(chosen: np.ndarray) -> np.ndarray:
        off = chosen * scales - rows
        return np.einsum("oi,ij,oj->o", off, moments, off)

    assert (cost(integers) <= cost(np.rint(rows / scales)) + 1e-9).all()


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(weight_bits=7), Scheme(per_channel=False)])
def test_who_rounds_the_rounded_weights_again_finds_the_same_integers(network: Path, scheme: Scheme) -> None:
    model = load_graph(network)
    rounded = round_adaptively(model, DATA, scheme)
    assert rounded.total == sum(weights.size for weights in rounded.weights.values())
    assert 0 < rounded.flipped < rounded.total / 2
    assert set(rounded.biases) == {"first", "second", "third", "head"}
    for layer in weighted_layers(model):
        weights = rounded.weights[layer.weight]
        again = fake_quantize_weights(weights, scheme, layer.channel_axis)
        np.testing.assert_allclose(again, weights, rtol=1e-5, atol=1e-7 * np.abs(weights).max())


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
def test_the_runtime_holds_exactly_the_integers_that_were_chosen(
    network: Path, built: Callable[[str, str], Artifact], backend: str
) -> None:
    artifact = built(backend, "int8-adaround")
    scheme = Scheme("int8") if backend == "litert" else Scheme()
    content = repaired_network(network, find_recipe("int8-adaround"), scheme, DATA)
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer}
    plain = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(network)).graph.initializer}
    chosen = np.rint(weights["w3"] / (np.abs(weights["w3"]).max(axis=(1, 2, 3), keepdims=True) / 127))
    nearest = np.rint(plain["w3"] / (np.abs(plain["w3"]).max(axis=(1, 2, 3), keepdims=True) / 127))
    assert (chosen != nearest).any()
    held = integers_of(artifact, (24, 16))
    assert any(np.array_equal(integers, chosen.reshape(24, 16)) for integers in held)


def integers_of(artifact: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Every int8 constant of the artifact with as many numbers, in that shape."""
    path = Path(artifact.folder) / artifact.entry
    if artifact.backend == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=1)
        details = interpreter.get_tensor_details()
        arrays = []
        for detail in details:
            if detail["dtype"] == np.int8 and int(np.prod(detail["shape"])) == np.prod(shape):
                try:
                    arrays.append(interpreter.get_tensor(detail["index"]))
                except ValueError:
                    continue  # no constant
    else:
        arrays = [numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer]
    return [
        array.reshape(shape) for array in arrays if array.dtype == np.int8 and array.size == np.prod(shape)
    ]


@pytest.mark.parametrize("backend", ["onnxruntime", "litert", "openvino"])
def test_each_rung_brings_a_runtime_nearer_to_float(
    network: Path, built: Callable[[str, str], Artifact], backend: str
) -> None:
    prefix = "int8-nncf-" if backend == "openvino" else "int8-"
    errors = {}
    for name in ("mse", "equalized", "adaround"):
        artifact = built(backend, prefix + name)
        errors[name] = error_of(network, artifact)
        assert artifact.quantization is not None
        assert bool(artifact.quantization.repairs) == (name != "mse")
    assert errors["equalized"] < errors["mse"] / 2
    assert errors["adaround"] < errors["mse"] / 2


def test_the_repair_is_a_stage_by_itself_and_hangs_on_each_of_its_keys(network: Path) -> None:
    memo = CountingMemo()

    def repaired(recipe: Recipe, data: CalibrationData = DATA, scheme: Scheme = PLAIN) -> bytes:
        return repaired_network(network, recipe, scheme, data, memo=memo)

    first = repaired(EQUALIZED)
    assert repaired(changed("int8-equalized", bias_correction="none", keep_float=1.0)) == first
    assert memo.made["repair"] == 1
    others = [
        repaired(changed("int8-equalized", equalize=False)),
        repaired(changed("int8-equalized", rounding="adaptive")),
        repaired(changed("int8-equalized", affine=True)),
        repaired(changed("int8-equalized", rounding="adaptive"), scheme=Scheme(weight_bits=7)),
        repaired(EQUALIZED, CalibrationData(lambda: iter([(2 * pixels(64, 7),)]), 64, "other")),
        repaired(changed("int8-equalized", granularity="per-tensor"), scheme=Scheme(per_channel=False)),
    ]
    assert len({first, *others}) == 7
    assert memo.made["repair"] == 7
    repaired(changed("int8-equalized", smooth=0.25))
    assert memo.made["repair"] == 8


def test_a_repaired_file_tells_what_was_done(network: Path, tmp_path: Path) -> None:
    assert told_repairs(network) == ()
    path = tmp_path / "repaired.onnx"
    path.write_bytes(repaired_network(network, find_recipe("int8-adaround"), Scheme(), DATA))
    moved, rounded, affine = told_repairs(path)
    assert moved.startswith(
        "channels equalized across layers at 3 tensors; not behind 1 layer, e.g. since it is an output"
    )
    assert "weights rounded to the other of their two integers" in rounded
    assert affine.startswith("each channel")


def test_affine_repair_without_ranges_of_ours_is_refused(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    recipe = changed("int8-nncf-adaround", observer="nncf")
    with pytest.raises(StageError, match="affine = true needs ranges") as caught:
        get_backend("openvino").plan(request_for(network, "openvino", recipe, tmp_path / "out"))
    assert caught.value.remedy == "use one of minmax, percentile, entropy, mse"


def test_openvino_s_seven_bits_are_refused_by_name(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    request = request_for(network, "openvino", find_recipe("int8-nncf-adaround"), tmp_path / "out")
    with pytest.raises(StageError, match='rounding = "adaptive" is not for OpenVINO: without VNNI'):
        get_backend("openvino").plan(replace(request, features=frozenset({"avx2", "fma"})))
