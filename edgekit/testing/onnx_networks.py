"""Small ONNX networks made without torch, for tests of quantizers and backends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Cost, Signature, TensorSpec, Variant

if TYPE_CHECKING:
    import onnx

__all__ = ["INPUT", "OUTPUT", "as_variant", "detector_network", "residual_network", "samples"]

INPUT, OUTPUT, SIZE, CLASSES = "pixels", "scores", 8, 5


def residual_network(path: Path, *, opset: int = 17, dead: bool = False) -> Path:
    """float32 [1, 3, 8, 8] → [1, 5]: two convolutions with a residual and a widening, padded shortcut, a mean
    over the image, a Gemm. The last convolution has no bias. `dead`: the first one gives zeros only.
    """
    import onnx
    from onnx import helper

    rng = np.random.default_rng(11)
    node = helper.make_node
    nodes = [
        node("Conv", [INPUT, "w1", "b1"], ["c1"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], name="stem_relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="inner", pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"], name="inner_relu"),
        node("Conv", ["r2", "w3"], ["c3"], name="widen", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Slice", ["r1", "starts", "ends", "axes", "steps"], ["s1"], name="shortcut"),
        node("Pad", ["s1", "pads"], ["p1"], name="shortcut_pad"),
        node("Add", ["c3", "p1"], ["a1"], name="residual"),
        node("Relu", ["a1"], ["r3"], name="residual_relu"),
        node("ReduceMean", ["r3"], ["m1"], name="mean", axes=[2, 3], keepdims=0),
        node("Gemm", ["m1", "w4", "b4"], [OUTPUT], name="head", transB=1),
    ]
    big = np.iinfo(np.int64).max
    weights = [
        _random("w1", rng, 8, 3, 3, 3, scale=0.0 if dead else 0.4),
        _random("b1", rng, 8, scale=0.0 if dead else 0.4),
        _random("w2", rng, 8, 8, 3, 3, scale=0.2),
        _random("b2", rng, 8),
        _random("w3", rng, 16, 8, 3, 3, scale=0.2),
        _random("w4", rng, CLASSES, 16),
        _random("b4", rng, CLASSES),
        *(
            _integers(n, v)
            for n, v in (("starts", [0, 0]), ("ends", [big, big]), ("axes", [2, 3]), ("steps", [2, 2]))
        ),
        _integers("pads", [0, 4, 0, 0, 0, 4, 0, 0]),
    ]
    kind = onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info(INPUT, kind, [1, 3, SIZE, SIZE])
    given = helper.make_tensor_value_info(OUTPUT, kind, [1, CLASSES])
    graph = helper.make_graph(nodes, "residual", [taken], [given], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path)
    )
    return path


def detector_network(path: Path, *, moved: bool = False) -> Path:
    """float32 [1, 3, 8, 8] → [1, 10, 16]: boxes to some hundreds beside scores to 0.3, joined along the channels.

    Convolutions "stem", "body", "box" and "score". `moved`: the joined result is transposed, as YOLOv5 gives it.
    """
    import onnx
    from onnx import helper

    rng = np.random.default_rng(12)
    node = helper.make_node
    last = "joined_parts" if moved else OUTPUT
    nodes = [
        node("Conv", [INPUT, "w1", "b1"], ["c1"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c1"], ["r1"], name="stem_relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="body", pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"], name="body_relu"),
        node("Conv", ["r2", "w3", "b3"], ["c3"], name="box"),
        node("Reshape", ["c3", "box_shape"], ["boxes"], name="flat_boxes"),
        node("Conv", ["r2", "w4", "b4"], ["c4"], name="score"),
        node("Reshape", ["c4", "score_shape"], ["f4"], name="flat_scores"),
        node("Sigmoid", ["f4"], ["g4"], name="score_sigmoid"),
        node("Mul", ["g4", "third"], ["found"], name="score_scale"),
        node("Concat", ["boxes", "found"], [last], name="joined", axis=1),
    ]
    if moved:
        nodes.append(node("Transpose", [last], [OUTPUT], name="turned", perm=[0, 2, 1]))
    weights = [
        _random("w1", rng, 8, 3, 3, 3),
        _random("b1", rng, 8),
        _random("w2", rng, 8, 8, 3, 3, scale=0.2),
        _random("b2", rng, 8),
        _random("w3", rng, 4, 8, 1, 1, scale=40.0),
        _random("b3", rng, 4, scale=100.0),
        _random("w4", rng, 6, 8, 1, 1),
        _random("b4", rng, 6),
        _integers("box_shape", [1, 4, 16]),
        _integers("score_shape", [1, 6, 16]),
        onnx.numpy_helper.from_array(np.array(0.3, np.float32), "third"),
    ]
    kind = onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info(INPUT, kind, [1, 3, SIZE, SIZE])
    given = helper.make_tensor_value_info(OUTPUT, kind, [1, 16, 10] if moved else [1, 10, 16])
    graph = helper.make_graph(nodes, "detector", [taken], [given], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def as_variant(path: Path) -> Variant:
    """The original variant that a file of `residual_network` is."""
    from edgekit.files import sha256_file

    signature = Signature(
        (TensorSpec(INPUT, "float32", (1, 3, SIZE, SIZE)),), (TensorSpec(OUTPUT, "float32", (1, CLASSES)),)
    )
    cost = Cost(macs=0, parameters=0, weight_bytes=0, activation_bytes=0)
    return Variant("original", "original", None, "", str(path), sha256_file(path), signature, cost)


def samples(count: int, seed: int = 3) -> NDArray[np.float32]:
    """Inputs for `residual_network`, float32 [count, 3, 8, 8]."""
    values = np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE))
    return np.asarray(values, np.float32)


def _random(name: str, rng: np.random.Generator, *shape: int, scale: float = 0.4) -> onnx.TensorProto:
    from onnx import numpy_helper

    proto: Any = numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)
    return proto


def _integers(name: str, values: list[int]) -> onnx.TensorProto:
    from onnx import numpy_helper

    proto: Any = numpy_helper.from_array(np.array(values, np.int64), name)
    return proto
