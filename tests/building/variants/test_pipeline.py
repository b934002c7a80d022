"""Networks that are made smaller in their turn: a student that is pruned, and the stages of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.building.given import GivenModel
from edgekit.building.outcome.waterfall import earlier
from edgekit.building.pipeline import read_pipeline, with_pipeline
from edgekit.building.setup import refuse_impossible_qat
from edgekit.building.values import Outcome
from edgekit.building.variants.base import MadeVariant, MakerContext, open_makers
from edgekit.building.variants.in_turn import beginning_with, pruned_in_turn
from edgekit.building.variants.pipeline import PipelineMaker, refuse_unfit_stages
from edgekit.building.variants.student import StudentMaker
from edgekit.errors import StageError, UserError
from edgekit.hardware import find_target
from edgekit.model import locate_module
from edgekit.plan import Structure
from edgekit.result import TrainedStep
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Estimate, Failure, Rejection, Signature, TensorSpec, Variant
from tests.building.parts import count_entries
from tests.building.variants.contexts import maker_context
from tests.one_thread import one_thread

__all__ = ["one_thread"]

DISTIL = {"method": "distil", "network": "net.py:small", "epochs": 0.5}
PRUNE = {"method": "prune", "macs": 0.7, "epochs": 0.5}


def context_in(folder: Path) -> Iterator[MakerContext]:
    with maker_context(folder) as made:
        ports = (TensorSpec("x", "float32", (1, 1, 8, 8)),), (TensorSpec("y", "float32", (1, 10)),)
        torch.manual_seed(1)
        module = TinyConvNet().eval()
        student = GivenModel(locate_module(module), module, "small")
        yield replace(made, student=student, original=replace(made.original, signature=Signature(*ports)))


@pytest.fixture
def context(store: Path) -> Iterator[MakerContext]:
    yield from context_in(store)


def staged(context: MakerContext, stages: Sequence[dict[str, Any]]) -> MakerContext:
    """The context of a pipeline; the fixture's own training options stay where a stage says nothing."""
    read = read_pipeline(list(stages))
    train, plain = context.request.train, replace(context.request, train=type(context.request.train)())
    return replace(context, request=replace(with_pipeline(plain, read), train=replace(train, epochs=None)))


def taking(latencies_ms: dict[str, float], narrower_ms: float) -> Any:
    """A probe that knows what networks take by their ids, and what all narrower ones do."""

    def probe(variants: Sequence[Variant], original: Variant, leads: object) -> list[Structure]:
        return [
            Structure(
                variant.cost.macs / original.cost.macs,
                latency_ms,
                1,
                1,
                like="original-ort-int8",
                variant=variant.id,
                median=Estimate(latency_ms, 0.99 * latency_ms, 1.01 * latency_ms),
            )
            for variant in variants
            for latency_ms in [latencies_ms.get(variant.id, narrower_ms)]
        ]

    return probe


def accepted(made: MadeVariant, *, is_accepted: bool) -> MadeVariant:
    return replace(made, steps=(TrainedStep("final", 1.0, 0.9, is_accepted),))


def student_of(context: MakerContext) -> MadeVariant:
    (made,) = StudentMaker().taught(context)
    assert isinstance(made, MadeVariant)
    return made


def test_a_student_is_pruned_with_the_original_as_its_teacher_and_kept(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = accepted(student_of(context), is_accepted=True)
    slow = replace(context, probe=taking({student.variant.id: 0.9}, 0.4))
    (made,) = pruned_in_turn(slow, student)
    assert isinstance(made, MadeVariant)
    assert made.variant.id.startswith(f"{student.variant.id}-pruned-")
    assert (made.variant.kind, made.variant.parent) == ("pruned", student.variant.id)
    assert f"of the MACs of {student.variant.id}, distilled from the original" in made.variant.description
    assert made.variant.cost.macs < student.variant.cost.macs
    inner = beginning_with(slow, student)
    assert inner.teacher is slow.model
    assert inner.model.ref.digest != slow.model.ref.digest
    entries = count_entries(context.cache)
    monkeypatch.setattr("edgekit.building.variants.job.prune_iteratively", None)
    assert list(pruned_in_turn(slow, student)) == [made]
    assert count_entries(context.cache) == entries
    assert made.load is not None
    with torch.no_grad():
        assert made.load()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("change", "is_accepted", "said"),
    [
        (lambda c: replace(c, probe=taking({}, 0.2)), True, r"takes 0.200 ms as it is and keeps the budget"),
        (lambda c: c, False, r"scores 90.00% and loses more than 2.00% already"),
        (lambda c: replace(c, attempts=()), True, "no build of the unpruned network could be measured"),
        (lambda c: replace(c, probe=taking({}, 0.9)), True, r"even .* of the MACs need 0.900 ms"),
    ],
)
def test_why_a_student_is_not_pruned_is_told(
    context: MakerContext, change: Any, is_accepted: bool, said: str
) -> None:
    student = accepted(student_of(context), is_accepted=is_accepted)
    (rejection,) = pruned_in_turn(change(context), student)
    assert isinstance(rejection, Rejection)
    assert rejection.what == f"pruning {student.variant.id}"
    assert re.search(said, rejection.reason)


