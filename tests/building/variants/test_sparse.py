"""Sparsity as a maker: how it is asked for, where it is rejected and why, what is trained and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnx
import pytest

from edgekit.building.pipeline import read_pipeline, with_pipeline
from edgekit.building.request import read_sparsity
from edgekit.building.variants.base import MadeVariant, MakerContext, open_makers
from edgekit.building.variants.pipeline import PipelineMaker, refuse_unfit_stages
from edgekit.building.variants.sparse import SparseMaker, refuse_unfit_sparsity
from edgekit.compress import METHOD
from edgekit.errors import UserError
from edgekit.graph.zeros import count_zeros, sparse_layers
from edgekit.hardware import find_target
from edgekit.plan import Structure
from edgekit.types import BackendName, Candidate, Estimate, Origin, Precision, Rejection, Sparsity, Variant
from tests.building.parts import attempt, budget, count_entries, measurement
from tests.graph.test_chains import chain
from tests.one_thread import one_thread

__all__ = ["one_thread"]

HALF, MOST = Sparsity("2:4", 0.5), Sparsity("unstructured", 0.8)


def on_board(
    context: MakerContext,
    target: str,
    backend: BackendName,
    precision: Precision,
    asked: object,
    *,
    median_ms: float = 0.5,
    origin: Origin = "device",
    **limits: Any,
) -> MakerContext:
    """A board on which the original has this build alone, which takes 1 ms; with zeros it takes `median_ms`."""
    name = f"original-{backend}-{precision}"

    def probe(variants: Sequence[Variant], original: Variant, leads: Sequence[Candidate]) -> list[Structure]:
        times = {variant.id: 1.0 if variant.id == "original" else median_ms for variant in variants}
        return [
            Structure(1.0, ms, 1, 1, leads[0].id, None, variant, Estimate(ms, 0.98 * ms, 1.02 * ms))
            for variant, ms in times.items()
        ]

    made = attempt(name)
    made = replace(made, candidate=replace(made.candidate, backend=backend, precision=precision, recipe=""))
    path = context.cache.store.folder / "original.onnx"
    onnx.save(chain(), str(path))
    return replace(
        context,
        request=replace(
            context.request,
            sparsity=read_sparsity(asked),
            budget=budget(max_drop=0.02, **(limits or {"fastest": True})),
        ),
        target=find_target(target),
        attempts=(made,),
        measurements={name: replace(measurement(name), origin=origin)},
        probe=probe,
        original=replace(context.original, onnx_path=str(path)),
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, None), ("2:4", HALF), ("0.8", MOST), (0.8, MOST), ("80%", MOST), (" 0.8 ", MOST)],
)
def test_sparsity_is_read_from_texts_and_numbers(given: object, read: Sparsity | None) -> None:
    assert read_sparsity(given) == read


@pytest.mark.parametrize(
    "given",
    [
        "",
        "1:4",
        "4:2",
        "2:4:1",
        "0",
        "1",
        "0.0",
        "1.0",
        1.5,
        -0.2,
        "nan",
        "100%",
        "much",
        True,
        [],
        {},
        "auto",
    ],
)
def test_what_is_no_sparsity_is_refused_in_one_line(given: object) -> None:
    with pytest.raises(
        UserError, match=r"sparsity is .*; allowed: 2:4, or the share of weights that is zero"
    ) as bad:
        read_sparsity(given)
    assert "\n" not in str(bad.value)


def test_no_zeros_are_made_unasked(context: MakerContext) -> None:
    assert SparseMaker().why_not(context) is None
    assert list(SparseMaker().make(context)) == []


def test_it_is_the_last_of_the_makers(context: MakerContext) -> None:
    assert [name for name, _ in open_makers(context.request)][-1] == "sparse"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda c: replace(c, model=replace(c.model, ref=replace(c.model.ref, kind="onnx"))),
            "trained to be zero",
        ),
        (lambda c: replace(c, splits=replace(c.splits, train=None)), "no training samples"),
        (lambda c: replace(c, measurements={}), "could be measured"),
    ],
)
def test_why_nothing_can_be_trained_is_a_rejection(context: MakerContext, change: Any, told: str) -> None:
    asked = on_board(context, "jetson-orin-nano", "tensorrt", "int8", "2:4")
    assert SparseMaker().why_not(asked) is None
    rejection = SparseMaker().why_not(change(asked))
    assert rejection is not None
    assert rejection.what == "sparsity"
    assert told in rejection.reason


@pytest.mark.parametrize(
    ("target", "backend", "precision", "asked", "told"),
    [
        ("generic-cpu", "onnxruntime", "int8", "2:4", "ONNX Runtime has no kernels for sparse weights"),
        ("generic-cpu", "litert", "fp32", 0.8, "on x86 with AVX XNNPACK computes them as if they were dense"),
        ("jetson-orin-nano", "tensorrt", "int8", 0.8, "TensorRT is faster by 2:4 alone"),
    ],
)
def test_where_no_runtime_gains_nothing_is_trained_and_the_reason_is_told(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch,
    target: str, backend: BackendName, precision: Precision, asked: object, told: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("edgekit.building.variants.sparse.train_pruned", None)
    (rejection,) = SparseMaker().make(on_board(context, target, backend, precision, asked))
    assert isinstance(rejection, Rejection)
    assert rejection.what.endswith(
        {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}.get(backend, "TensorRT")
    )
    assert told in rejection.reason


@pytest.mark.parametrize(("median_ms", "is_rejected"), [(1.2, True), (0.99, True), (0.9, False)])
def test_zeros_that_are_not_clearly_faster_are_rejected_with_the_two_times(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch, median_ms: float, is_rejected: bool
) -> None:
    monkeypatch.setattr("edgekit.building.variants.sparse.train_pruned", lambda *_: [])
    asked = on_board(context, "raspberry-pi-4", "litert", "fp32", 0.8, median_ms=median_ms)
    made = list(SparseMaker().make(asked))
    assert bool(made) is is_rejected
    if is_rejected:
        (rejection,) = made
        assert isinstance(rejection, Rejection)
        assert f"with 80% unstructured sparsity the network takes {median_ms:g} ms [" in rejection.reason
        assert "as it is 1 ms [0.98, 1.02] (median, litert fp32)" in rejection.reason


def test_estimates_reject_nothing_and_sizes_need_no_time(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[object] = []
    monkeypatch.setattr("edgekit.building.variants.sparse.train_pruned", lambda *job: jobs.append(job) or [])
    slow: dict[str, Any] = {"median_ms": 2.0}
    assert not list(
        SparseMaker().make(
            on_board(context, "jetson-orin-nano", "tensorrt", "int8", "2:4", origin="estimated", **slow)
        )
    )
    stored = on_board(context, "generic-cpu", "litert", "fp32", 0.8, max_size_bytes=10_000, **slow)
    assert not list(SparseMaker().make(stored))
    assert len(jobs) == 2


def test_2_4_is_trained_kept_told_and_comes_back(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = on_board(context, "jetson-orin-nano", "tensorrt", "int8", "2:4", origin="estimated")
    (made,) = SparseMaker().make(asked)
    assert isinstance(made, MadeVariant)
    variant = made.variant
    assert (variant.id, variant.kind, variant.parent) == ("sparse-2of4", "sparse", "original")
    assert variant.sparsity == HALF
    assert made.history[0].startswith(
        "2:4 sparsity by magnitude: 49.3% of 9,680 weights are zero, in 4 layers"
    )
    assert made.history[1] == "left dense: stem (1 input channel, not divisible by 4)"
    assert made.history[-1].startswith("exported: 49.3% of 9,680 weights are zero; the ONNX file has ")
    assert [step.kind for step in made.steps] == ["final"]
    exported = onnx.load(variant.onnx_path)
    assert len(sparse_layers(exported)) == 4
    zeros, weights = count_zeros(exported)
    assert zeros / weights == pytest.approx(0.493, abs=0.001)
    for backend, precision, is_built in (("tensorrt", "int8", True), ("tensorrt", "fp32", False)):
        candidate = Candidate("c", variant.id, backend, precision, "")  # type: ignore[arg-type]
        assert (made.useless(candidate) is None) is is_built
    entries = count_entries(asked.cache)
    monkeypatch.setattr("edgekit.building.variants.job.train_sparse", None)
    assert list(SparseMaker().make(asked)) == [made]
    assert count_entries(asked.cache) == entries


def test_each_way_to_make_zeros_has_a_training_of_its_own(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Any] = []
    monkeypatch.setattr(
        "edgekit.building.variants.sparse.train_pruned", lambda _, job, name: jobs.append(job) or []
    )
    base = on_board(context, "generic-cpu", "litert", "fp32", 0.8, max_size_bytes=10_000)
    train = base.request.train
    for sparsity in (HALF, MOST, Sparsity("unstructured", 0.9)):
        for change in ({}, {"saliency": "obd"}, {"rewind": True}):
            request = replace(base.request, sparsity=sparsity, train=replace(train, **change))
            list(SparseMaker().make(replace(base, request=request)))
    keys = {base.cache.store.key("pruned", job.key_parts()) for job in jobs}
    assert len(keys) == len(jobs) == 9
    assert all(job.key_parts()["method"] == METHOD for job in jobs)


def test_a_network_that_can_hold_no_zeros_is_refused_before_all_else(context: MakerContext) -> None:
    import torch

    narrow = replace(context.model, module=torch.nn.Sequential(torch.nn.Linear(30, 10)))
    asked = replace(context.request, sparsity=HALF)
    with pytest.raises(
        UserError, match="sparsity 2:4: no layer can hold it: 0: 30 input channels, not divisible by 4"
    ):
        refuse_unfit_sparsity(asked, narrow)
    refuse_unfit_sparsity(asked, context.model)
    refuse_unfit_sparsity(context.request, narrow)
    stages = with_pipeline(context.request, read_pipeline([{"method": "sparse", "sparsity": "2:4"}]))
    with pytest.raises(UserError, match=r"stage 1 \(sparse\): sparsity 2:4: no layer can hold it"):
        refuse_unfit_stages(stages, None, narrow, context.source)


def test_the_last_stage_of_a_pipeline_makes_zeros_in_what_was_pruned(context: MakerContext) -> None:
    base = on_board(context, "jetson-orin-nano", "tensorrt", "int8", None, origin="estimated")
    read = read_pipeline(
        [
            {"method": "prune", "macs": 0.7, "epochs": 0.5},
            {"method": "sparse", "sparsity": "2:4", "epochs": 0.5},
        ]
    )
    plain = replace(base.request, train=type(base.request.train)())
    request = replace(with_pipeline(plain, read), train=replace(base.request.train, epochs=None))
    refuse_unfit_stages(request, None, base.model, base.source)
    pruned, sparse = PipelineMaker().make(replace(base, request=request))
    assert isinstance(pruned, MadeVariant)
    assert isinstance(sparse, MadeVariant)
    assert (sparse.variant.kind, sparse.variant.parent) == ("sparse", pruned.variant.id)
    assert sparse.variant.id == f"{pruned.variant.id}-sparse-2of4"
    assert sparse_layers(onnx.load(sparse.variant.onnx_path))


def test_layers_that_the_sparse_kernels_do_not_take_are_named(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.building.variants.sparse.train_pruned", None)
    asked = on_board(context, "raspberry-pi-4", "litert", "fp32", 0.8)
    onnx.save(chain(between="MaxPool"), asked.original.onnx_path)
    (rejection,) = SparseMaker().make(asked)
    assert isinstance(rejection, Rejection)
    assert rejection.what == "80% unstructured sparsity in LiteRT"
    assert "want a chain of layers: between (MaxPool) is none of the layers that it takes" in rejection.reason
