"""What is handed over: golden samples, the winner or the nearest, or several for a board that is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.building.measuring import Bench, Evaluator
from edgekit.building.outcome.bundling import (
    Bundler,
    board_identity,
    facts_of,
    golden_of,
    hand_over,
    in_float,
)
from edgekit.building.outcome.claim import Claim
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt, Outcome
from edgekit.bundle import CandidatesManifest, read_any_manifest
from edgekit.bundle.manifest import read_manifest
from edgekit.bundle.tolerance import golden_tolerance
from edgekit.devices import LocalDevice, SampleFiles
from edgekit.hardware import find_target
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Accuracy, Artifact, Budget, Choice, Cost, Measurement, Preprocess, Variant
from tests.building.parts import attempt, bench, budget, measurement, opened_cache, split_files
from tests.bundles import SIGNATURE, artifact_of


class FakeBundler(Bundler):
    """Remembers what it was to write."""

    def write(
        self, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
    ) -> None:
        WRITTEN.append((attempt.candidate.id, claim))

    def write_several(
        self,
        networks: Mapping[str, Variant],
        attempts: Sequence[Attempt],
        measurements: Mapping[str, Measurement],
        claim: Accuracy | None,
        budget: Budget,
    ) -> None:
        WRITTEN.append(([attempt.candidate.id for attempt in attempts], claim))


WRITTEN: list[tuple[str | list[str], Accuracy | None]] = []


def outcome_of(tmp_path: Path, choice: Choice, attempts: Sequence[Attempt]) -> Outcome:
    original = as_variant(residual_network(tmp_path / "net.onnx"))
    return Outcome(
        original=original,
        networks={"original": original},
        reference=attempts[0].artifact,
        attempts=tuple(attempts),
        measurements={row.candidate.id: measurement(row.candidate.id) for row in attempts},
        choice=choice,
        failures=(),
        rejections=(),
        variants=(),
    )


@pytest.mark.parametrize(
    ("choice", "settled", "written"),
    [
        (Choice("MEETS", "b", None, ""), True, ["b"]),
        (Choice("MISSES", None, "a", ""), True, ["a"]),
        (Choice("INFEASIBLE", None, None, ""), True, []),
        (Choice("PROVISIONAL", None, "b", ""), False, [["b", "a"]]),
    ],
)
def test_the_winner_is_handed_over_or_the_nearest_or_several(
    tmp_path: Path, choice: Choice, settled: bool, written: list[object]
) -> None:
    WRITTEN.clear()
    claim = attempt().accuracy
    with opened_cache(tmp_path / "store") as cache:
        bundler = FakeBundler(
            folder=tmp_path / "bundle",
            target=find_target("generic-cpu"),
            threads=1,
            preprocess=Preprocess(),
            classes=(),
            evaluator=Evaluator(cache, bench(tmp_path / "board"), "top1"),
            validation=split_files(tmp_path),
        )
        outcome = outcome_of(tmp_path, choice, [attempt("a"), attempt("b")])
        hand_over(bundler, outcome, Claim(choice, claim), budget(), settled=settled)
    assert [(name, claim) for name in written] == WRITTEN


def test_golden_are_the_first_eight_samples_with_their_answers(tmp_path: Path) -> None:
    samples = split_files(tmp_path, count=12)
    outputs = {"out": np.arange(24, dtype=np.float32).reshape(12, 2)}
    golden = golden_of(samples, outputs)
    np.testing.assert_array_equal(golden.inputs[0], np.load(samples.paths[0])[:8])
    np.testing.assert_array_equal(golden.outputs[0], outputs["out"][:8])
    few = golden_of(split_files(tmp_path, count=3), {"out": outputs["out"][:3]})
    assert len(few.inputs[0]) == 3


def test_what_a_variant_answers_in_float32_goes_along(tmp_path: Path) -> None:
    outputs, floats = ({"out": np.full((12, 2), value, np.float32)} for value in (1.0, 2.0))
    golden = golden_of(split_files(tmp_path, count=12), outputs, floats)
    assert golden.floats is not None
    np.testing.assert_array_equal(golden.floats[0], floats["out"][:8])
    assert golden_of(split_files(tmp_path, count=12), outputs).floats is None


def test_each_variant_is_held_against_its_own_float_network(tmp_path: Path) -> None:
    made = [attempt("a", precision="fp16"), attempt("b", precision="fp32"), attempt("c", precision="int8")]
    made[1] = replace(made[1], candidate=replace(made[1].candidate, variant="pruned"))
    outcome = outcome_of(tmp_path, Choice("MISSES", None, "a", ""), made)
    assert in_float(outcome) == {"original": made[0].artifact, "pruned": made[1].artifact}


def test_the_bundle_s_tolerance_is_by_how_far_its_outputs_are_from_float(tmp_path: Path) -> None:
    """The second artifact stands for the float network: it answers otherwise."""
    half = attempt("a", precision="fp16")
    samples = split_files(tmp_path)
    answers = {half.artifact.folder: 1.0, "float": 1.25}

    class FakeEvaluator(Evaluator):
        def outputs(self, artifact: Artifact, samples: SplitFiles) -> dict[str, np.ndarray]:
            return {"out": np.full((12, 2), answers[artifact.folder], np.float32)}

    with opened_cache(tmp_path / "store") as cache:
        bundler = Bundler(
            folder=tmp_path / "bundle",
            target=find_target("jetson-orin-nano"),
            threads=1,
            preprocess=Preprocess(),
            classes=(),
            evaluator=FakeEvaluator(cache, bench(tmp_path / "board"), "top1"),
            validation=samples,
            floats={half.candidate.variant: replace(half.artifact, folder="float")},
        )
        golden = bundler._golden(half)
    assert golden_tolerance("fp16", golden.outputs, golden.floats) == 0.5


def test_a_candidate_s_facts_and_the_board_s_identity_are_its_own() -> None:
    facts = facts_of(attempt("a", drop=0.02, size_bytes=7), measurement("a", None))
    assert (facts.folder, facts.estimated_ms, facts.drop, facts.size_bytes) == ("candidates/a", None, 0.02, 7)
    identity = board_identity(find_target("raspberry-pi-4"))
    assert identity.architecture == "aarch64"
    assert identity.models == find_target("raspberry-pi-4").identity.models


def test_several_are_written_with_the_claim_at_the_first_alone(tmp_path: Path) -> None:
    artifacts = {name: artifact_of("onnxruntime", tmp_path / name) for name in ("a", "b")}
    attempts = [
        Attempt(replace(made.candidate, variant="tiny"), artifacts[made.candidate.id], made.accuracy)
        for made in (attempt("a", precision="fp32"), attempt("b", precision="fp32", drop=0.01))
    ]
    path = str(Path(artifacts["a"].folder) / artifacts["a"].entry)
    tiny = Variant("tiny", "original", None, "", path, "d" * 64, SIGNATURE, Cost(1, 1, 1, 1))
    images = np.random.default_rng(0).normal(size=(12, 2, 4, 4)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = SampleFiles({"image": tmp_path / "images.npy"}, {"image": images[:1]}, None, 12)
    with opened_cache(tmp_path / "store") as cache:
        device = LocalDevice(tmp_path / "work")
        here = Bench(device, device.describe(), 1, "host")
        bundler = Bundler(
            folder=tmp_path / "bundle",
            target=find_target("raspberry-pi-4"),
            threads=1,
            preprocess=Preprocess(),
            classes=("x", "y", "z"),
            evaluator=Evaluator(cache, here, "top1"),
            validation=SplitFiles("validation", "of the images", files),
        )
        measurements = {name: measurement(name) for name in artifacts}
        claim = replace(attempts[0].accuracy, split="test")
        bundler.write_several({"tiny": tiny}, attempts, measurements, claim, budget())
    manifest = read_any_manifest(tmp_path / "bundle")
    assert isinstance(manifest, CandidatesManifest)
    claims = [read_manifest(tmp_path / "bundle" / row.folder).measured.test for row in manifest.candidates]
    assert claims == [claim, None]
