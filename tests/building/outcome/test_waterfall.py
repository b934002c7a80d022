"""Where accuracy went, in builds on real digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.building.executor import InProcessExecutor
from edgekit.building.outcome.layer_losses import LayerLossTask, own_losses
from edgekit.building.outcome.waterfall import Scorer, built, trained
from edgekit.building.values import Attempt, Outcome
from edgekit.compare import compare_artifacts
from edgekit.errors import StageError
from edgekit.measure import estimate_drop, estimate_skewed_drop
from edgekit.result import Result, TrainedStep, VariantResult
from edgekit.store import Store
from edgekit.testing.example_parts import ENVIRONMENT
from edgekit.testing.onnx_networks import as_variant, residual_network, samples
from edgekit.types import (
    Accuracy,
    BackendName,
    Candidate,
    Choice,
    Estimate,
    Measurement,
    Origin,
    Precision,
    QuantizationSummary,
)
from tests.compare.artifacts import broken, onnx_artifact, stream
from tests.conftest import UserNetwork


def build(
    network: UserNetwork,
    work: Path,
    backend: BackendName,
    precision: Precision,
    *,
    labels: bool = True,
    **more: Any,
) -> Result:
    """One precision in one runtime, without pruning."""
    from sklearn.datasets import load_digits

    from edgekit.model import load_module, locate

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    return edgekit.build(
        target="generic-cpu",
        model=load_module(locate(network.model, network.weights)),
        data=(images, digits.target.astype(np.int64) if labels else None),
        max_latency_ms=100.0,
        max_drop="50%",
        backends=(backend,),
        precisions=(precision,),
        prune=False,
        timed_s=0.3,
        repeat=False,
        out=work / "out",
        store=work / "store",
        **more,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_quantization_and_runtime_are_two_steps_with_paired_changes_and_layers(
    digits_network: UserNetwork, tmp_path: Path, backend: BackendName
) -> None:
    pytest.importorskip(backend)
    result = build(digits_network, tmp_path, backend, "int8")
    steps = {step.stage: step for step in result.waterfall}
    assert list(steps) == ["original", "quantized", "runtime"]
    winner = next(row for row in result.candidates if row.id == result.winner)
    assert winner.accuracy is not None
    assert steps["runtime"].accuracy == pytest.approx(winner.accuracy.value)
    assert sum(step.change for step in result.waterfall) == pytest.approx(-winner.accuracy.drop)
    for step in (steps["quantized"], steps["runtime"]):
        assert step.low is not None
        assert step.high is not None
        assert step.low <= step.change <= step.high
    lossy = steps["quantized"].layers
    assert 1 <= len(lossy) <= 3
    assert [layer.sqnr_db for layer in lossy] == sorted(layer.sqnr_db for layer in lossy)
    assert all(layer.inputs_db is None or layer.sqnr_db < layer.inputs_db for layer in lossy)


@pytest.mark.slow
def test_the_original_itself_as_the_winner_has_no_further_step(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    result = build(digits_network, tmp_path, "onnxruntime", "fp32")
    assert [step.stage for step in result.waterfall] == ["original"]


@pytest.mark.slow
def test_without_labels_the_original_agrees_with_itself(digits_network: UserNetwork, tmp_path: Path) -> None:
    steps = build(digits_network, tmp_path, "onnxruntime", "int8", labels=False).waterfall
    assert steps[0].accuracy == 1.0
    assert steps[-1].accuracy == pytest.approx(1.0 + sum(step.change for step in steps))


@pytest.mark.slow
def test_a_second_build_takes_the_whole_waterfall_from_the_store(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    first, second = (build(digits_network, tmp_path, "onnxruntime", "int8") for _ in range(2))
    assert second.waterfall == first.waterfall
    with Store.open(tmp_path / "store") as store:
        events = store.events(store.last_runs(1)[0].id)
    assert {event.stage for event in events} >= {"outputs", "layers"}
    assert all(event.reused for event in events)


def outcome(attempt: Attempt, origin: Origin = "device", steps: tuple[TrainedStep, ...] = ()) -> Outcome:
    """An outcome with one attempt, as far as a waterfall reads it."""
    measurement = Measurement(attempt.candidate.id, origin, ENVIRONMENT, 0.0, 0)
    return Outcome(
        original=as_variant(Path(attempt.artifact.folder) / attempt.artifact.entry),
        networks={},
        reference=attempt.artifact,
        attempts=(attempt,),
        measurements={attempt.candidate.id: measurement},
        choice=Choice("MISSES", None, attempt.candidate.id, ""),
        failures=(),
        rejections=(),
        variants=(VariantResult("pruned-50", "pruned", "original", "", 1, 1, (), steps),),
    )


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """An int8 candidate for a Jetson, as far as a waterfall reads it."""
    artifact = onnx_artifact(residual_network(tmp_path / "model.onnx"))
    estimate = Estimate(0.0, 0.0, 0.0)
    return Attempt(
        Candidate(artifact.candidate, "original", "onnxruntime", "int8", "int8-minmax"),
        artifact,
        Accuracy("top1", "validation", 1, estimate, estimate),
    )


def test_without_labels_a_change_has_the_interval_of_a_verdict() -> None:
    class FakeEvaluator:
        metric = None

        def outputs(self, artifact: str, samples: object) -> dict[str, np.ndarray]:
            values = np.random.default_rng(0).standard_normal((20, 3, 8))
            values[3] += 0.5 * (artifact == "before") + 2.0 * (artifact == "after")
            return {"y": values}

    class Samples:
        class files:  # noqa: N801
            labels = None

    scorer = Scorer(FakeEvaluator(), "original", Samples())  # type: ignore[arg-type]
    scores, before = scorer.scores("after"), scorer.scores("before")  # type: ignore[arg-type]
    drop = scorer.drop(scores, "before")  # type: ignore[arg-type]
    assert drop == estimate_skewed_drop(scores, before)
    assert drop.high > estimate_drop(scores, before).high


def test_integers_and_their_simulation_are_two_stages(attempt: Attempt) -> None:
    way = built(outcome(attempt), attempt, None)
    assert [stage.name for stage in way] == ["quantized", "runtime"]
    assert "recipe int8-minmax" in way[0].note


def test_a_graph_that_only_ran_as_simulated_has_no_runtime_stage(attempt: Attempt) -> None:
    written = replace(attempt.artifact, options={"session.disable_quant_qdq": "1"})
    absent = replace(attempt, artifact=written)
    way = built(outcome(absent, "estimated"), absent, None)
    assert [stage.name for stage in way] == ["quantized"]
    assert "was not measured" in way[0].note


def test_a_runtime_without_simulation_quantizes_and_runs_in_one_stage(attempt: Attempt) -> None:
    tflite = replace(attempt, artifact=replace(attempt.artifact, backend="litert"))
    way = built(outcome(tflite), tflite, None)
    assert [stage.name for stage in way] == ["runtime"]
    assert "litert offers no simulation" in way[0].note


def test_a_repair_is_told_with_what_was_lost_without_and_with_it(attempt: Attempt) -> None:
    summary = QuantizationSummary(
        "uint8", "int8", 8, "per-channel", False, "mse", 4, 0, (), "fast", 4, ("channels equalized",)
    )
    for backend in ("onnxruntime", "litert"):
        candidate = replace(attempt.candidate, backend=backend)
        losing = replace(attempt.accuracy, drop=Estimate(0.042, 0.04, 0.05))
        plain = replace(attempt, candidate=candidate, accuracy=losing)
        repaired = replace(
            plain,
            candidate=replace(candidate, id="repaired", recipe="int8-equalized"),
            artifact=replace(attempt.artifact, backend=backend, quantization=summary),
            accuracy=attempt.accuracy,
        )
        both = outcome(repaired)
        both = replace(both, attempts=(plain, replace(plain, candidate=attempt.candidate), repaired))
        told = built(both, repaired, None)[0].note
        assert (
            "repaired before: channels equalized. Without, int8-minmax lost 4.2 points; with, 0 points"
            in told
        )
        assert "repaired" not in built(outcome(plain), plain, None)[0].note


def test_pruned_is_the_last_step_that_was_kept_and_fine_tuned_the_final_training(attempt: Attempt) -> None:
    steps = (
        TrainedStep("step", 0.9, 0.93, True),
        TrainedStep("step", 0.5, 0.90, True),
        TrainedStep("step", 0.4, 0.70, False),
        TrainedStep("final", 0.5, 0.94, True),
    )
    way = trained(outcome(attempt, steps=steps), "pruned-50")
    assert [(stage.name, stage.accuracy) for stage in way] == [("pruned", 0.90), ("fine-tuned", 0.94)]
    assert "50% of the MACs, 2 steps" in way[0].note


def test_zeros_are_a_stage_of_their_own(attempt: Attempt) -> None:
    steps = (TrainedStep("step", 1.0, 0.8, True), TrainedStep("final", 1.0, 0.9, True))
    sparse = VariantResult(
        "sparse-2of4", "sparse", "original", "2:4 sparsity: 100% of the MACs", 1, 1, (), steps
    )
    (stage,) = trained(replace(outcome(attempt), variants=(sparse,)), "sparse-2of4")
    assert (stage.name, stage.accuracy) == ("sparsified", 0.9)
    assert stage.note == "2:4 sparsity: 100% of the MACs, in torch"


def test_a_variant_whose_steps_an_older_store_has_not_kept_has_no_such_stages(attempt: Attempt) -> None:
    assert trained(outcome(attempt), "pruned-50") == []


def test_the_broken_layer_is_named_and_what_follows_it_is_not_named_before_it(tmp_path: Path) -> None:
    good = residual_network(tmp_path / "good.onnx")
    bad = broken(good, tmp_path / "bad.onnx", "w3", 2, 6.0)
    lossy = own_losses(compare_artifacts(onnx_artifact(good), onnx_artifact(bad), stream()), 3)
    assert lossy[0].layer == "c3"
    assert lossy[0].hint.startswith("weights differ in 1 of 16 output channels")


def test_a_comparison_that_fails_is_a_stage_error_with_its_reason(tmp_path: Path) -> None:
    good = onnx_artifact(residual_network(tmp_path / "good.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    np.save(tmp_path / "x.npy", samples(4))
    inputs = (str(tmp_path / "x.npy"),)
    task = LayerLossTask(good, onnx_artifact(tmp_path / "broken.onnx"), inputs, "", 1, "", (), {})
    with pytest.raises(StageError, match=r"broken\.onnx cannot be opened"):
        InProcessExecutor().run(task, tmp_path)
