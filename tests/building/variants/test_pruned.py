"""Pruning as a maker: when it is not tried, what leads, which network is trained, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.building.variants import pruned
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.distilled import (
    DEFAULT_LIMIT,
    job_for,
    train_pruned,
    trained_already,
)
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.pruned import PrunedMaker, contenders, leaders
from edgekit.building.variants.training import prune_config
from edgekit.compress import METHOD, IterateConfig, PruneConfig, TrainConfig
from edgekit.errors import StageError
from edgekit.plan import Structure, least_need_bytes
from edgekit.store import Store
from edgekit.types import BackendName, Budget, Candidate, Choice, Energy, Estimate, Rejection, Variant
from tests.building.parts import attempt, budget, count_entries, measurement
from tests.one_thread import one_thread

__all__ = ["one_thread"]


def reason(context: MakerContext) -> str:
    """Why pruning is not tried."""
    rejection = PrunedMaker().why_not(context)
    assert rejection is not None
    assert rejection.what == "pruning"
    return rejection.reason


def test_a_budget_that_is_missed_is_a_reason_to_prune(context: MakerContext) -> None:
    assert PrunedMaker().why_not(context) is None


def test_pruning_is_left_out_where_the_request_says_so(context: MakerContext) -> None:
    without = replace(context, request=replace(context.request, prune=False))
    assert reason(without) == "left out by the request"


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_exported_file_cannot_be_made_narrower(context: MakerContext, kind: Any) -> None:
    model = replace(context.model, ref=replace(context.model.ref, kind=kind))
    assert f"a .{kind} file" in reason(replace(context, model=model))


def test_without_training_samples_nothing_is_trained(context: MakerContext) -> None:
    assert "no training samples" in reason(replace(context, splits=replace(context.splits, train=None)))


def test_a_time_limit_that_is_nearly_over_leaves_no_room(context: MakerContext) -> None:
    limit = TimeLimit(600.0, time.monotonic() + 80.0)
    assert "time limit" in reason(replace(context, time_limit=limit))
    long = replace(limit, ends=time.monotonic() + 500.0)
    assert PrunedMaker().why_not(replace(context, time_limit=long)) is None


def test_a_budget_that_is_met_costs_no_accuracy_by_pruning(context: MakerContext) -> None:
    met = replace(context, choice=Choice("MEETS", "original-ort-int8", None, ""))
    assert "original-ort-int8 meets the budget" in reason(met)
    fastest = replace(met, request=replace(met.request, budget=budget(fastest=True)))
    assert PrunedMaker().why_not(fastest) is None


def test_without_a_measured_original_nothing_leads(context: MakerContext) -> None:
    assert "no build of the unpruned network" in reason(replace(context, measurements={}))


def led_by(attempts: Sequence[Attempt], latencies_ms: dict[str, float | None], asked: Budget) -> list[str]:
    """The leaders' names, the first of all first."""
    measurements = {name: measurement(name, latency_ms) for name, latency_ms in latencies_ms.items()}
    return [lead.candidate.id for lead in leaders(attempts, measurements, asked)]


def in_runtime(name: str, backend: BackendName, device: str = "", **given: Any) -> Attempt:
    """An attempt in that runtime."""
    made = attempt(name, **given)
    return replace(made, candidate=replace(made.candidate, backend=backend, device=device))


def test_the_build_nearest_to_its_fullest_limit_leads() -> None:
    attempts = [attempt("slow", size_bytes=100), attempt("large", size_bytes=900), attempt("unmeasured")]
    latencies_ms: dict[str, float | None] = {"slow": 2.0, "large": 1.0}
    both = budget(max_latency_ms=1.0, max_size_bytes=300)
    assert led_by(attempts, latencies_ms, both) == [
        "slow"
    ]  # twice over the latency, not three times over the size
    assert led_by(attempts, latencies_ms, budget(max_latency_ms=1.0)) == ["large"]


def test_without_limits_the_fastest_leads() -> None:
    assert led_by([attempt("a"), attempt("b")], {"a": 2.0, "b": 1.0}, budget(fastest=True)) == ["b"]


def test_builds_within_the_accuracy_limit_lead_before_faster_ones() -> None:
    attempts = [attempt("fast", drop=0.3), attempt("accurate", drop=0.01)]
    asked = budget(max_latency_ms=1.0, max_drop=0.02)
    assert led_by(attempts, {"fast": 0.5, "accurate": 2.0}, asked) == ["accurate"]
    assert led_by(attempts[:1], {"fast": 0.5}, asked) == ["fast"]  # where none is accurate enough
    assert led_by(attempts, {"fast": None}, budget()) == []


