"""What the shipped descriptions say: the facts that users are told wrong most often."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import UserError
from edgekit.hardware import Target, all_targets, find_target
from edgekit.hardware.loading import facts_of
from edgekit.types import Precision

BOARDS = {target.name: target for target in all_targets(Path(__file__).parent)}
NAMES = [
    "jetson-nano",
    "jetson-tx2",
    "jetson-xavier-nx",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-agx-orin",
    "jetson-thor",
    "rtx-ampere",
    "rtx-ada",
    "intel-cpu",
    "intel-cpu-avx2",
    "intel-n100",
    "intel-igpu",
    "intel-npu",
    "raspberry-pi-zero2w",
    "raspberry-pi-3",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "generic-cpu",
    "generic-arm64",
]
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_every_board_is_described() -> None:
    assert sorted(BOARDS) == sorted(NAMES)


@each_board
def test_every_fact_has_a_source_that_says_something(board: Target) -> None:
    for key, fact in facts_of(board):
        assert fact.source, key
        assert all(len(board.sources[name]) > 15 for name in fact.source), key


@each_board
def test_every_missing_precision_has_a_reason_and_something_instead(board: Target) -> None:
    lacks = [*board.rejected.values(), *(lack for item in board.runtimes for lack in item.rejected.values())]
    assert all(lack.reason and lack.instead for lack in lacks)


@each_board
def test_every_precision_is_had_or_rejected(board: Target) -> None:
    every = {"fp32", "bf16", "fp16", "int8", "w8", "w4", "fp8", "fp4"}
    dynamic = {"int8-dynamic"}  # a form of int8 that only some runtimes know
    assert (set(board.precisions) | set(board.rejected)) - dynamic == every


@each_board
def test_exactly_boards_with_int8_have_an_int8_rule(board: Target) -> None:
    if "int8" in board.precisions:
        assert board.int8_rule(()).weight == "int8"
    else:
        with pytest.raises(UserError, match=f"{board.name} has no int8"):
            board.int8_rule(())


@each_board
def test_titles_fit_the_table(board: Target) -> None:
    assert len(board.title) <= 32


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2"])
def test_the_oldest_jetsons_have_no_int8_and_say_what_to_do(name: str) -> None:
    lack = BOARDS[name].lacks("int8")
    assert lack is not None
    assert "sm_" in lack.reason
    assert "FP16" in lack.instead
    assert "pruning" in lack.instead
    assert "orin" in lack.instead
    assert BOARDS[name].runtimes[0].opset_max == 13


@pytest.mark.parametrize(
    ("name", "cores"),
    [("jetson-orin-nano", 0), ("jetson-thor", 0), ("jetson-agx-orin", 2), ("jetson-nano", 0)],
)
def test_dla_cores_are_counted(name: str, cores: int) -> None:
    assert [item.count for item in BOARDS[name].accelerators if item.kind == "dla"] == [cores]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith(("jetson", "rtx", "rasp", "generic-arm"))]
)
def test_gpus_and_arm_multiply_int8_by_int8(name: str) -> None:
    board = BOARDS[name]
    for rule in board.int8:
        assert (rule.activation, rule.weight, rule.weight_bits) == ("int8", "int8", 8)


@pytest.mark.parametrize("name", ["generic-cpu", "intel-cpu"])
@pytest.mark.parametrize("feature", ["avx512_vnni", "avx_vnni"])
def test_vnni_takes_uint8_activations_and_eight_bits(name: str, feature: str) -> None:
    rule = BOARDS[name].int8_rule(frozenset({"avx2", feature}))
    assert (rule.activation, rule.weight, rule.weight_bits) == ("uint8", "int8", 8)


@pytest.mark.parametrize("name", ["generic-cpu", "intel-cpu-avx2"])
@pytest.mark.parametrize("features", [{"avx2"}, {"avx2", "avx512f"}, {"sse4_2"}])
def test_x86_without_vnni_keeps_weights_to_seven_bits(name: str, features: set[str]) -> None:
    rule = BOARDS[name].int8_rule(frozenset(features))
    assert (rule.activation, rule.weight, rule.weight_bits) == ("uint8", "int8", 7)


def test_bf16_needs_a_cpu_that_has_it() -> None:
    runtime = BOARDS["intel-cpu"].runtime("openvino")
    assert runtime is not None
    requirement = runtime.missing_feature("bf16", frozenset({"avx2", "avx512_vnni"}))
    assert requirement is not None
    assert "no avx512_bf16" in requirement.reason
    assert runtime.missing_feature("bf16", frozenset({"amx_bf16"})) is None
    assert runtime.missing_feature("fp32", frozenset()) is None


@pytest.mark.parametrize(
    ("name", "precision", "multiple"),
    [
        ("intel-cpu", "int8", 16),
        ("intel-cpu-avx2", "fp32", 8),
        ("intel-cpu", "w8", 16),  # as float: weights alone are stored as int8
        ("jetson-agx-orin", "int8", 32),
        ("jetson-nano", "fp16", 8),
        ("raspberry-pi-5", "int8", 16),
        ("raspberry-pi-4", "int8", 8),
    ],
)
def test_channel_multiples(name: str, precision: Precision, multiple: int) -> None:
    assert find_target(name, Path(__file__).parent).channel_multiple(precision) == multiple


def test_what_no_source_confirms_is_marked() -> None:
    thor = BOARDS["jetson-thor"]
    assert not thor.runtimes[0].verified
    assert not any(
        board.bandwidth.verified
        for board in BOARDS.values()
        if board.bandwidth and board.name != "jetson-nano"
    )
