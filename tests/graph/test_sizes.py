"""Sizes that a file leaves open, and the ones that are given for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ModelError
from edgekit.graph.equivalence import run_onnx
from edgekit.graph.proto import read_model
from edgekit.graph.signature import signature_of
from edgekit.graph.sizes import fix_sizes, shapes_by_name, sizes_told
from edgekit.model import import_onnx
from edgekit.quantities import parse_input_shape, read_input_shapes
from edgekit.types import InputShape, TensorSpec

Dims = tuple[int | str | None, ...] | None


def taking(**inputs: Dims) -> onnx.ModelProto:
    """A network that passes its inputs on; None is an unknown rank."""
    nodes = [helper.make_node("Relu", [name], [f"{name}_out"], name) for name in inputs]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    outputs = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None) for name in inputs]
    return helper.make_model(
        helper.make_graph(nodes, "g", ports, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def fixed(model: onnx.ModelProto, *shapes: str) -> list[tuple[int | None, ...]]:
    """The inputs' shapes afterwards."""
    fix_sizes(model, "net.onnx", [parse_input_shape(shape) for shape in shapes])
    return [spec.shape for spec in signature_of(model).inputs]


@pytest.mark.parametrize("batch", ["batch", "N", "?", None, 0, -1, 1])
def test_a_free_batch_becomes_1_whatever_it_is_called(batch: int | str | None) -> None:
    assert fixed(taking(x=(batch, 3, 8, 8))) == [(1, 3, 8, 8)]


@pytest.mark.parametrize("shape", ["x=1x3x320x256", "1x3x320x256", "1,3,320,256", " x = 1 x 3x320x256"])
def test_open_sizes_become_those_that_are_given(shape: str) -> None:
    assert fixed(taking(x=("n", 3, "h", "w")), shape) == [(1, 3, 320, 256)]


def test_an_unknown_rank_is_given_whole() -> None:
    assert fixed(taking(x=None), "1x8") == [(1, 8)]


def test_several_inputs_are_named_or_come_in_order() -> None:
    inputs: dict[str, Dims] = {"image": (1, 3, "h", "w"), "meta": ("n", "k")}
    for shapes in (("meta=1x5", "image=1x3x8x8"), ("1x3x8x8", "1x5")):
        assert fixed(taking(**inputs), *shapes) == [(1, 3, 8, 8), (1, 5)]


def test_names_may_hold_what_else_stands_in_a_shape() -> None:
    assert parse_input_shape("serving=2x3/in:0=1x8") == InputShape("serving=2x3/in:0", (1, 8))


def test_the_batch_of_a_state_is_known_by_its_name() -> None:
    assert fixed(taking(x=("batch", 6, 3), h=(1, "batch", 8))) == [(1, 6, 3), (1, 1, 8)]


def test_sizes_that_are_all_called_alike_are_no_batch() -> None:
    for name in ("?", "N"):
        with pytest.raises(ModelError, match="dimension 2 of input 'x' is dynamic"):
            fixed(taking(x=(name, 3, name, name)))


