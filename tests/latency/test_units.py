"""The units of a network, as runtimes fuse it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import to_builtins

from edgekit.errors import UserError
from edgekit.graph import onnx_cost
from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit, Unit, load_table, save_table, units_of
from edgekit.latency.grid import first_points, head_counts
from edgekit.latency.naming import told_once
from edgekit.latency.table import structure_of
from edgekit.latency.unit import AttentionForm, Family, UnitPrecision
from edgekit.model.export import export_onnx
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from edgekit.types import BackendName, Estimate

SHAPES = {TinyConvNet: (1, 1, 8, 8), DepthwiseNet: (1, 3, 32, 32), TinyTransformer: (1, 1, 8, 8)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Path]:
    folder, paths = tmp_path_factory.mktemp("networks"), {}
    for kind, shape in SHAPES.items():
        torch.manual_seed(0)
        paths[kind] = folder / f"{kind.__name__}.onnx"
        export_onnx(kind().eval(), (np.zeros(shape, np.float32),), paths[kind])
    return paths


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_units_multiply_as_often_as_the_network(
    networks: dict[type, Path], kind: type, runtime: BackendName
) -> None:
    units = units_of(networks[kind], runtime, "int8").units
    assert sum(unit.macs for unit in units) == onnx_cost(networks[kind]).macs


@pytest.mark.parametrize(
    ("runtime", "precision", "fuses"),
    [
        ("onnxruntime", "fp32", True),
        ("onnxruntime", "int8", False),
        ("openvino", "int8", True),
        ("litert", "fp32", False),
    ],
)
def test_a_residual_addition_belongs_to_its_convolution_where_the_runtime_fuses_it(
    networks: dict[type, Path], runtime: BackendName, precision: UnitPrecision, fuses: bool
) -> None:
    units = units_of(networks[TinyConvNet], runtime, precision).units
    assert [unit.family.residual for unit in units].count(True) == fuses
    assert [unit.family.kind for unit in units].count("add") == (not fuses)


@pytest.mark.parametrize("kind", list(SHAPES))
def test_a_unit_says_which_module_of_torch_it_stands_for(networks: dict[type, Path], kind: type) -> None:
    modules = dict(kind().named_modules())
    units = [unit for unit in units_of(networks[kind], "litert", "int8").units if unit.weight]
    for unit in units:
        weight = modules[unit.layer].weight
        assert weight.shape[0] == unit.channels_out, unit.layer
    assert len({unit.layer for unit in units}) == len(units)


@pytest.mark.parametrize(
    ("runtime", "gathered"), [("onnxruntime", False), ("openvino", False), ("litert", True)]
)
def test_an_attention_is_one_unit(networks: dict[type, Path], runtime: BackendName, gathered: bool) -> None:
    units = units_of(networks[TinyTransformer], runtime, "fp32").units
    assert not {"product", "softmax"} & {unit.family.kind for unit in units}
    (unit,) = [unit for unit in units if unit.family.kind == "attention"]
    assert (unit.family.groups, unit.family.size) == (4, (16, 16))
    assert (unit.channels_in, unit.channels_out) == (8, 8)
    form = unit.family.attention
    assert form is not None
    assert (form.packed, form.gathered) == (True, gathered)
    readers = [other for other in units if unit.output in other.inputs]
    assert [other.layer for other in readers] == ["project"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_sums_of_a_transformer_are_float_as_quantization_leaves_them(
    networks: dict[type, Path], runtime: BackendName
) -> None:
    units = units_of(networks[TinyTransformer], runtime, "int8").units
    sums = [unit for unit in units if unit.family.kind == "add"]
    assert sums
    assert {unit.family.precision for unit in sums} == {"fp32"}
    products = {unit.family.precision for unit in units if unit.family.kind == "linear"}
    assert "int8" in products


def test_small_products_stay_in_float_in_openvino(networks: dict[type, Path]) -> None:
    units = units_of(networks[TinyConvNet], "openvino", "int8").units
    assert {unit.family.kind: unit.family.precision for unit in units}["linear"] == "fp32"


def test_a_unit_at_other_widths_is_of_the_same_family() -> None:
    unit = Unit(Family("conv", (8, 8), "int8", (3, 3), padding=(1, 1, 1, 1)), 16, 32, layer="a")
    narrow = unit.resized(channels_out=8)
    assert (narrow.family, narrow.channels_in, narrow.channels_out, narrow.layer) == (unit.family, 16, 8, "a")
    assert narrow.macs * 4 == unit.macs
    assert Unit(Family("depthwise", (8, 8), "int8"), 16, 16).resized(channels_in=24).channels_out == 24
    with pytest.raises(UserError, match="as many out as in"):
        Unit(Family("add", (8, 8), "int8"), 16, 8)


def test_a_runtime_whose_layers_cannot_be_timed_is_refused(networks: dict[type, Path]) -> None:
    with pytest.raises(UserError, match="tensorrt"):
        units_of(networks[TinyConvNet], "tensorrt", "int8")


FORM = AttentionForm(("queries", "keys"), packed=True, biased=True)
ATTENTION = Unit(Family("attention", (17, 17), "int8", groups=12, attention=FORM), 64, 64)


def test_an_attention_narrows_by_heads_and_by_the_width_of_each() -> None:
    narrow = ATTENTION.resized(heads=3, channels_in=16, channels_out=32)
    assert (narrow.family.groups, narrow.channels_in, narrow.channels_out) == (3, 16, 32)
    assert (ATTENTION.macs, narrow.macs) == (17 * 17 * 12 * 128, 17 * 17 * 3 * 48)
    parted = replace(ATTENTION, family=replace(ATTENTION.family, attention=FORM.parted))
    linear = Unit(Family("linear", (17, 1), "int8"), 64, 64)
    assert structure_of([linear, linear, linear, parted]) == structure_of([linear, narrow])
    assert structure_of([linear, parted]) != structure_of([parted, linear])


def test_an_attention_is_measured_at_a_few_numbers_of_heads_and_in_both_forms() -> None:
    points = first_points([ATTENTION])
    assert {point.family.groups for point in points} == {2, 4, 6, 8, 10, 12}
    packed = [point for point in points if point.family.attention == FORM]
    assert all(point.channels_in == point.channels_out for point in packed)
    assert len(packed) == 6 * 4
    assert len(points) == 6 * (4 + 4 * 4)
    assert [head_counts(heads) for heads in (1, 3, 7, 16)] == [
        (1,), (1, 2, 3), (2, 4, 6, 7), (3, 6, 9, 12, 15, 16)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "family", [Family("attention", (17, 17), "int8"), Family("linear", (17, 1), "int8", attention=FORM)]
)
def test_a_table_with_an_attention_of_no_form_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allowed: attentions alone"):
        Unit(family, 8, 8)
    table = LatencyTable(MeasuredOn("here", "cpu", "x86_64", (), "onnxruntime", "1", 1)).with_timed(
        [TimedUnit(ATTENTION, Estimate(0.1, 0.1, 0.1))]
    )
    save_table(table, tmp_path / "table.json")
    assert load_table(tmp_path / "table.json").timed == table.timed
    content = json.loads((tmp_path / "table.json").read_text())
    content["families"][0]["family"] = to_builtins(family)
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is no latency table") as told:
        load_table(tmp_path / "table.json")
    assert "\n" not in str(told.value)


def test_a_name_that_zeros_share_names_no_second_layer() -> None:
    """Biases of zeros are stored once, and the first layer's addition of them is left out."""
    linear = Family("linear", (17, 1), "int8")
    first = Unit(linear, 8, 8, layer="a.fc1", nodes=("/a/fc1/MatMul",))
    second = Unit(linear, 8, 8, layer="a.fc1", nodes=("Gemm_3",))
    third = Unit(linear, 8, 8, layer="a.fc2", nodes=("Gemm_4",))
    assert [unit.layer for unit in told_once([first, second, third])] == ["a.fc1", "", "a.fc2"]


def test_an_activation_reads_what_its_layer_makes(networks: dict[type, Path]) -> None:
    units = units_of(networks[TinyTransformer], "onnxruntime", "fp32").units
    (gelu,) = [unit for unit in units if unit.family.activation == "Gelu"]
    (before,) = [unit for unit in units if unit.output in gelu.inputs]
    assert before.layer == "mlp.0"