def test_without_pruning_a_student_stays_as_it_is(context: MakerContext) -> None:
    without = replace(context, request=replace(context.request, prune=False))
    assert list(pruned_in_turn(without, student_of(context))) == []


def test_each_stage_goes_on_with_what_the_one_before_it_gave(context: MakerContext) -> None:
    asked = staged(context, [DISTIL, PRUNE, {**PRUNE, "macs": 0.8}, {"method": "qat"}])
    assert [name for name, _ in open_makers(asked.request)] == ["pipeline"]
    first, second, third, last = PipelineMaker().make(asked)
    assert isinstance(first, MadeVariant)
    assert isinstance(second, MadeVariant)
    assert isinstance(third, MadeVariant)
    assert [made.variant.parent for made in (first, second, third)] == [
        "original", first.variant.id, second.variant.id
    ]  # fmt: skip
    assert third.variant.cost.macs < second.variant.cost.macs < first.variant.cost.macs
    assert isinstance(last, Rejection)
    assert last.reason.endswith(f"has an INT8 build of {third.variant.id}")
    networks = {made.variant.id: made.variant for made in (first, second, third)}
    reference = asked.attempts[0].artifact
    outcome = Outcome(asked.original, networks, reference, (), {}, asked.choice, (), (), ())
    way = earlier(
        outcome, third.variant, lambda variant, candidate: replace(reference, candidate=candidate.id)
    )
    assert [stage.name for stage in way] == ["distilled", "pruned"]
    assert [stage.artifact.candidate.partition("-ort")[0] for stage in way if stage.artifact] == [
        first.variant.id, second.variant.id
    ]  # fmt: skip


def test_layers_of_a_student_are_factorized_where_they_get_faster(context: MakerContext) -> None:
    student = student_of(context).variant.id
    asked = staged(context, [DISTIL, {"method": "low-rank", "ranks": {"down": 4}, "epochs": 0.5}])
    first, last = PipelineMaker().make(replace(asked, probe=taking({student: 0.9}, 0.4)))
    assert isinstance(first, MadeVariant)
    assert isinstance(last, MadeVariant)
    assert (last.variant.kind, last.variant.parent) == ("low-rank", first.variant.id)
    first, slower = PipelineMaker().make(replace(asked, probe=taking({student: 0.4}, 0.9)))
    assert isinstance(slower, Rejection)
    assert "not faster" in slower.reason


def test_a_stage_that_fails_ends_the_pipeline_and_what_is_left_is_told(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StageError("finetune", "the loss is not finite", "a lower --learning-rate")

    monkeypatch.setattr("edgekit.building.variants.pipeline.train_pruned", fail)
    first, failure, rest = PipelineMaker().make(staged(context, [DISTIL, PRUNE, {"method": "qat"}]))
    assert isinstance(first, MadeVariant)
    assert isinstance(failure, Failure)
    assert (failure.candidate, failure.stage) == ("stage 2 (prune)", "finetune")
    assert rest == Rejection("stage 3 (qat)", "not tried: stage 2 (prune) did not end well")


def test_a_stage_that_is_not_worth_it_is_left_out(context: MakerContext) -> None:
    quick = replace(context, probe=taking({}, 0.2))
    asked = staged(quick, [DISTIL, {"method": "prune"}, PRUNE])
    first, left_out, last = PipelineMaker().make(asked)
    assert isinstance(first, MadeVariant)
    assert isinstance(left_out, Rejection)
    assert left_out.what == "stage 2 (prune)"
    assert isinstance(last, MadeVariant)
    assert last.variant.parent == first.variant.id


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"method": "drop", "blocks": ["body.9"]}], r"stage 1 \(drop\): "),
        ([DISTIL, {"method": "low-rank", "ranks": {"nowhere": 4}}], r"stage 2 \(low-rank\): .*'nowhere' is no layer"),
        ([DISTIL, {"method": "low-rank", "ranks": {"head": 10}}], r"stage 2 .*a full rank of 10, and 10 would not be"),
    ],
)  # fmt: skip
def test_what_the_network_of_a_stage_cannot_have_is_refused_before_anything_is_trained(
    context: MakerContext, stages: list[dict[str, Any]], said: str
) -> None:
    request = staged(context, stages).request
    with pytest.raises(UserError, match=said):
        refuse_unfit_stages(request, context.student, context.model, context.source)


def test_a_stage_for_integers_is_refused_where_the_board_has_none(context: MakerContext) -> None:
    request = staged(context, [PRUNE, {"method": "qat"}]).request
    target = find_target("generic-cpu")
    refuse_impossible_qat(request, target)
    bare = tuple(
        type(row)(**{**{n: getattr(row, n) for n in row.__struct_fields__}, "precisions": ("fp32",)})
        for row in target.runtimes
    )
    lacking = type(target)(**{**{n: getattr(target, n) for n in target.__struct_fields__}, "runtimes": bare})
    with pytest.raises(UserError, match=r"stage 2 \(qat\): generic-cpu has no int8"):
        refuse_impossible_qat(request, lacking)
    with pytest.raises(UserError, match=r"stage 2 \(qat\) trains for INT8, which --precision leaves out"):
        refuse_impossible_qat(replace(request, precisions=("fp32",)), target)