@pytest.mark.parametrize(
    ("inputs", "shapes", "said"),
    [
        ({"x": (1, 3, "h", None)}, [], r"dimension 2 of input 'x' is dynamic \(h\).*--input-shape x=1x3xHxW"),
        ({"x": (1, 3, "h", 8)}, ["y=1x3x8x8"], "the network has no input 'y'; allowed: x"),
        ({"x": (1, 3, "h", 8)}, ["1x3x8"], "has 3 dimensions, input 'x' has 4"),
        ({"x": (1, 3, "h", 8)}, ["1x4x8x8"], "dimension 1 of input 'x' is fixed to 3, not 4"),
        ({"x": ("n", 3, "h", 8)}, ["8x3x8x8"], "has a batch of 8; allowed: 1"),
        ({"x": ("n", 3, "h", 8)}, ["1x3x8x8", "x=1x3x9x8"], "input 'x' was given a shape already"),
        ({"x": (1, 2), "z": (1, "k")}, ["1x2"], "names no input, and the network has 2"),
        ({"x": None}, [], "the shape of input 'x' is unknown; give it, as --input-shape x="),
        ({"x": ()}, [], "input 'x' is a single value"),
        ({"x": (8, 3, 4, 4)}, [], "input 'x' has a fixed batch of 8"),
        ({"x": (1, 6, 3), "h": (2, 1, 8)}, [], r"first axis of input 'h' \[2, 1, 8\] is not the batch; axis 1"),
        ({"x": ("b", 6, 3), "h": (2, "b", 8)}, [], r"first axis of input 'h' \[2, 1, 8\] is not the batch"),
        ({"x": (1, 8), "target": (2,)}, [], r"first axis of input 'target' \[2\] is not the batch"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(inputs: dict[str, Dims], shapes: list[str], said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        fixed(taking(**inputs), *shapes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1x0x8", "1x-3", "x", "", "=1x3", "x=", "1x3x", "x=1x3.5", "1x3 4"])
def test_what_is_no_shape_is_told(text: str) -> None:
    with pytest.raises(ModelError, match=r"--input-shape .*allowed: whole numbers above 0"):
        parse_input_shape(text)


@pytest.mark.parametrize("given", ["x=1x3x8x8", ["x=1x3x8x8"], {"x": (1, 3, 8, 8)}])
def test_python_gives_shapes_as_text_or_numbers(given: object) -> None:
    assert read_input_shapes(given) == (InputShape("x", (1, 3, 8, 8)),)  # type: ignore[arg-type]


def test_what_was_open_is_told_with_what_it_became() -> None:
    model = taking(x=("n", 3, "h", 8))
    before = signature_of(model)
    fix_sizes(model, "net.onnx", [InputShape("", (1, 3, 4, 8))])
    assert sizes_told(before, signature_of(model)) == (
        "dimension 0 of input x is dynamic; it becomes 1",
        "dimension 2 of input x is dynamic; it becomes 4",
    )


def test_an_imported_network_has_the_sizes(tmp_path: Path) -> None:
    onnx.save(taking(x=("n", 3, "h", "w")), str(tmp_path / "in.onnx"))
    signature = import_onnx(tmp_path / "in.onnx", tmp_path / "out.onnx", [InputShape("x", (1, 3, 6, 4))])
    assert signature.outputs[0].shape == (1, 3, 6, 4)
    assert signature == signature_of(read_model(tmp_path / "out.onnx"))


def test_a_shape_for_an_input_that_has_no_order() -> None:
    inputs = [TensorSpec("a", "float32", ()), TensorSpec("b", "float32", (None, 4))]
    assert shapes_by_name([InputShape("b", (1, 4))], inputs) == {"b": (1, 4)}


def recurrent(batch: int | str) -> onnx.ModelProto:
    """A GRU of two layers that takes its state as PyTorch has it, [layers, N, H], and gives the last one."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Split", ["h"], ["h0", "h1"], axis=0),
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
    ]
    weights, below = [], "t"
    for layer, width in enumerate((3, 8)):
        for name, shape in ((f"w{layer}", (1, 24, width)), (f"r{layer}", (1, 24, 8))):
            weights.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
        outputs = [f"y{layer}", f"last{layer}"]
        given = [below, f"w{layer}", f"r{layer}", "", "", f"h{layer}"]
        nodes.append(helper.make_node("GRU", given, outputs, hidden_size=8))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "one"], [f"s{layer}"]))
        below = f"s{layer}"
    weights.append(numpy_helper.from_array(np.array([1]), "one"))
    nodes.append(helper.make_node("Concat", ["last0", "last1"], ["state"], axis=0))
    ports = {"x": (batch, 6, 3), "h": (2, batch, 8), "state": (2, batch, 8)}
    x, h, state = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in ports.items()
    )
    return helper.make_model(
        helper.make_graph(nodes, "g", [x, h], [state], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_state_of_several_layers_is_turned_where_its_shape_is_given(
    batch: int | str, tmp_path: Path
) -> None:
    model = recurrent(batch)
    onnx.save(model, str(tmp_path / "in.onnx"))
    before = signature_of(model)
    signature = import_onnx(tmp_path / "in.onnx", tmp_path / "out.onnx", [InputShape("h", (1, 2, 8))])
    assert [spec.shape for spec in signature.inputs] == [(1, 6, 3), (1, 2, 8)]
    assert (
        "input h had its samples along axis 1; the built network takes one as [1, 2, 8], and transposes it"
        in (sizes_told(before, signature))
    )
    rng = np.random.default_rng(1)
    x, h = (
        rng.standard_normal((1, 6, 3)).astype(np.float32),
        rng.standard_normal((1, 2, 8)).astype(np.float32),
    )
    wanted = run_onnx(recurrent(1), (x, h.transpose(1, 0, 2)))
    found = run_onnx(read_model(tmp_path / "out.onnx"), (x, h))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    assert np.abs(run_onnx(recurrent(1), (x, h.reshape(2, 1, 8)[::-1]))[0] - wanted[0]).max() > 0.01


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_state_of_several_layers_is_else_refused_with_the_shape_to_give(batch: int | str) -> None:
    with pytest.raises(
        ModelError, match=r"net.onnx: the first axis of input 'h' \[2, 1, 8\].*2 recurrent layers"
    ) as told:
        fixed(recurrent(batch))
    assert "give --input-shape h=1x2x8 and samples of it as [N, 2, 8]" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("shape", ["h=2x1x8", "h=1x3x8", "h=1x2x9"])
def test_a_state_is_turned_by_no_other_shape(shape: str) -> None:
    with pytest.raises(ModelError, match=f"--input-shape {shape}") as told:
        fixed(recurrent("n"), shape)
    assert "\n" not in str(told.value)


def test_a_state_is_also_turned_for_the_branches_that_read_it() -> None:
    branches = {}
    for name, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        port = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, (2, 1, 8))
        branches[name] = helper.make_graph([helper.make_node(op, ["h"], [f"{name}_y"])], name, [], [port])
    nodes = [
        helper.make_node("ReduceMax", ["h"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
    ]
    nodes.append(helper.make_node("If", ["c"], ["y"], **branches))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 1, 8)) for name in ("h", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    fix_sizes(model, "net.onnx", [InputShape("h", (1, 2, 8))])
    h = np.random.default_rng(0).standard_normal((1, 2, 8)).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(model, (h,))[0], np.maximum(h.transpose(1, 0, 2), 0))
