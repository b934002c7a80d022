"""An attention as a flatbuffer: LiteRT computes what numpy does, and its operations are those of an artifact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import PrunePlan, PruneStep, apply_plan
from edgekit.latency import units_of
from edgekit.latency.litert_layers import write_tflite
from edgekit.latency.unit import AttentionForm, Family, Unit, UnitPrecision
from edgekit.model.export import export_onnx
from tests.compress import transformers as written
from tests.latency.test_litert_functions import Numbers, interpreter, run, softmax
from tests.planning.attentions import IMAGES, small_vit

pytest.importorskip("ai_edge_litert")

TOKENS, KEYS, VALUES = 4, 8, 16
FACTOR = 0.35
FORMS = {
    "three projections": AttentionForm(("queries", "keys")),
    "scaled scores": AttentionForm(("scores",)),
    "packed": AttentionForm(("queries",), packed=True),
    "packed and biased": AttentionForm(("queries", "keys"), packed=True, biased=True),
    "gathered": AttentionForm(("queries", "keys"), packed=True, gathered=True),
}


def attention(form: AttentionForm, heads: int, precision: UnitPrecision) -> Unit:
    values = KEYS if form.gathered else VALUES
    return Unit(Family("attention", (TOKENS, TOKENS), precision, groups=heads, attention=form), KEYS, values)


def by_numpy(unit: Unit, feeds: list[Numbers], biases: list[Numbers]) -> Numbers:
    """The formula of an attention, on what the projections made."""
    form, heads = unit.family.attention, unit.family.groups
    assert form is not None
    widths = heads * KEYS, heads * KEYS, heads * unit.channels_out
    parts = np.split(feeds[0], np.cumsum(widths)[:2], axis=-1) if form.packed else feeds
    parts = [part + bias for part, bias in zip(parts, biases, strict=True)] if biases else parts
    queries, keys, values = (part.reshape(TOKENS, heads, -1).transpose(1, 0, 2) for part in parts)
    scales = [
        place for place in form.scaled if form.packed or place == "scores"
    ]  # projections have the others
    scores = queries @ keys.transpose(0, 2, 1) * FACTOR ** len(scales)
    return np.asarray((softmax(scores) @ values).transpose(1, 0, 2).reshape(1, TOKENS, -1))


def stored_biases(folder: Path) -> list[Numbers]:
    """What is added to queries, keys and values, in this order: vectors of three axes."""
    opened = interpreter(folder)
    told = []
    for tensor in opened.get_tensor_details():
        if len(tensor["shape"]) == 3 and tuple(tensor["shape"][:2]) == (1, 1):
            value, (scale, zero) = opened.get_tensor(tensor["index"]).astype(float), tensor["quantization"]
            told.append((value - zero) * scale if scale else value)
    return told


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("name", FORMS)
def test_a_float_attention_gives_what_numpy_gives(name: str, heads: int, tmp_path: Path) -> None:
    unit = attention(FORMS[name], heads, "fp32")
    feeds, (made,), _ = run(unit, tmp_path)
    wanted = by_numpy(unit, feeds, stored_biases(tmp_path))
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("name", FORMS)
def test_an_int8_attention_gives_what_numpy_gives_to_its_own_steps(
    name: str, heads: int, in_float: bool, tmp_path: Path
) -> None:
    form = FORMS[name]
    unit = attention(
        AttentionForm(form.scaled, packed=form.packed, biased=form.biased, gathered=form.gathered,
                      float_functions=in_float),
        heads, "int8",
    )  # fmt: skip
    feeds, (made,), grid = run(unit, tmp_path)
    wanted = by_numpy(unit, feeds, stored_biases(tmp_path))
    assert wanted.std() > 4 * grid.step, "nothing would be seen"
    assert np.abs(made - wanted).max() <= 2 * grid.step


def test_functions_in_float_are_said_of_int8_alone() -> None:
    unit = attention(AttentionForm(float_functions=True), 2, "int8")
    assert "functions in float" in unit.text()
    assert unit.in_precision("int8") == unit
    assert unit.in_precision("fp32") == attention(AttentionForm(), 2, "fp32")


def test_copies_read_the_same_queries_keys_and_values(tmp_path: Path) -> None:
    unit = attention(FORMS["three projections"], 3, "fp32")
    write_tflite(unit, 3, tmp_path / "net.tflite")
    opened = interpreter(tmp_path)
    shapes = [tuple(port["shape"]) for port in opened.get_input_details()]
    assert shapes == [(1, TOKENS, 3 * KEYS), (1, TOKENS, 3 * KEYS), (1, TOKENS, 3 * VALUES)]
    assert len(opened.get_output_details()) == 3


class Divided(written.FusedAttention):
    """Scores are divided by a number, which a converter may write in more than one way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = q @ k.transpose(-2, -1) / math.sqrt(c // self.num_heads)
        made: torch.Tensor = self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, c))
        return made