def test_each_runtime_and_device_has_its_own_leader_and_the_nearest_of_all_comes_first() -> None:
    attempts = [
        in_runtime("ort-float", "onnxruntime"),
        in_runtime("ort-int8", "onnxruntime"),
        in_runtime("ov", "openvino"),
        in_runtime("trt-gpu", "tensorrt"),
        in_runtime("trt-dla", "tensorrt", "dla"),
        in_runtime("litert", "litert", drop=0.3),
    ]
    latencies_ms: dict[str, float | None] = {
        "ort-float": 3.0, "ort-int8": 2.0, "ov": 1.5, "trt-gpu": 4.0, "trt-dla": 5.0, "litert": 0.5
    }  # fmt: skip
    asked = budget(max_latency_ms=1.0, max_drop=0.02)
    assert led_by(attempts, latencies_ms, asked) == ["ov", "ort-int8", "trt-gpu", "trt-dla"]


LEADS = tuple(Candidate(name, "original", "onnxruntime", "int8") for name in ("a", "b", "c"))


@pytest.mark.parametrize(
    ("figures", "limits", "expected"),
    [
        ({"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (3.0, 3.0)}, {}, ["a"]),
        ({"a": (1.0, 0.9), "b": (1.2, 0.3), "c": (3.0, 3.0)}, {}, ["a", "b"]),  # another leads when narrow
        ({"a": (1.5, 0.9), "b": (1.2, 0.8), "c": (3.0, 0.7)}, {}, ["a", "b", "c"]),  # the first leads at full width
        ({"b": (1.2, 0.8)}, {}, ["a", "b"]),
        ({"a": (1.0, 1.0), "b": (2.0, 2.0)}, {"max_size_bytes": 9}, ["a", "b"]),
        ({"a": (1.0, 1.0), "b": (2.0, 2.0)}, {"max_memory_bytes": 9}, ["a", "b"]),
    ],
)  # fmt: skip
def test_what_is_best_at_some_width_is_asked_at_all(
    figures: dict[str, tuple[float, float]], limits: dict[str, int], expected: list[str]
) -> None:
    weights = {"a": 9, "b": 5, "c": 9}  # b is the smallest in size and memory
    structures = [
        Structure(fraction, latency_ms, weights[name], weights[name], name)
        for name, pair in figures.items()
        for fraction, latency_ms in zip((0.9, 0.2), pair, strict=True)
    ]
    assert [lead.id for lead in contenders(structures, LEADS, budget(**limits))] == expected


def test_the_width_is_that_of_the_runtime_that_leads_when_narrow(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, list[str]]] = []

    def probe(variants: Sequence[Variant], original: Variant, leads: Sequence[Candidate]) -> list[Structure]:
        # At full width `ort` takes 1.0 ms and `ov` 1.2; narrower networks gain little in `ort`, much in `ov`.
        asked.append((len(variants), [lead.id for lead in leads]))
        slope = {"ort": 0.3, "ov": 1.0, "litert": 0.1}
        start = {"ort": 1.0, "ov": 1.2, "litert": 9.0}
        return [
            Structure(width, start[lead.id] - slope[lead.id] * (1 - width), 1, 1, lead.id)
            for lead in leads
            for width in (int(variant.id.removeprefix("structure-")) / 100 for variant in variants)
        ]

    jobs: list[PruneJob] = []
    monkeypatch.setattr(pruned, "train_pruned", lambda context, job: jobs.append(job) or [])
    three = [
        in_runtime("ort", "onnxruntime"), in_runtime("ov", "openvino"), in_runtime("litert", "litert")
    ]  # fmt: skip
    latencies_ms = {"ort": 1.0, "ov": 1.2, "litert": 9.0}
    changing = replace(
        context,
        attempts=tuple(three),
        measurements={name: measurement(name, latency_ms) for name, latency_ms in latencies_ms.items()},
        request=replace(context.request, budget=budget(max_latency_ms=0.8, max_drop=0.02)),
        probe=probe,
    )
    list(PrunedMaker().make(changing))
    (job,) = jobs
    assert job.fraction == 0.55  # ov: 0.75 ms; ort would need less than the narrowest: 0.76 at 20 %
    assert asked == [(4, ["ort", "ov", "litert"]), (15, ["ort", "ov"])]


JOB = PruneJob(
    model_digest="m",
    train_digest="t",
    validation_digest="v",
    config=PruneConfig(round_to=8),
    train=TrainConfig(),
    steps=IterateConfig(),
    limit=0.01,
    fraction=0.5,
    code=(),
)


def stored(*multiples: int) -> tuple[int, PruneJob]:
    """Channel multiple of the job that is taken where networks with these multiples are in the store."""
    job = trained_already(JOB, lambda other: other.config.round_to in multiples)
    return job.config.round_to, replace(job, config=JOB.config)


@pytest.mark.parametrize(
    ("multiples", "taken"), [((), 8), ((8, 16), 8), ((16, 32), 16), ((64,), 64), ((4, 24, 128), 8)]
)
def test_a_network_trained_for_a_coarser_multiple_serves_a_finer_one(
    multiples: tuple[int, ...], taken: int
) -> None:
    assert stored(*multiples) == (taken, JOB)


OTHERS: dict[str, Any] = {
    "model_digest": "other",
    "train_digest": "other",
    "validation_digest": "other",
    "limit": 0.02,
    "fraction": None,
    "code": ("of a loss",),
    "opened": (("/weights.npy", "other"),),
    "dropped": ("blocks.3",),
    "merged": ("blocks.5",),
    "plan": "{}",
    "low_rank": "{}",
    "student": "other",
    "features": {"values": (("a", "b"),), "relations": (("a", "b"),), "attention": (("a", "b"),),
                 "channels": (("a", "b"),)},
    "teacher": "other",
    "sparsity": "{}",
    "config": {"ratio_step": 0.2, "importance": "taylor", "round_to": 16, "min_channels": 2, "scope": "inner",
               "keep": ("stem",), "importance_samples": 8},
    "train": {"epochs": 1.0, "learning_rate": 0.1, "batch_size": 2, "weight_decay": 0.0, "temperature": 1.0,
              "alpha": 0.9, "seed": 7, "optimizer": "adamw", "augment": "none", "threads": 1, "device": "cpu",
              "loss": "f.py:loss", "step": "f.py:step", "aside": 0.1, "average": 0.99, "outputs": "values"},
    "steps": {"step_epochs": 2.0, "step_rate": 0.1, "slack": 0.0, "max_steps": 1},
}  # fmt: skip


def test_everything_that_a_pruned_network_depends_on_is_in_its_key(tmp_path: Path) -> None:
    jobs = [JOB]
    for field in fields(JOB):
        value, other = getattr(JOB, field.name), OTHERS[field.name]
        if isinstance(other, dict):
            assert set(other) == {inner.name for inner in fields(value)}
            jobs += [replace(JOB, **{field.name: replace(value, **{name: o})}) for name, o in other.items()]
        else:
            jobs.append(replace(JOB, **{field.name: other}))
    with Store.open(tmp_path) as store:
        keys = {store.key("pruned", job.key_parts()) for job in jobs}
        cut = {store.key("pruned", JOB.cut_parts(TimeLimit(seconds, 0.0))) for seconds in (60.0, 90.0)}
    assert len(keys) == len(jobs)
    assert len(cut - keys) == 2


def test_another_method_of_training_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = JOB.key_parts()
    monkeypatch.setattr("edgekit.building.variants.job.METHOD", METHOD + 1)
    assert JOB.key_parts() != before


def test_the_request_is_the_job(context: MakerContext) -> None:
    job = job_for(context, PruneConfig(), 0.5)
    assert (job.limit, job.fraction, job.train.epochs) == (0.02, 0.5, 1.0)
    assert job.steps.slack > job_for(context, PruneConfig(), None).steps.slack
    unlimited = replace(context, request=replace(context.request, budget=budget(max_latency_ms=0.5)))
    assert job_for(unlimited, PruneConfig(), 0.5).limit == DEFAULT_LIMIT


def test_a_budget_that_no_structure_keeps_is_a_rejection_with_its_figures(context: MakerContext) -> None:
    structures = [Structure(0.9, 0.9, 1, 1), Structure(0.2, 0.6, 1, 1)]
    asked = replace(context, probe=lambda variants, original, lead: structures)
    (answer,) = PrunedMaker().make(asked)
    assert isinstance(answer, Rejection)
    assert "even 20% of the MACs need 0.600 ms" in answer.reason


def test_structures_without_a_latency_are_a_stage_error(context: MakerContext) -> None:
    with pytest.raises(StageError, match="no narrower structure"):
        list(PrunedMaker().make(context))


def test_a_trained_network_is_kept_and_comes_back_without_training(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = replace(context, request=replace(context.request, budget=budget(max_drop=1.0)))
    options = loose.request.train
    job = job_for(loose, prune_config(options, 8), 0.8)
    (first,) = train_pruned(loose, job)
    assert isinstance(first, MadeVariant)
    assert first.variant.kind == "pruned"
    assert first.variant.parent == "original"
    assert first.variant.id.startswith("pruned-")
    assert first.steps[-1].kind == "final"
    assert len(first.history) == len(first.steps) + 1
    entries = count_entries(loose.cache)
    assert list(train_pruned(replace(loose, model=replace(loose.model, module=None)), job)) == [first]
    assert count_entries(loose.cache) == entries
    late = replace(loose, time_limit=TimeLimit(600.0, time.monotonic() + 600.0))
    assert list(train_pruned(late, job)) == [first]  # whole, so it serves with a limit too


def test_a_training_that_the_time_limit_cut_short_is_kept_apart_and_a_longer_one_goes_on(
    context: MakerContext, tmp_path: Path
) -> None:
    endless = replace(context.request.train, epochs=1e5)
    request = replace(context.request, budget=budget(max_drop=1.0), train=endless, seed=7)
    loose = replace(context, request=request)
    job = job_for(loose, prune_config(endless, 8), 0.8)
    short = replace(loose, time_limit=TimeLimit(60.0, time.monotonic() + 60.0 + 5.0))  # 60 s are reserved
    made, told = train_pruned(short, job)
    assert isinstance(made, MadeVariant)
    assert isinstance(told, Rejection)
    assert told.what == f"training of {made.variant.id}"
    assert told.reason == "cut short: the time limit of 1m ended"
    store = loose.cache.store
    assert not store.holds("pruned", job.key_parts())
    kept = {file.name for file in store.scratch(store.key("pruned", job.key_parts())).iterdir()}
    assert "step-01.safetensors" in kept
    assert not any(name.startswith("final") for name in kept)
    assert list(train_pruned(replace(short, model=replace(loose.model, module=None)), job)) == [made, told]
    longer = replace(loose, time_limit=TimeLimit(61.0, time.monotonic() + 61.0 + 3.0))
    other, _ = train_pruned(longer, job)
    assert isinstance(other, MadeVariant)
    assert other.steps[0] == made.steps[0]
    assert other.variant.digest != made.variant.digest  # trained anew, from the same steps


def test_what_the_board_has_free_is_a_limit_where_memory_is_limited() -> None:
    free = replace(measurement("a", 1.0), origin="device", available_bytes=3000)
    assert pruned.with_free_memory(Budget(max_memory_bytes=5000), [free]).max_memory_bytes == 3000
    assert pruned.with_free_memory(Budget(), [free]) == Budget()
    elsewhere = replace(free, origin="host")
    assert pruned.with_free_memory(Budget(max_memory_bytes=5000), [elsewhere]).max_memory_bytes == 5000


def test_a_narrower_structure_takes_energy_as_it_takes_time() -> None:
    energy = Energy(Estimate(8.0, 7.0, 10.0), 2.0, "hwmon")
    lead = replace(measurement("a", 2.0), energy=energy)
    assert lead.latency is not None
    half = lead.latency.at("p90").high / 2
    structures = [Structure(0.5, half, 1, 1, like="a"), Structure(0.5, half, 1, 1, like="b")]
    told = pruned.with_energy(structures, {"a": lead}, Budget(max_energy_mj=5.0))
    assert told[0].energy_mj == pytest.approx(5.0)
    assert told[1].energy_mj is None


def test_a_network_that_fits_no_precision_fits_nowhere_but_may_when_it_is_pruned(
    context: MakerContext,
) -> None:
    cost = replace(context.original.cost, weight_bytes=40_000, activation_bytes=1_000)
    original = replace(context.original, cost=cost)
    need = least_need_bytes(context.target, original)

    def board(model_bytes: int) -> Any:
        memory = msgspec.structs.replace(context.target.memory, sizes_bytes=(model_bytes,), model_share=1.0)
        return msgspec.structs.replace(context.target, memory=memory)

    assert not pruned.fits_nowhere(board(need), original)
    assert pruned.fits_nowhere(board(need - 1), original)
    assert pruned.may_fit_pruned(board(need // 2), original)
    assert not pruned.may_fit_pruned(board(need // 10), original)
