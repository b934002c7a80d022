"""The ladder of recipes: how far one candidate climbs, and why it stops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.candidates.ladder import climb, next_candidate, try_all
from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.errors import StageError, TimeLimitReached
from edgekit.progress import SilentReporter
from edgekit.quantize import Recipe, at_share
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Candidate, FloatPoint, QuantizationSummary, Variant
from tests.building.parts import attempt

RECIPES = {
    "int8-a": Recipe("int8-a", "first", ("onnxruntime",), "minmax", next="int8-b"),
    "int8-b": Recipe("int8-b", "not for ONNX Runtime", ("openvino",), "nncf", next="int8-c"),
    "int8-c": Recipe("int8-c", "another observer", ("onnxruntime",), "mse", next="int8-d"),
    "int8-d": Recipe("int8-d", "repaired", ("onnxruntime",), "mse", equalize=True, next="int8-e"),
    "int8-e": Recipe("int8-e", "some in float", ("onnxruntime",), "mse", keep_float=2),
}
FIRST = Candidate("original-ort-int8-a", "original", "onnxruntime", "int8", "int8-a")


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    return as_variant(residual_network(tmp_path_factory.mktemp("net") / "net.onnx"))


def climbed(
    variant: Variant, drops: dict[str, float | None], limit: float | None
) -> tuple[list[str], list[str]]:
    """Recipes that ran and candidates that failed; `drops`: recipe → its drop, None: it fails."""

    def check(_: Variant, candidate: Candidate) -> Attempt:
        drop = drops[candidate.recipe]
        if drop is None:
            raise StageError("export", "no")
        made = attempt(candidate.id, drop=drop)
        return Attempt(candidate, made.artifact, made.accuracy)

    tried = climb(check, RECIPES.__getitem__, variant, FIRST, limit)
    assert not tried.rejections
    return [attempt.candidate.recipe for attempt in tried.attempts], [
        failure.candidate for failure in tried.failures
    ]


def test_within_half_of_the_limit_the_first_recipe_ends_it(variant: Variant) -> None:
    assert climbed(variant, {"int8-a": 0.005}, 0.01) == (["int8-a"], [])


def test_close_to_the_limit_other_observers_are_tried_but_no_layer_is_kept_in_float(variant: Variant) -> None:
    assert climbed(variant, {"int8-a": 0.008, "int8-c": 0.009}, 0.01) == (["int8-a", "int8-c"], [])


def test_where_the_limit_is_missed_layers_are_kept_in_float(variant: Variant) -> None:
    drops: dict[str, float | None] = {"int8-a": 0.05, "int8-c": 0.04, "int8-d": 0.03, "int8-e": 0.02}
    assert climbed(variant, drops, 0.01) == (["int8-a", "int8-c", "int8-d", "int8-e"], [])


def test_where_a_repair_keeps_the_limit_no_layer_is_kept_in_float(variant: Variant) -> None:
    drops: dict[str, float | None] = {"int8-a": 0.05, "int8-c": 0.04, "int8-d": 0.008}
    assert climbed(variant, drops, 0.01) == (["int8-a", "int8-c", "int8-d"], [])


def test_a_recipe_that_fails_is_a_failure_and_the_next_is_tried(variant: Variant) -> None:
    assert climbed(variant, {"int8-a": None, "int8-c": 0.001}, 0.01) == (["int8-c"], [FIRST.id])


def test_without_a_limit_the_first_that_runs_is_enough(variant: Variant) -> None:
    assert climbed(variant, {"int8-a": 0.5}, None) == (["int8-a"], [])


def test_the_next_recipe_is_one_that_the_backend_has_and_the_name_says_which() -> None:
    following = next_candidate(RECIPES.__getitem__, FIRST)
    assert following is not None
    assert (following.id, following.recipe) == ("original-ort-int8-c", "int8-c")


def test_a_candidate_without_recipe_has_no_next(tmp_path: Path) -> None:
    assert next_candidate(RECIPES.__getitem__, Candidate("x", "original", "onnxruntime", "fp32")) is None


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_what_the_time_limit_leaves_no_room_for_is_named_and_the_rest_stands(
    variant: Variant, finished: int
) -> None:
    other = Candidate("original-ort-fp32", "original", "onnxruntime", "fp32")
    limit = TimeLimit(1800.0, 0.0)
    ran: list[str] = []

    def check(_: Variant, candidate: Candidate) -> Attempt:
        if len(ran) >= finished:
            raise TimeLimitReached(limit.told)
        ran.append(candidate.id)
        made = attempt(candidate.id, drop=0.008)
        return Attempt(candidate, made.artifact, made.accuracy)

    # With 0.008 of 0.01 the ladder of the first has two rungs, the second candidate none.
    tried = try_all(check, RECIPES.__getitem__, SilentReporter(), variant, [FIRST, other], 0.01, limit)
    assert [row.candidate.id for row in tried.attempts] == ran
    everything = [FIRST.id, "original-ort-int8-c", other.id]
    undone = [row.what for row in tried.rejections]
    assert undone == ([FIRST.id, other.id] if finished == 0 else everything[finished:])
    assert {row.reason for row in tried.rejections} <= {"not tried: the time limit of 30m ended"}
    assert bool(limit.warnings(tried.rejections)) == bool(undone)


def test_each_rung_is_told_as_it_is_tried(variant: Variant) -> None:
    """A candidate's rungs take minutes each: its own name alone would stand there for all of them."""

    def check(_: Variant, candidate: Candidate) -> Attempt:
        heard.append(f"tried {candidate.id}")
        return attempt(candidate.id, drop=0.02)

    heard: list[str] = []
    climb(check, RECIPES.__getitem__, variant, FIRST, 0.01, tell=heard.append)
    assert heard[:2] == [FIRST.id, f"tried {FIRST.id}"]
    assert heard[2:] == ["original-ort-int8-c", "tried original-ort-int8-c", "original-ort-int8-d",
                         "tried original-ort-int8-d", "original-ort-int8-e", "tried original-ort-int8-e"]  # fmt: skip