def divided() -> nn.Module:
    net = written.FusedViT(depth=1)
    net.blocks[0].attn = Divided(32, 4, explicit=True)
    return net


@pytest.mark.parametrize(
    ("make", "example"),
    [(written.BertLike, written.TOKENS), (written.GptLike, written.IMAGE), (divided, written.IMAGE)],
    ids=["masked", "causal", "divided"],
)
def test_what_is_not_written_alike_stays_parts(
    make: Callable[[], nn.Module], example: Any, tmp_path: Path
) -> None:
    export_onnx(make().eval(), example, tmp_path / "network.onnx")
    kinds = Counter(unit.family.kind for unit in units_of(tmp_path / "network.onnx", "litert", "fp32").units)
    assert (kinds["attention"], kinds["product"], kinds["softmax"]) == (0, 2, 1)
    others = Counter(
        unit.family.kind for unit in units_of(tmp_path / "network.onnx", "onnxruntime", "fp32").units
    )
    assert others["attention"] == 1


LAYER = "net.vit.layers.0.attention"
NARROWED: dict[str, dict[str, tuple[int, tuple[int, ...]]]] = {
    "whole": {},
    "a head gone": {f"{LAYER}.q_proj heads": (4, (0, 1, 3)), f"{LAYER}.q_proj": (16, tuple(range(8)))},
    "one head": {f"{LAYER}.q_proj heads": (4, (1,)), f"{LAYER}.v_proj": (16, tuple(range(8)))},
}
"""Group → its width, and what of it stays."""


@pytest.mark.slow  # converts a network
@pytest.mark.parametrize(
    ("name", "precision"),
    [("whole", "int8"), ("a head gone", "int8"), ("a head gone", "fp32"), ("one head", "int8")],
)
def test_a_copy_has_the_operations_of_the_artifact(
    name: str, precision: UnitPrecision, tmp_path: Path
) -> None:
    """From what projections make to what the last one reads: kinds, types, shapes, and whether XNNPACK takes them."""
    pytest.importorskip("litert_torch")
    from edgekit.board.machine import describe
    from edgekit.hardware import find_target
    from edgekit.latency.wholes import build_whole

    steps = tuple(PruneStep(layer, width, kept) for layer, (width, kept) in NARROWED[name].items())
    network = apply_plan(small_vit(depth=1), IMAGES, PrunePlan(steps))
    export_onnx(network, IMAGES, tmp_path / "network.onnx")
    (unit,) = (
        unit
        for unit in units_of(tmp_path / "network.onnx", "litert", precision).units
        if unit.family.kind == "attention"
    )
    form = unit.family.attention
    assert form is not None
    assert form.packed == (name == "whole")
    features = frozenset(describe()["features"])
    built = build_whole(
        tmp_path / "network.onnx", "litert", precision, find_target("generic-cpu"), features, tmp_path
    )
    write_tflite(unit, 1, tmp_path / "unit.tflite")
    of_unit = around_softmax(tmp_path / "unit.tflite")
    assert (
        sum(count for (kind, *_), count in of_unit.items() if kind in ("BATCH_MATMUL", "FULLY_CONNECTED"))
        == 2
    )
    assert of_unit == around_softmax(tmp_path / built.entry)


def around_softmax(path: Path) -> Counter[Any]:
    """Operations that the one softmax of a file is joined with by tensors, up to layers with stored weights; without
    reshapes. Axes of one place count for nothing."""
    from edgekit.backends.litert.audit import delegated
    from edgekit.backends.litert.flatbuffer import Op, read_flatbuffer, read_ops

    ops, taken = read_ops(read_flatbuffer(path)), delegated(path)
    makers = {tensor.name: op for op in ops for tensor in op.outputs}

    def is_layer(op: Op) -> bool:
        return op.kind == "FULLY_CONNECTED" and op.inputs[1].constant

    behind: dict[int, Op] = {}
    to_see = [op for op in ops if op.kind == "SOFTMAX"]
    while to_see:
        op = to_see.pop()
        if op.index not in behind and not is_layer(op):
            behind[op.index] = op
            to_see += [other for other in ops if op.name in {tensor.name for tensor in other.inputs}]
    joined: dict[int, Op] = {}
    to_see = list(behind.values())
    while to_see:
        op = to_see.pop()
        if op.index not in joined and not is_layer(op):
            joined[op.index] = op
            to_see += [makers[tensor.name] for tensor in op.inputs if tensor.name in makers]
    return Counter(
        (
            op.kind,
            op.inputs[0].dtype,
            op.outputs[0].dtype,
            tuple(size for size in op.outputs[0].shape if size > 1),
            op.index in taken,
        )
        for op in joined.values()
        if op.kind != "RESHAPE"
    )
