"""ONNX carried over to torch computes what ONNX Runtime computes; what cannot be carried over is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgekit.errors import ModelError
from edgekit.graph.to_torch.module import onnx_to_torch, unsupported
from edgekit.model import export_onnx
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from edgekit.testing.onnx_networks import residual_network

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

IMAGE = (1, 4, 6, 5)
Constant = tuple[str, np.ndarray]


def graph(
    path: Path,
    op: str,
    shapes: Sequence[tuple[int, ...]],
    *,
    constants: Sequence[Any] = (),
    outputs: int = 1,
    opset: int = 17,
    **attributes: Any,
) -> Path:
    """A network of one node: run-time inputs of `shapes`, then constants; None leaves an optional input out."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    names = [f"x{index}" for index in range(len(shapes))]
    stored = [(f"c{index}", value) for index, value in enumerate(constants) if value is not None]
    rest = [f"c{index}" if value is not None else "" for index, value in enumerate(constants)]
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, [*names, *rest], results, name="the_node", **attributes)
    taken = [helper.make_tensor_value_info(n, 1, list(s)) for n, s in zip(names, shapes, strict=True)]
    given_ = [helper.make_empty_tensor_value_info(name) for name in results]
    made = helper.make_graph(
        [node], "g", taken, given_, [numpy_helper.from_array(value, name) for name, value in stored]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for info in inferred.graph.output:  # Clip and the like infer no type for what is left empty
        assert info.type.tensor_type.elem_type
    onnx.save(inferred, str(path))
    return path


def both(path: Path, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What ONNX Runtime gives, and what the carried-over network gives, on the same random inputs."""
    rng = np.random.default_rng(seed)
    network = onnx_to_torch(path)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in network.inputs.items()}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    right = session.run(None, feeds)
    with torch.inference_mode():
        got = network.module(*map(torch.from_numpy, feeds.values()))
    return right, [each.numpy() for each in (got if isinstance(got, tuple) else (got,))]


def expect_agreement(path: Path) -> None:
    right, got = both(path)
    assert len(right) == len(got)
    for wanted, found in zip(right, got, strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize(
    "op",
    ["Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
     "Mish", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Softmax", "LogSoftmax", "Softplus",
     "Softsign", "Tanh", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Transpose"],
)  # fmt: skip
def test_functions_of_one_tensor(tmp_path: Path, op: str) -> None:
    expect_agreement(graph(tmp_path / "net.onnx", op, [IMAGE], opset=18))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"])
@pytest.mark.parametrize("other", [IMAGE, (1, 4, 1, 1), (1, 5)])
def test_functions_of_two_tensors(tmp_path: Path, op: str, other: tuple[int, ...]) -> None:
    expect_agreement(graph(tmp_path / "net.onnx", op, [IMAGE, other]))


NODES: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "clip to 0..6": ("Clip", [IMAGE], {"constants": [scalar(0), scalar(6)]}),
    "clip below": ("Clip", [IMAGE], {"constants": [scalar(-0.5)]}),
    "clip above": ("Clip", [IMAGE], {"constants": [None, scalar(0.5)]}),
    "prelu per channel": ("PRelu", [IMAGE], {"constants": [floats(4, 1, 1)]}),
    "prelu per pixel": ("PRelu", [IMAGE], {"constants": [floats(4, 6, 5)]}),
    "gelu": ("Gelu", [IMAGE], {"opset": 20}),
    "gelu by tanh": ("Gelu", [IMAGE], {"opset": 20, "approximate": "tanh"}),
    "softmax of opset 11": ("Softmax", [(1, 7)], {"opset": 11}),
    "softmax over channels": ("Softmax", [IMAGE], {"axis": 1}),
    "hard sigmoid of mobilenet": ("HardSigmoid", [IMAGE], {"alpha": 1 / 6, "beta": 0.5}),
    "power": ("Pow", [IMAGE], {"constants": [scalar(2)]}),
    "reshape": ("Reshape", [IMAGE], {"constants": [ints(1, -1, 10)]}),
    "squeeze": ("Squeeze", [(1, 4, 1, 1)], {"constants": [ints(2, 3)]}),
    "unsqueeze": ("Unsqueeze", [(1, 4)], {"constants": [ints(2)]}),
    "transpose": ("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
    "concat": ("Concat", [IMAGE, IMAGE], {"axis": 1}),
    "split by sizes": ("Split", [IMAGE], {"constants": [ints(1, 3)], "axis": 1, "outputs": 2}),
    "split in equal parts": ("Split", [IMAGE], {"axis": 1, "outputs": 2, "opset": 13}),
    "split unevenly": ("Split", [(1, 5)], {"axis": 1, "outputs": 2, "opset": 18, "num_outputs": 2}),
    "slice": ("Slice", [IMAGE], {"constants": [ints(1, -4), ints(9, -1), ints(2, 3)]}),
    "slice with steps": ("Slice", [IMAGE], {"constants": [ints(0, 0), ints(99, 99), ints(2, 3), ints(2, 2)]}),
    "slice backwards": ("Slice", [IMAGE], {"constants": [ints(4), ints(-99), ints(3), ints(-2)]}),
    "gather one": ("Gather", [IMAGE], {"constants": [np.array(2)], "axis": 1}),
    "gather every second": ("Gather", [IMAGE], {"constants": [ints(0, 2)], "axis": 1}),
    "gather shuffled": ("Gather", [IMAGE], {"constants": [ints(3, 0, -2)], "axis": 1}),
    "gather rows": ("Gather", [IMAGE], {"constants": [ints(0, 1, 2, 3).reshape(2, 2)], "axis": 2}),
    "gather rows shuffled": ("Gather", [IMAGE], {"constants": [ints(3, 0, -2, 1).reshape(2, 2)], "axis": 2}),
    "expand": ("Expand", [(1, 4, 1, 1)], {"constants": [ints(1, 4, 3, 2)]}),
    "tile": ("Tile", [IMAGE], {"constants": [ints(1, 2, 1, 1)]}),
    "pad with zeros": ("Pad", [IMAGE], {"constants": [ints(0, 1, 2, 0, 0, 0, 1, 3)]}),
    "pad with a value": ("Pad", [IMAGE], {"constants": [ints(0, 0, 1, 1, 0, 0, 1, 1), scalar(-2)]}),
    "pad some axes": ("Pad", [IMAGE], {"constants": [ints(1, 2), None, ints(3)], "opset": 18}),
    "pad by mirroring": ("Pad", [IMAGE], {"constants": [ints(0, 0, 1, 2, 0, 0, 2, 1)], "mode": "reflect"}),
    "pad with edges": ("Pad", [IMAGE], {"constants": [ints(0, 0, 1, 2, 0, 0, 2, 1)], "mode": "edge"}),
    "mean over the image": ("ReduceMean", [IMAGE], {"axes": [2, 3], "keepdims": 0}),
    "mean over tokens": ("ReduceMean", [(1, 7, 3)], {"axes": [1], "keepdims": 0}),
    "mean of opset 18": ("ReduceMean", [IMAGE], {"constants": [ints(-1, -2)], "opset": 18}),
    "sum": ("ReduceSum", [IMAGE], {"constants": [ints(1)]}),
    "largest": ("ReduceMax", [IMAGE], {"axes": [1]}),
    "norm": ("ReduceL2", [IMAGE], {"axes": [1]}),
    "place of the largest": ("ArgMax", [IMAGE], {"axis": 1, "keepdims": 0}),
    "depth to space": ("DepthToSpace", [IMAGE], {"blocksize": 2}),
    "depth to space, by columns": ("DepthToSpace", [IMAGE], {"blocksize": 2, "mode": "CRD"}),
    "space to depth": ("SpaceToDepth", [(1, 2, 4, 6)], {"blocksize": 2}),
    "matrix product": ("MatMul", [(1, 3, 4)], {"constants": [floats(4, 5)]}),
    "attention's product": ("MatMul", [(1, 2, 3, 4), (1, 2, 4, 5)], {}),
    "gemm": ("Gemm", [(1, 4)], {"constants": [floats(4, 3), floats(3)]}),
    "gemm, scaled": ("Gemm", [(1, 4)], {"constants": [floats(3, 4), floats(3)], "transB": 1, "alpha": 0.5,
                                        "beta": 2.0}),
    "batch normalization": ("BatchNormalization", [IMAGE],
                            {"constants": [floats(4), floats(4), floats(4), np.abs(floats(4))]}),
    "layer normalization": ("LayerNormalization", [(1, 3, 8)], {"constants": [floats(8), floats(8, seed=2)]}),
    "instance normalization": ("InstanceNormalization", [IMAGE], {"constants": [floats(4), floats(4, seed=2)]}),
    "transposed convolution": ("ConvTranspose", [IMAGE], {"constants": [floats(4, 3, 3, 3), floats(3)],
                                                          "strides": [2, 2], "pads": [1, 1, 1, 1],
                                                          "output_padding": [1, 1]}),
    "transposed, cut unevenly": ("ConvTranspose", [IMAGE], {"constants": [floats(4, 3, 3, 3)], "strides": [2, 2],
                                                            "pads": [0, 1, 1, 0]}),
    "convolution over time": ("Conv", [(1, 4, 9)], {"constants": [floats(3, 4, 3), floats(3)], "pads": [1, 1]}),
    "convolution, same size": ("Conv", [IMAGE], {"constants": [floats(3, 4, 3, 3)], "auto_pad": "SAME_UPPER",
                                                 "strides": [2, 2]}),
    "convolution padded unevenly": ("Conv", [IMAGE], {"constants": [floats(3, 4, 3, 3)], "pads": [0, 1, 1, 2]}),
    "average pooling counts zeros": ("AveragePool", [IMAGE], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1],
                                                              "count_include_pad": 1}),
    "average pooling": ("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "max pooling, uneven": ("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    "max pooling, rounded up": ("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "nearest, twice the size": ("Resize", [IMAGE], {"constants": [None, np.float32([1, 1, 2, 2])],
                                                    "coordinate_transformation_mode": "asymmetric",
                                                    "nearest_mode": "floor"}),
    "nearest by half pixels": ("Resize", [IMAGE], {"constants": [None, np.float32([1, 1, 3, 3])]}),
    "linear": ("Resize", [IMAGE], {"constants": [None, np.float32([1, 1, 2, 2])], "mode": "linear"}),
    "linear, corners fixed": ("Resize", [IMAGE], {"constants": [None, None, ints(1, 4, 11, 9)], "mode": "linear",
                                                  "coordinate_transformation_mode": "align_corners"}),
    "einsum": ("Einsum", [(1, 3, 4), (1, 4, 2)], {"equation": "bij,bjk->bik"}),
    "cast": ("Cast", [IMAGE], {"to": 7}),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_a_node_computes_the_same(tmp_path: Path, case: str) -> None:
    op, shapes, details = NODES[case]
    expect_agreement(graph(tmp_path / "net.onnx", op, shapes, **details))


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("case", ["clip to 0..6", "slice with steps", "reshape", "gemm", "matrix product"])
def test_opsets_make_no_difference(tmp_path: Path, case: str, opset: int) -> None:
    op, shapes, details = NODES[case]
    expect_agreement(graph(tmp_path / "net.onnx", op, shapes, **{**details, "opset": opset}))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_convolution_computes_the_same(tmp_path: Path, data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 2, 4]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilations = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    for axis, size in enumerate(IMAGE[2:]):
        assume(size + pads[axis] + pads[axis + 2] >= dilations[axis] * (kernel[axis] - 1) + 1)
    weight = floats(8, 4 // groups, *kernel)
    attributes = {"pads": pads, "strides": list(strides), "dilations": list(dilations), "group": groups}
    expect_agreement(
        graph(tmp_path / "net.onnx", "Conv", [IMAGE], constants=[weight, floats(8)], **attributes)
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(-7, 7), end=st.integers(-7, 7), step=st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_any_slice_computes_the_same(tmp_path: Path, start: int, end: int, step: int) -> None:
    assume(len(np.arange(6)[_as_onnx(start, end, step)]))
    expect_agreement(
        graph(
            tmp_path / "net.onnx", "Slice", [IMAGE], constants=[ints(start), ints(end), ints(2), ints(step)]
        )
    )


def _as_onnx(start: int, end: int, step: int) -> slice:
    """ONNX clamps a start and an end beyond the axis; numpy's slice reads an end of -1 - size the same way."""
    return slice(start, end if end >= -6 or step > 0 else None, step)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(TinyConvNet, (1, 1, 8, 8)), (DepthwiseNet, (1, 3, 32, 32)), (TinyTransformer, (1, 1, 8, 8))],
)
@pytest.mark.parametrize("opset", [17, 20])
def test_exported_networks_compute_the_same(
    tmp_path: Path, network: Any, shape: tuple[int, ...], opset: int
) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(network().eval(), (floats(*shape),), path, opset=opset)
    assert unsupported(path) == ()
    expect_agreement(path)