MIXED = {
    "int8-mixed": Recipe(
        "int8-mixed", "some in float", ("onnxruntime",), "mse", keep_float=0.1, float_time=0.1, most_float_time=0.5,
        next="int8-more",
    ),
    "int8-more": Recipe("int8-more", "more in float", ("onnxruntime",), "mse", keep_float=0.25),
}  # fmt: skip
MIXED_FIRST = Candidate("original-ort-int8-mixed", "original", "onnxruntime", "int8", "int8-mixed")


def summary_with(percents: list[int]) -> QuantizationSummary:
    points = tuple(FloatPoint(percent, percent / 100, 1 / percent) for percent in percents)
    return QuantizationSummary(
        "uint8", "int8", 8, "per-channel", False, "mse", 1, 0, (), "none", 0, frontier=points
    )


def searched(
    variant: Variant, percents: list[int], needed: int, broken: tuple[int, ...] = ()
) -> tuple[list[str], list[str]]:
    """Recipes that were built where a set of layers keeps the accuracy from `needed` percent on; those that failed."""

    def check(_: Variant, candidate: Candidate) -> Attempt:
        _, _, share = candidate.recipe.partition("-at-")
        percent = int(share or 10)
        if percent in broken:
            raise StageError("export", "no")
        made = attempt(candidate.id, drop=0.001 if percent >= needed else 0.05)
        quantization = summary_with(percents) if candidate.recipe == "int8-mixed" else None
        return Attempt(candidate, replace(made.artifact, quantization=quantization), made.accuracy)

    known = {**MIXED, **{f"int8-mixed-at-{n}": at_share(MIXED["int8-mixed"], n) for n in percents}}
    tried = climb(check, known.__getitem__, variant, MIXED_FIRST, 0.01)
    assert not tried.rejections
    ids = [row.candidate.id for row in tried.attempts]
    assert len(set(ids)) == len(ids)
    return [row.candidate.recipe.removeprefix("int8-mixed") for row in tried.attempts], [
        failure.candidate for failure in tried.failures
    ]


def test_where_times_are_known_the_least_time_in_float_is_searched(variant: Variant) -> None:
    percents = [1, 4, 9, 14, 20, 27, 35, 50]
    assert searched(variant, percents, 20) == (["", "-at-27", "-at-20", "-at-14"], [])
    assert searched(variant, percents, 3) == (["", "-at-4", "-at-1"], [])
    assert searched(variant, percents, 99) == (["", "-at-27", "-at-50"], [])


def test_without_sets_to_choose_from_the_ladder_goes_on(variant: Variant) -> None:
    assert searched(variant, [], 99) == (["", "int8-more"], [])


def test_a_set_that_cannot_be_built_is_a_failure_and_slower_ones_are_tried(variant: Variant) -> None:
    assert searched(variant, [4, 14, 20, 27], 14, (20,)) == (
        ["", "-at-27"],
        ["original-ort-int8-mixed-at-20"],
    )


def test_a_search_that_the_time_limit_ends_keeps_what_there_is(variant: Variant) -> None:
    limit = TimeLimit(1800.0, 0.0)

    def check(_: Variant, candidate: Candidate) -> Attempt:
        if candidate.recipe != "int8-mixed":
            raise TimeLimitReached(limit.told)
        made = attempt(candidate.id, drop=0.05)
        return Attempt(candidate, replace(made.artifact, quantization=summary_with([14])), made.accuracy)

    tried = climb(check, MIXED.__getitem__, variant, MIXED_FIRST, 0.01, limit)
    assert [row.candidate.recipe for row in tried.attempts] == ["int8-mixed"]
    assert [row.what for row in tried.rejections] == ["original-ort-int8-mixed-at-14"]
