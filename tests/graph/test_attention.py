"""Whether a graph attends."""

from __future__ import annotations

import onnx
import pytest

from edgekit.graph.attention import attends

HEADER = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,8] q, float[1,8,4] k, float[1,4,8] v) => (float[N] y)'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = MatMul(q, k) p = Softmax<axis=-1>(s) y = MatMul(p, v)", True),
        ("s = MatMul(q, k) p = Softmax<axis=-1>(s) d = Identity(p) y = MatMul(d, v)", True),
        # class scores
        ("s = MatMul(q, k) y = Softmax<axis=-1>(s)", False),
        # a fixed mixture, as of a distance's bins
        ("w = Constant<value_floats=[1.0,2.0]>() s = MatMul(q, k) p = Softmax<axis=-1>(s) y = Mul(p, w)", False),
        ("s = MatMul(q, k) y = MatMul(s, v)", False),
    ],
)  # fmt: skip
def test_attends(body: str, expected: bool) -> None:
    assert attends(onnx.parser.parse_model(f"{HEADER} {{ {body} }}")) is expected
