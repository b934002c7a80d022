"""Planning: the recipe asked for, networks too large, and what runtimes do not take."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.building.board import Board, Runtimes
from edgekit.building.candidates.planning import lint, plan_for, refuse_too_large
from edgekit.errors import StageError, UserError
from edgekit.hardware import find_target
from edgekit.plan import Plan
from edgekit.quantize import find_recipe
from edgekit.runtimes import RUNTIMES
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import BackendName, Candidate, Issue, Rejection
from tests.building.parts import MACHINE

USABLE = Runtimes(("onnxruntime", "litert"), {}, {})


def test_the_recipe_asked_for_begins_the_ladder_of_its_backends_alone(tmp_path: Path) -> None:
    variant = as_variant(residual_network(tmp_path / "net.onnx"))
    board = Board(find_target("raspberry-pi-4"), MACHINE, ("it is elsewhere",))
    recipe = find_recipe("int8-nncf-mse")
    for asked, expected in ((None, RUNTIMES["onnxruntime"].int8_recipe), (recipe, "int8-minmax")):
        plan = plan_for(variant, board, USABLE, ("int8",), asked)
        named = {candidate.backend: candidate.recipe for candidate in plan.candidates}
        assert named == {"onnxruntime": expected, "litert": "int8-minmax"}
    plan = plan_for(variant, board, USABLE, ("int8",), find_recipe("int8-mse"))
    assert {candidate.recipe for candidate in plan.candidates if candidate.backend == "onnxruntime"} == {
        "int8-mse"
    }


def test_a_network_of_which_nothing_fits_is_refused_with_the_smallest() -> None:
    with pytest.raises(UserError, match="too large for the board: a: 3 MiB of 2; give a smaller"):
        refuse_too_large(Plan((), (Rejection("a", "3 MiB of 2", "a smaller"), Rejection("b", "9 of 2"))))
    refuse_too_large(Plan((Candidate("a", "original", "litert", "fp32"),), (Rejection("b", "9 of 2"),)))


def test_what_a_runtime_does_not_take_is_rejected_with_its_node() -> None:
    candidates = [
        Candidate("a", "original", "onnxruntime", "fp32"),
        Candidate("b", "original", "litert", "fp32"),
        Candidate("c", "original", "openvino", "fp32"),
    ]

    def issues_of(backend: BackendName) -> tuple[Issue, ...]:
        if backend == "openvino":
            raise StageError("lint", "the lint process was killed by SIGSEGV", "see the log")
        warning = Issue("warning", "pool", "slow")
        return (warning, Issue("error", "gelu", "no such operation")) if backend == "litert" else (warning,)

    kept, rejections = lint(issues_of, ("onnxruntime", "litert", "openvino"), candidates)
    assert [candidate.id for candidate in kept] == ["a"]
    assert rejections == (
        Rejection("litert: gelu", "no such operation"),
        Rejection("openvino", "the lint process was killed by SIGSEGV", "see the log"),
    )
