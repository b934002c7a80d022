"""Untrained structures: narrower and narrower, made once, timed on the board."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from edgekit.building.candidates.exporting import Exporter
from edgekit.building.candidates.timing import Timer
from edgekit.building.samples import SampleStore
from edgekit.building.variants.probing import (
    like_lead,
    structure_parts,
    time_structures,
    untrained_structures,
)
from edgekit.compress import PruneConfig
from edgekit.hardware import find_target
from edgekit.progress import SilentReporter
from edgekit.store import Store
from edgekit.testing.building_fakes import FakeExecutor
from edgekit.types import Candidate
from tests.building.parts import bench, digit_splits, opened_cache
from tests.building.variants.contexts import given_model
from tests.one_thread import one_thread

__all__ = ["one_thread"]

CONFIG = PruneConfig(round_to=4, importance="magnitude")
FRACTIONS = (0.8, 0.4)


def test_structures_narrow_with_the_fraction_and_come_back_without_the_network(tmp_path: Path) -> None:
    splits, model = digit_splits(), given_model()
    assert splits.train is not None
    with opened_cache(tmp_path / "store") as cache:
        made = partial(untrained_structures, cache, SilentReporter())
        first = made(model, splits.train.source, splits.train, CONFIG, FRACTIONS)
        assert [variant.id for variant in first] == ["structure-80", "structure-40"]
        assert first[0].cost.macs > first[1].cost.macs > 0
        gone = replace(model, module=None)  # loading it would fail
        assert made(gone, splits.train.source, splits.train, CONFIG, FRACTIONS) == first


def test_all_that_a_structure_depends_on_is_in_its_key(tmp_path: Path) -> None:
    parts = [
        structure_parts("m", CONFIG, "t", 0.5),
        structure_parts("other", CONFIG, "t", 0.5),
        structure_parts("m", replace(CONFIG, round_to=8), "t", 0.5),
        structure_parts("m", CONFIG, "other", 0.5),
        structure_parts("m", CONFIG, "t", 0.4),
    ]
    with Store.open(tmp_path) as store:
        assert len({store.key("network", part) for part in parts}) == len(parts)


class FakeUnstarted(FakeExecutor):
    """A cluster that may not be started."""

    @property
    def slots(self) -> int:
        raise AssertionError("asked how many slots it has")


def test_structures_are_exported_like_the_leading_candidate_and_timed(tmp_path: Path) -> None:
    splits, model = digit_splits(), given_model()
    assert splits.train is not None
    lead = Candidate("original-ort-fp32", "original", "onnxruntime", "fp32")
    other = Candidate("original-litert-fp32", "original", "litert", "fp32")
    device = bench(tmp_path / "board", {"structure-40-ort-fp32": 0.25}, failing=("structure-80-ort-fp32",))
    executor = FakeExecutor()
    with opened_cache(tmp_path / "store") as cache:
        variants = untrained_structures(
            cache, SilentReporter(), model, splits.train.source, splits.train, CONFIG, (*FRACTIONS, 0.2)
        )
        samples = SampleStore(cache)
        exporter = Exporter(
            cache=cache,
            executor=executor,
            samples=samples,
            calibration=splits.calibration,
            target=find_target("generic-cpu"),
            features=frozenset(),
            threads=1,
            versions={},
            project=tmp_path,
        )
        structures = time_structures(
            exporter,
            Timer(cache, device, SilentReporter(), 0),
            partial(samples.files, splits.validation),
            SilentReporter(),
            "p90",
            variants,
            variants[0],
            [lead],
        )
        assert executor.stages == ["export"] * 3
        cluster = replace(exporter, executor=FakeUnstarted())
        cluster.exported_ahead([(variant, like_lead(variant, lead)) for variant in variants])  # all is stored
        each = time_structures(
            exporter,
            Timer(cache, device, SilentReporter(), 0),
            partial(samples.files, splits.validation),
            SilentReporter(),
            "p90",
            variants[1:],
            variants[0],
            [lead, other],
        )
    assert [(row.like, row.fraction == each[0].fraction) for row in each] == [
        (lead.id, True), (other.id, True), (lead.id, False), (other.id, False)
    ]  # fmt: skip
    assert len(structures) == 2  # what fails on the board has no latency
    assert structures[0].fraction == pytest.approx(variants[1].cost.macs / variants[0].cost.macs)
    assert 0.25 <= structures[0].latency_ms < 0.3
    assert structures[0].size_bytes > structures[1].size_bytes
