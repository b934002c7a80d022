"""When networks are trained for integers, for which runtimes together, and by what a training is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.building.request import TrainOptions
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.base import Int8Builds, MakerContext
from edgekit.building.variants.qat import QatMaker, trained_candidates, wanted
from edgekit.building.variants.qat_job import QatJob, qat_config
from edgekit.compress import TrainConfig
from edgekit.compress.qat.training import METHOD
from edgekit.data import from_arrays, make_splits
from edgekit.errors import StageError
from edgekit.quantize import Range, Scheme, find_recipe
from edgekit.quantize.placement import Placement
from edgekit.runtimes import RUNTIMES
from edgekit.store import Store
from edgekit.testing.onnx_networks import OUTPUT, as_variant, residual_network, samples
from edgekit.types import (
    Artifact,
    BackendName,
    Candidate,
    Choice,
    Failure,
    Preprocess,
    QuantizationSummary,
    Rejection,
    Variant,
)
from tests.building.parts import attempt, budget, measurement
from tests.building.variants.contexts import maker_context

PLACED = Placement("onnxruntime", Scheme(), {"x": Range(-1.0, 1.0)}, (), ("conv",))
JOB = QatJob("network", "samples", PLACED, TrainConfig())


def refusing(network: Variant, candidate: Candidate, artifact: Artifact) -> Placement:
    raise StageError("qat", f"{candidate.backend} has other integers", "quantize")


def tried(name: str, backend: BackendName, drop: float, precision: Any = "int8", device: str = "") -> Any:
    given = attempt(name, drop=drop, precision=precision)
    return replace(given, candidate=replace(given.candidate, backend=backend, device=device))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    """INT8 of two runtimes misses the limit of 2 points; in one of them another recipe loses less, but too much."""
    attempts = (
        attempt("original-ort-fp32", precision="fp32"),
        tried("original-ort-int8", "onnxruntime", 0.05),
        tried("original-ort-int8-mse", "onnxruntime", 0.03),
        tried("original-ov-int8", "openvino", 0.04),
        tried("original-trt-int8", "tensorrt", 0.2),
    )
    with maker_context(tmp_path / "store") as made:
        builds = Int8Builds(lambda *_: attempts[0].artifact, refusing, lambda _: {})
        yield replace(
            made,
            attempts=attempts,
            measurements={},
            networks={"original": made.original},
            int8=builds,
        )


def names(context: MakerContext) -> dict[str, list[str]]:
    return {network: [a.candidate.id for a in attempts] for network, attempts in wanted(context).items()}


def asking(context: MakerContext, **change: Any) -> MakerContext:
    return replace(context, request=replace(context.request, **change))


BOTH = {"original": ["original-ort-int8-mse", "original-ov-int8"]}


def test_of_each_runtime_that_can_be_trained_for_the_build_that_loses_least_is_the_start(
    context: MakerContext,
) -> None:
    assert names(context) == BOTH


def test_where_some_build_of_a_runtime_keeps_the_limit_it_is_left_alone(context: MakerContext) -> None:
    kept = (*context.attempts, tried("original-ort-int8-mixed", "onnxruntime", 0.02))
    assert names(replace(context, attempts=kept)) == {"original": ["original-ov-int8"]}
    assert set(names(asking(replace(context, attempts=kept), qat="always"))["original"]) == {
        "original-ort-int8-mixed", "original-ov-int8",
    }  # fmt: skip


def test_a_build_of_a_repaired_network_is_no_start(context: MakerContext) -> None:
    made = tried("original-ort-int8-equalized", "onnxruntime", 0.025)
    summary = QuantizationSummary(
        "uint8", "int8", 8, "per-channel", False, "mse", 4, 0, (), "fast", 4, ("equalized",)
    )
    repaired = replace(made, artifact=replace(made.artifact, quantization=summary))
    assert names(replace(context, attempts=(*context.attempts, repaired))) == BOTH
    plain = replace(made, artifact=replace(made.artifact, quantization=replace(summary, repairs=())))
    assert names(replace(context, attempts=(*context.attempts, plain))) != BOTH


def test_by_itself_nothing_is_trained_that_cannot_help(context: MakerContext) -> None:
    met = replace(context, choice=Choice("MEETS", "original-ort-fp32", None, ""))
    unlimited = asking(context, budget=budget(max_latency_ms=0.5))
    for idle in (met, unlimited, asking(context, prune=False), asking(context, qat="never")):
        assert names(idle) == {}
        assert list(QatMaker().make(idle)) == []
    assert names(asking(met, budget=budget(fastest=True, max_drop=0.02))) == BOTH
    assert names(asking(met, qat="always")) == BOTH
    assert names(asking(context, prune=False, qat="always")) == BOTH


def test_a_runtime_that_was_measured_too_slow_is_not_trained_for(context: MakerContext) -> None:
    slow = {
        "original-ort-int8-mse": measurement("original-ort-int8-mse", 0.6),
        "original-ov-int8": measurement("x", 0.4),
    }
    assert names(replace(context, measurements=slow)) == {"original": ["original-ov-int8"]}
    assert names(asking(replace(context, measurements=slow), qat="always")) == BOTH


def test_pruned_networks_are_trained_too(context: MakerContext) -> None:
    pruned = replace(
        tried("pruned-50-ort-int8", "onnxruntime", 0.06),
    )
    pruned = replace(pruned, candidate=replace(pruned.candidate, variant="pruned-50"))
    assert names(replace(context, attempts=(*context.attempts, pruned)))["pruned-50"] == [
        "pruned-50-ort-int8"
    ]


def test_why_not_is_told_where_it_would_have_been_wanted(context: MakerContext) -> None:
    maker = QatMaker()
    assert maker.why_not(context) is None
    without = replace(context, splits=replace(context.splits, train=None))
    told = maker.why_not(without)
    assert told is not None
    assert told.reason == "there are no training samples to train on"
    assert maker.why_not(asking(without, prune=False)) is None
    left_out = maker.why_not(asking(context, qat="never"))
    assert left_out == Rejection("quantization-aware training", "left out by the request")
    met = maker.why_not(replace(context, choice=Choice("MEETS", "original-ort-fp32", None, "")))
    assert met is not None
    assert met.reason == "original-ort-fp32 meets the budget"
    kept = maker.why_not(asking(context, budget=budget(max_latency_ms=0.5, max_drop=0.99)))
    assert kept is not None
    assert kept.reason == "no INT8 build that is fast enough loses more than 99.00%"
    late = maker.why_not(replace(context, time_limit=TimeLimit(60.0, 0.0)))
    assert late is not None
    assert late.reason == "not tried: the time limit of 60s ended" or "time limit" in late.reason


def test_integers_that_cannot_be_simulated_are_a_failure_with_its_reason_each(context: MakerContext) -> None:
    failures = list(QatMaker().make(context))
    assert [failure.candidate for failure in failures if isinstance(failure, Failure)] == [
        "quantization-aware training of original for ONNX Runtime",
        "quantization-aware training of original for OpenVINO",
    ]
    assert isinstance(failures[0], Failure)
    assert (failures[0].stage, failures[0].cause) == ("qat", "onnxruntime has other integers")


def test_each_runtime_that_can_be_trained_for_has_a_recipe_that_writes_it_down() -> None:
    trainable = [name for name, row in RUNTIMES.items() if row.trained_recipe]
    assert {"onnxruntime", "openvino", "litert"} == set(trainable)
    for candidate in trained_candidates(replace(_variant(), id="original-qat"), trainable):
        recipe = find_recipe(candidate.recipe)
        assert recipe.observer == "trained"
        assert candidate.backend in recipe.backends
        assert candidate.id == f"original-qat-{RUNTIMES[candidate.backend].short}-int8-trained"


def test_training_for_integers_is_gentle_and_holds_samples_aside() -> None:
    config = qat_config(TrainOptions(), 7, 50_000)
    assert (config.epochs, config.seed, config.optimizer, config.weight_decay) == (6.0, 7, "adamw", 0.0)
    assert config.aside * 50_000 == pytest.approx(2000)
    assert qat_config(TrainOptions(), 7, 640).epochs == 40.0  # 200 batches
    assert qat_config(TrainOptions(qat_epochs=0.5), 7, 640).epochs == 0.5


OTHERS: dict[str, Any] = {
    "network": "other",
    "train_digest": "other",
    "placement": {
        "backend": "litert",
        "integers": Scheme(weight_bits=7),
        "ranges": {"x": Range(-1.0, 1.1)},
        "shared": (("x", "y"),),
        "layers": (),
        "by_channel": {"x": (Range(-1.0, 1.0),) * 8},
        "clipped": ("x",),
        "tables": ("x",),
    },
    "train": TrainConfig(seed=3),
    "code": ("of a loss",),
    "opened": (("/weights.npy", "other"),),
}


def test_everything_that_a_trained_network_depends_on_is_in_its_key(tmp_path: Path) -> None:
    jobs = [JOB]
    for field in fields(JOB):
        other = OTHERS[field.name]
        if isinstance(other, dict):
            assert set(other) == {inner.name for inner in fields(PLACED)}
            jobs += [
                replace(JOB, placement=replace(PLACED, **{name: value})) for name, value in other.items()
            ]
        else:
            jobs.append(replace(JOB, **{field.name: other}))
    with Store.open(tmp_path) as store:
        keys = {store.key("qat", job.key_parts()) for job in jobs}
        cut = {store.key("qat", JOB.cut_parts(TimeLimit(seconds, 0.0))) for seconds in (60.0, 90.0)}
    assert len(keys) == len(jobs)
    assert len(cut - keys) == 2


def test_another_method_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = JOB.key_parts()
    monkeypatch.setattr("edgekit.building.variants.qat_job.METHOD", METHOD + 1)
    assert JOB.key_parts() != before


def _variant() -> Variant:
    from edgekit.types import Cost, Signature

    return Variant("original", "original", None, "", "", "", Signature((), ()), Cost(1000, 1, 1, 1))


def test_a_simulation_that_does_not_explain_the_runtime_is_not_trained(
    context: MakerContext, tmp_path: Path
) -> None:
    network = as_variant(residual_network(tmp_path / "net.onnx"))
    splits = make_splits(from_arrays(samples(320), np.arange(320) % 5, preprocess=Preprocess()), seed=0)
    chance = np.random.default_rng(0).standard_normal((len(splits.validation), 5)).astype(np.float32)
    wide = Placement(
        "onnxruntime", Scheme(), {"pixels": Range(-3.0, 3.0), "scores": Range(-6.0, 6.0)}, (), ("stem",)
    )
    told = replace(
        context,
        attempts=context.attempts[:2],
        networks={"original": network},
        splits=splits,
        int8=Int8Builds(lambda *_: context.attempts[0].artifact, lambda *_: wide, lambda _: {OUTPUT: chance}),
    )
    (failure,) = QatMaker().make(told)
    assert isinstance(failure, Failure)
    assert "training would be for other integers" in failure.cause
