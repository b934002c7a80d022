"""Units of attention as flatbuffers: LiteRT computes with them what numpy does, and they are all that is exported."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.errors import StageError
from edgekit.latency.litert_layers import write_tflite
from edgekit.latency.unit import Family, Unit, UnitPrecision

pytest.importorskip("ai_edge_litert")

Numbers = NDArray[np.float64]
HEADS, TOKENS, WIDTH = 2, 16, 24

MOVED = (1, TOKENS, 3, HEADS, 0)


def tokens(kind: Any, **settings: Any) -> Family:
    return Family(kind, (TOKENS, 1), "fp32", **settings)


def softmax(x: Numbers, *_: Numbers) -> Numbers:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def norm(x: Numbers, *_: Numbers) -> Numbers:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5))


def gelu(x: Numbers, *_: Numbers) -> Numbers:
    return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)


def sigmoid(x: Numbers, *_: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-x))


CASES: dict[str, tuple[Unit, Callable[..., Numbers]]] = {
    "product": (
        Unit(tokens("product", groups=HEADS), HEADS * WIDTH, HEADS * TOKENS), lambda x, y: x @ y,
    ),
    "single head": (Unit(tokens("product", axes=(1, 0)), WIDTH, TOKENS), lambda x, y: x @ y.swapaxes(-1, -2)),
    "softmax": (Unit(tokens("softmax"), WIDTH, WIDTH), softmax),
    "norm": (Unit(tokens("norm"), WIDTH, WIDTH), norm),
    "gelu": (Unit(tokens("pointwise", activation="Gelu"), WIDTH, WIDTH), gelu),
    "sigmoid": (Unit(tokens("pointwise", activation="Sigmoid"), WIDTH, WIDTH), sigmoid),
    "tanh": (Unit(tokens("pointwise", activation="Tanh"), WIDTH, WIDTH), lambda x: np.tanh(x)),
    "relu": (Unit(tokens("pointwise", activation="Relu"), WIDTH, WIDTH), lambda x: np.maximum(x, 0)),
    "clip": (Unit(tokens("pointwise", activation="Clip"), WIDTH, WIDTH), lambda x: np.clip(x, 0, 6)),
    "leaky": (
        Unit(tokens("pointwise", activation="LeakyRelu"), WIDTH, WIDTH), lambda x: np.where(x < 0, x / 100, x),
    ),
    "hardswish": (
        Unit(tokens("pointwise", activation="HardSwish"), WIDTH, WIDTH), lambda x: x * np.clip(x + 3, 0, 6) / 6,
    ),
    "average": (Unit(tokens("average"), WIDTH, WIDTH), lambda x: x.mean(1)),
    "transpose": (
        Unit(tokens("transpose", shape=MOVED, axes=(2, 0, 3, 1, 4)), WIDTH, WIDTH),
        lambda x: x.transpose(2, 0, 3, 1, 4),
    ),
    "slice": (Unit(tokens("slice", shape=MOVED, axes=(2,)), WIDTH, WIDTH), lambda x: x[:, :, 0]),
}  # fmt: skip
STEPS = {"norm": 6.0}
"""How many steps of its own grid an INT8 result may be off: of a norm each of nine operations rounds."""


@pytest.mark.parametrize("name", list(CASES))
def test_a_float_unit_gives_what_numpy_gives(name: str, tmp_path: Path) -> None:
    unit, truth = CASES[name]
    feeds, (made,), _ = run(unit, tmp_path)
    np.testing.assert_allclose(made, truth(*feeds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_an_int8_unit_gives_what_numpy_gives_to_its_own_steps(name: str, tmp_path: Path) -> None:
    unit, truth = CASES[name]
    feeds, (made,), grid = run(unit.in_precision("int8"), tmp_path)
    wanted = np.clip(truth(*feeds), *grid.ends)
    assert wanted.std() > 4 * grid.step, "nothing would be seen"
    assert np.abs(made - wanted).max() <= STEPS.get(name, 1.5) * grid.step


@pytest.mark.parametrize("name", ["norm", "softmax", "gelu", "average"])
def test_a_float_unit_between_integers_takes_and_gives_them(name: str, tmp_path: Path) -> None:
    from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

    unit, truth = CASES[name]
    unit = replace(unit, family=replace(unit.family, rounded=True))
    feeds, (made,), grid = run(unit, tmp_path)
    ops = read_ops(read_flatbuffer(tmp_path / "net.tflite"))
    assert (ops[0].kind, ops[-1].kind) == ("DEQUANTIZE", "QUANTIZE")
    assert {op.precision for op in ops[1:-1]} == {"fp32"}
    wanted = np.clip(truth(*feeds), *grid.ends)
    assert np.abs(made - wanted).max() <= 0.6 * grid.step


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("operand", ["channels", "scalar", "whole"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_stored_numbers_are_one_per_channel_or_one_or_all(
    operator: str, operand: Any, precision: UnitPrecision, tmp_path: Path
) -> None:
    from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

    unit = Unit(tokens("pointwise", activation=operator, operand=operand), WIDTH, WIDTH).in_precision(
        precision
    )
    (x,), (made,), grid = run(unit, tmp_path)
    (op,) = read_ops(read_flatbuffer(tmp_path / "net.tflite"))
    shapes = {"channels": (WIDTH,), "scalar": (), "whole": (1, TOKENS, WIDTH)}
    assert op.inputs[1].shape == shapes[operand]
    other = interpreter(tmp_path).get_tensor(1).astype(np.float64)
    if precision == "int8":
        other = (other - op.inputs[1].zero_point[0]) * op.inputs[1].scale[0]
    numpys = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
    assert np.abs(made - np.clip(numpys[operator](x, other), *grid.ends)).max() <= 1.5 * grid.step


@pytest.mark.parametrize(
    ("activation", "precision"), [("HardSigmoid", "fp32"), ("HardSigmoid", "int8"), ("Div", "int8")]
)
def test_what_litert_has_no_operation_for_is_refused(
    activation: str, precision: UnitPrecision, tmp_path: Path
) -> None:
    unit = Unit(tokens("pointwise", activation=activation), WIDTH, WIDTH).in_precision(precision)
    with pytest.raises(StageError, match="LiteRT"):
        write_tflite(unit, 1, tmp_path / "net.tflite")


@pytest.mark.parametrize("name", ["norm", "softmax", "gelu"])
def test_copies_that_keep_a_tensors_shape_stand_one_behind_the_other(name: str, tmp_path: Path) -> None:
    unit, truth = CASES[name]
    write_tflite(unit, 3, tmp_path / "net.tflite")
    (x,), (made,), _ = run_file(tmp_path)
    np.testing.assert_allclose(made, truth(truth(truth(x))), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("heads", [1, 4])
def test_units_are_all_that_the_exporter_makes_of_a_transformer(
    heads: int, precision: UnitPrecision, transformers: dict[int, Path], tmp_path: Path
) -> None:
    """Each operation by kind, precision, size, and whether XNNPACK takes it; so no operation is left out in silence."""
    pytest.importorskip("litert_torch")
    from edgekit.board.machine import describe
    from edgekit.hardware import find_target
    from edgekit.latency import units_of
    from edgekit.latency.wholes import build_whole

    transformer = transformers[heads]
    features = frozenset(describe()["features"])
    built = build_whole(transformer, "litert", precision, find_target("generic-cpu"), features, tmp_path)
    network = units_of(transformer, "litert", precision)
    assert network.unmeasured == ()
    of_units: Counter[Any] = Counter()
    for unit in network.units:
        write_tflite(unit, 1, tmp_path / "unit.tflite")
        of_units += operations(tmp_path / "unit.tflite")
    assert of_units == operations(tmp_path / built.entry)


def operations(path: Path) -> Counter[Any]:
    """All but reshapes, and what brings a network's ends into integers and back."""
    from edgekit.backends.litert.audit import delegated
    from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

    taken = delegated(path)
    return Counter(
        (op.kind, op.precision, math.prod(op.outputs[0].shape), op.index in taken)
        for op in read_ops(read_flatbuffer(path))
        if op.kind not in ("RESHAPE", "QUANTIZE", "DEQUANTIZE")
    )


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By their heads. Normalizations have weights of their own, as trained ones do."""
    import torch

    from edgekit.model.export import export_onnx
    from edgekit.testing.networks import TinyTransformer

    paths = {}
    for heads in (1, 4):
        torch.manual_seed(0)
        network = TinyTransformer(heads=heads).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.LayerNorm):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.1)
        paths[heads] = tmp_path_factory.mktemp("transformer") / f"{heads}.onnx"
        export_onnx(network, (np.zeros((1, 1, 8, 8), np.float32),), paths[heads])
    return paths


@dataclass(frozen=True)
class Grid:
    """Of an output: what a step is, and the least and largest value that it holds."""

    step: float
    ends: tuple[float, float]


def run(unit: Unit, folder: Path) -> tuple[list[Numbers], list[Numbers], Grid]:
    """Real inputs, real outputs, and the grid of the latter, of one copy."""
    write_tflite(unit, 1, folder / "net.tflite")
    return run_file(folder)


def interpreter(folder: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(str(folder / "net.tflite"))
    opened.allocate_tensors()
    return opened


def run_file(folder: Path) -> tuple[list[Numbers], list[Numbers], Grid]:
    opened, rng = interpreter(folder), np.random.default_rng(0)
    feeds = []
    for port in opened.get_input_details():
        value = rng.normal(0, 0.6, port["shape"]).astype(np.float32)
        if port["dtype"] == np.int8:
            scale, zero = port["quantization"]
            stored = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
            opened.set_tensor(port["index"], stored)
            feeds.append((stored.astype(np.float64) - zero) * scale)
        else:
            opened.set_tensor(port["index"], value)
            feeds.append(value.astype(np.float64))
    opened.invoke()
    made, grid = [], Grid(1e-4, (-np.inf, np.inf))
    for port in opened.get_output_details():
        value, (scale, zero) = opened.get_tensor(port["index"]).astype(np.float64), port["quantization"]
        made.append((value - zero) * scale if scale else value)
        if scale:
            grid = Grid(scale, ((-128 - zero) * scale, (127 - zero) * scale))
    return feeds, made, grid
