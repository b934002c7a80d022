"""Which set of layers in float is built next, and with how few the least is found that keeps the accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.building.candidates.float_walk import MOST_BUILDS, following
from edgekit.building.candidates.ladder import climb
from edgekit.building.values import Attempt
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import Border, PrecisionTimes, SwitchableUnit, find_recipe
from edgekit.testing.memo import CountingMemo
from edgekit.testing.onnx_networks import INPUT, OUTPUT, as_variant, residual_network, samples
from edgekit.types import Accuracy, Artifact, BackendName, Candidate, Estimate, Variant

frontiers = st.lists(st.integers(1, 100), min_size=1, max_size=60, unique=True).map(sorted)


def walked(percents: list[int], first: int, keeps: dict[int, bool], most: int) -> dict[int, bool]:
    """What was built, in order, the first included."""
    kept = {first: keeps.get(first, False)}
    while len(kept) <= most and (percent := following(percents, kept)) is not None:
        assert percent not in kept, "nothing is built twice"
        kept[percent] = keeps[percent]
    return kept


@settings(deadline=None)
@given(frontiers, st.data())
def test_it_ends_and_builds_nothing_slower_than_one_that_kept_the_accuracy(
    percents: list[int], data: st.DataObject
) -> None:
    keeps = {percent: data.draw(st.booleans()) for percent in percents}
    first = data.draw(st.sampled_from([0, *percents]))
    built: list[int] = []
    kept = walked(percents, first, keeps, MOST_BUILDS)
    assert len(kept) <= MOST_BUILDS + 1
    for percent in kept:
        assert percent < min((before for before in built if kept[before]), default=101)
        assert percent in (first, *percents)
        built.append(percent)


@settings(deadline=None)
@given(frontiers, st.data())
def test_where_accuracy_grows_with_time_the_least_is_found(percents: list[int], data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, 101))
    first = data.draw(st.sampled_from([0, *percents]))
    keeps = {percent: percent >= needed for percent in percents}
    kept = walked(percents, first, keeps, len(percents))
    found = min((percent for percent, held in kept.items() if held), default=None)
    assert found == min((percent for percent in percents if percent >= needed), default=None)
    assert len(kept) <= 2 + len(percents).bit_length()


def test_where_none_keeps_the_accuracy_it_ends_near_the_slowest() -> None:
    percents = list(range(1, 31))
    kept = walked(percents, 10, dict.fromkeys(percents, False), MOST_BUILDS)
    assert list(kept) == [10, 21, 26, 29, 30]


UNITS = ("stem", "stem_relu"), ("inner", "inner_relu"), ("widen",), ("head",)
TIMES = PrecisionTimes(
    tuple(SwitchableUnit(nodes, extra) for nodes, extra in zip(UNITS, (0.05, 0.1, 0.12, 0.02), strict=True)),
    (Border("r1", 0, (1,), 0.01), Border("r2", 1, (2,), 0.01), Border("c3", 2, (3,), 0.01)),
    1.0,
    True,
    "a board that is made up",
)


@pytest.mark.parametrize(
    ("runtime", "recipe"),
    [("onnxruntime", "int8-mixed"), ("openvino", "int8-nncf-mixed"), ("litert", "int8-mixed")],
)
def test_a_real_network_is_searched_with_the_exporters_of_each_runtime(
    runtime: BackendName, recipe: str, tmp_path: Path
) -> None:
    """What counts as lost is the share of the outputs' energy that is wrong."""
    pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime))
    variant = as_variant(residual_network(tmp_path / "net.onnx"))
    given = samples(16)
    data = CalibrationData(lambda: iter([(given,)]), len(given), "made up")
    memo = CountingMemo()

    def outputs(artifact: Artifact) -> np.ndarray:
        with get_backend(runtime).open(artifact) as session:
            return np.concatenate([session.run({INPUT: sample[None]})[OUTPUT] for sample in given])

    def exported(candidate: Candidate) -> Artifact:
        folder = tmp_path / candidate.id
        folder.mkdir()
        chosen = find_recipe(candidate.recipe) if candidate.recipe else None
        request = ExportRequest(
            variant, candidate, find_target("generic-cpu"), frozenset(), folder, chosen, data if chosen else None,
            memo=memo, times=TIMES if chosen else None,
        )  # fmt: skip
        return get_backend(runtime).export(request)

    right = outputs(exported(Candidate("float", "original", runtime, "fp32")))

    def check(_: Variant, candidate: Candidate) -> Attempt:
        artifact = exported(candidate)
        lost = float(np.square(outputs(artifact) - right).sum() / np.square(right).sum())
        accuracy = Accuracy("kept", "validation", 16, Estimate(1, 1, 1), Estimate(lost, lost, lost))
        return Attempt(candidate, artifact, accuracy)

    first = Candidate("first", "original", runtime, "int8", recipe)
    slowest = check(variant, Candidate("most", "original", runtime, "int8", f"{recipe}-at-50"))
    limit = 1.5 * slowest.accuracy.drop.value
    tried = climb(check, find_recipe, variant, first, limit)
    assert not tried.failures
    assert 2 <= len(tried.attempts) <= 1 + MOST_BUILDS
    summaries = [attempt.artifact.quantization for attempt in tried.attempts]
    assert all(summary is not None for summary in summaries)
    assert summaries[0] is not None
    frontier = {point.percent for point in summaries[0].frontier}
    shares = {
        int(attempt.candidate.recipe.rpartition("-")[2]): attempt.accuracy.drop.value <= limit
        for attempt in tried.attempts[1:]
    }
    assert shares.keys() <= frontier
    assert any(shares.values())
    sets = {tuple(layer.name for layer in summary.in_float) for summary in summaries if summary is not None}
    assert len(sets) == len(summaries)
    assert memo.made["noise"] == 1, "it is measured once for all of them"