def test_a_shortcut_of_strided_pixels_computes_the_same(tmp_path: Path) -> None:
    expect_agreement(residual_network(tmp_path / "net.onnx"))


def test_every_node_that_cannot_be_carried_over_is_named(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", "Det", [(1, 3, 3)])
    (issue,) = unsupported(path)
    assert (issue.severity, issue.node) == ("error", "the_node")
    assert "Det" in issue.reason


def test_a_form_that_cannot_be_carried_over_says_why(tmp_path: Path) -> None:
    constants = [None, np.float32([1, 1, 2, 2])]
    path = graph(tmp_path / "net.onnx", "Resize", [IMAGE], constants=constants, mode="cubic")
    assert "cubic" in unsupported(path)[0].reason


def test_a_parameter_computed_at_run_time_is_named(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", "Conv", [IMAGE, (1, 4, 3, 3)])
    assert "computed while the network runs" in unsupported(path)[0].reason


def test_carrying_over_what_cannot_be_is_one_error_with_the_node(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", "Det", [(1, 3, 3)])
    with pytest.raises(ModelError, match="the_node: operator Det"):
        onnx_to_torch(path)


def test_a_truncated_file_is_a_model_error(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="not a readable ONNX file"):
        unsupported(path)


def test_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    network = onnx_to_torch(residual_network(tmp_path / "net.onnx"))
    assert network.inputs == {"pixels": (1, 3, 8, 8)}
    assert network.outputs == {"scores": (1, 5)}
