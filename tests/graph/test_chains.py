"""Chains of layers that XNNPACK's sparse kernels take, by its own conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.chains import why_no_sparse_chain


def chain(change: dict[str, Any] | None = None, *, between: str = "", ends: str = "GlobalAveragePool") -> Any:
    """A first convolution, a depthwise and a 1x1 one with an addition, and a mean. `change`: weights and settings of
    first, depthwise, pointwise. `between`: one more operation before the mean."""
    layers = {
        "first": ((8, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        "depthwise": ((8, 1, 3, 3), {"group": 8, "pads": [1, 1, 1, 1]}),
        "pointwise": ((8, 8, 1, 1), {}),
    } | (change or {})
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "first"], ["a"], "first", **layers["first"][1]),
        node("Relu", ["a"], ["b"], "relu"),
        node("Conv", ["b", "depthwise"], ["c"], "depthwise", **layers["depthwise"][1]),
        node("Conv", ["c", "pointwise"], ["d"], "pointwise", **layers["pointwise"][1]),
        node("Add", ["d", "a"], ["e"], "add"),
    ]
    if between:
        nodes.append(node(between, ["e"], ["f"], "between"))
    nodes.append(node(ends, ["f" if between else "e"], ["y"], "mean"))
    value = helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, (shape, _) in layers.items()
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
            [value("y", TensorProto.FLOAT, None)],
            weights,
        )
    )


def told(made: Any, folder: Path) -> str:
    onnx.save(made, str(folder / "network.onnx"))
    return why_no_sparse_chain(folder / "network.onnx")


def test_a_network_of_1x1_and_depthwise_convolutions_is_taken(tmp_path: Path) -> None:
    assert told(chain(), tmp_path) == ""
    assert told(chain(ends="ReduceMean"), tmp_path) == ""
    assert told(chain(between="HardSwish"), tmp_path) == ""
    five = {"depthwise": ((8, 1, 5, 5), {"group": 8, "pads": [2, 2, 2, 2], "strides": [1, 1]})}
    assert told(chain(five), tmp_path) == ""


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (chain({"first": ((8, 1, 3, 3), {"strides": [2, 2], "pads": [1] * 4})}), "first is neither a 1x1"),
        (chain({"first": ((8, 3, 3, 3), {"pads": [1] * 4})}), "first is neither"),
        (chain({"first": ((8, 3, 1, 1), {})}), "does not begin with a 3x3 convolution of stride 2"),
        (chain({"pointwise": ((8, 8, 3, 3), {"pads": [1] * 4})}), "pointwise is neither"),
        (chain({"pointwise": ((8, 8, 1, 1), {"strides": [2, 2]})}), "pointwise is neither"),
        (chain({"depthwise": ((8, 1, 3, 3), {"group": 8})}), "depthwise is neither"),
        (
            chain({"depthwise": ((8, 1, 3, 3), {"group": 8, "pads": [2] * 4, "dilations": [2, 2]})}),
            "depthwise is",
        ),
        (chain(between="MaxPool"), r"between (MaxPool) is none of the layers"),
        (chain(ends="Identity"), "no mean over the image"),
    ],
)
def test_what_breaks_the_chain_is_named(made: Any, said: str, tmp_path: Path) -> None:
    assert said in told(made, tmp_path)


def test_a_value_that_is_read_elsewhere_too_breaks_it(tmp_path: Path) -> None:
    made = chain()
    made.graph.node.append(helper.make_node("MaxPool", ["b"], ["z"], "aside", kernel_shape=[2, 2]))
    assert told(made, tmp_path) == "aside (MaxPool) reads it from without"


def test_without_a_1x1_convolution_there_is_nothing_to_gain(tmp_path: Path) -> None:
    deep = {"pointwise": ((8, 1, 3, 3), {"group": 8, "pads": [1] * 4})}
    assert told(chain(deep), tmp_path) == "there is no 1x1 convolution in it"
