"""Where accuracy goes on the way from the user's network to the artifact, step by step, on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.backends import get_backend, simulated
from edgekit.board.verdict import FLOATS
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt, Outcome
from edgekit.choose.wording import points
from edgekit.errors import StageError
from edgekit.measure import estimate_drop, estimate_skewed_drop, find_scoring
from edgekit.plan import candidate_id
from edgekit.result import LayerLoss, WaterfallStage, WaterfallStep
from edgekit.types import Artifact, Candidate, Estimate, Variant, VariantKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Scorer", "Stage", "built", "waterfall_of"]

ExportVariant = Callable[[Variant, Candidate], Artifact]
FindLosses = Callable[[Artifact, Artifact], tuple[LayerLoss, ...]]
"""(before, after) → the layers where the second loses most; none where the two cannot be compared."""

STAGES: Mapping[VariantKind, WaterfallStage] = {
    "pruned": "pruned",
    "student": "distilled",
    "low-rank": "factorized",
    "sparse": "sparsified",
}
"""What a network that another one was made of is called on the way there."""

TRAINED_METRICS = ("top1", "agreement")
"""Metrics that training validates with too: only then its figures belong into the same row."""


@dataclass(frozen=True)
class Stage:
    """One step: its artifact, or, of a network in training, its accuracy alone."""

    name: WaterfallStage
    artifact: Artifact | None = None
    accuracy: float | None = None
    note: str = ""


def waterfall_of(
    outcome: Outcome, scorer: Scorer, export: ExportVariant, losses: FindLosses
) -> tuple[WaterfallStep, ...]:
    """The winner's way (or the nearest's), from the original on; steps that did not happen are left out.

    A step that cannot be run ends the waterfall there.
    """
    attempt = outcome.attempt(outcome.choice.winner or outcome.choice.nearest)
    if attempt is None:
        return ()
    steps: list[WaterfallStep] = []
    before: Stage | None = None
    try:
        for stage in stages(outcome, attempt, scorer.metric, export):
            steps.append(measured(scorer, losses, steps[-1] if steps else None, before, stage))
            before = stage
    except StageError:
        return tuple(steps)
    return tuple(steps)


def stages(outcome: Outcome, attempt: Attempt, metric: str, export: ExportVariant) -> list[Stage]:
    """What happened to the network, in order."""
    network = outcome.networks[attempt.candidate.variant]
    runtime = hosted(outcome, attempt, outcome.reference).backend
    way = [Stage("original", outcome.reference, note=f"float, in {runtime}")]
    way += earlier(outcome, network, export)
    if network.id != outcome.original.id:
        way += trained(outcome, network.id) if metric in TRAINED_METRICS else []
        way.append(Stage("exported", float_artifact(outcome, network, export), note="float ONNX"))
    return [*way, *built(outcome, attempt, way[-1].artifact)]


def earlier(outcome: Outcome, network: Variant, export: ExportVariant) -> list[Stage]:
    """The networks between the original and this one, the first first: those that it was made of, in float."""
    if network.parent is None or network.parent == outcome.original.id:
        return []
    parent = outcome.networks[network.parent]
    stage = Stage(STAGES[parent.kind], float_artifact(outcome, parent, export), note=parent.description)
    return [*earlier(outcome, parent, export), stage]


def trained(outcome: Outcome, variant: str) -> list[Stage]:
    """Pruning and fine-tuning, or the making of zeros, as far as the variant's history has them."""
    described = next((described for described in outcome.variants if described.id == variant), None)
    steps = described.steps if described is not None else ()
    kept = [step for step in steps if step.accepted and step.kind == "step"]
    final = [step for step in steps if step.kind == "final"]
    way = []
    if described is not None and described.kind == "sparse":
        note = f"{described.description}, in torch"
        return [Stage("sparsified", accuracy=step.accuracy, note=note) for step in final]
    if kept:
        note = f"{kept[-1].fraction:.0%} of the MACs, {len(kept)} steps with a short training each, in torch"
        way.append(Stage("pruned", accuracy=kept[-1].accuracy, note=note))
    if final:
        way.append(
            Stage("fine-tuned", accuracy=final[-1].accuracy, note="distilled from the original, in torch")
        )
    return way


def float_artifact(outcome: Outcome, network: Variant, export: ExportVariant) -> Artifact:
    """The variant in float, through the runtime that the original was measured in."""
    backend = outcome.reference.backend
    candidate = Candidate(candidate_id(network.id, backend, "fp32"), network.id, backend, "fp32")
    return export(network, candidate)


def hosted(outcome: Outcome, attempt: Attempt, artifact: Artifact) -> Artifact:
    """What was run: the artifact itself on the board, else what stands for it on this machine."""
    on_board = outcome.measurements[attempt.candidate.id].origin in ("device", "emulated")
    return artifact if on_board else get_backend(artifact.backend).on_host(artifact)


def built(outcome: Outcome, attempt: Attempt, floating: Artifact | None) -> list[Stage]:
    """Quantization, computed in float, and then what the runtime makes of it."""
    candidate = attempt.candidate
    artifact = hosted(outcome, attempt, attempt.artifact)
    if floating is not None and same(artifact, floating):
        return []
    runs = f"as {artifact.backend} runs it"
    if candidate.precision in FLOATS:
        return [Stage("runtime", artifact, note=f"{candidate.precision}, {runs}")]
    simulation = simulated(artifact) if candidate.precision == "int8" else None
    if simulation is None:
        note = (
            f"quantized to {candidate.precision} and run in one step: {artifact.backend} offers no simulation"
            f"{given_back(outcome, attempt)}"
        )
        return [Stage("runtime", artifact, note=note)]
    recipe = f", recipe {candidate.recipe}" if candidate.recipe else ""
    rounded = f"{candidate.precision}{recipe}, the rounding simulated in float{given_back(outcome, attempt)}"
    if same(simulation, artifact):  # the board's runtime is not here: its graph is computed as it is written
        note = f"{rounded}; as {attempt.artifact.backend} itself runs it was not measured"
        return [Stage("quantized", artifact, note=note)]
    return [
        Stage("quantized", simulation, note=rounded),
        Stage("runtime", artifact, note=f"{runs}, in integers"),
    ]


def repairs_of(artifact: Artifact) -> tuple[str, ...]:
    """What was done to the network before it was quantized, in words."""
    return artifact.quantization.repairs if artifact.quantization is not None else ()


def given_back(outcome: Outcome, attempt: Attempt) -> str:
    """What repairing the network gave, beside the best that the runtime's own integers lost without; "" where nothing
    was repaired."""
    if not repairs_of(attempt.artifact):
        return ""
    own = attempt.candidate
    plain = [
        other
        for other in outcome.attempts
        if (
            other.candidate.variant,
            other.candidate.backend,
            other.candidate.device,
            other.candidate.precision,
        )
        == (own.variant, own.backend, own.device, own.precision)
        and not repairs_of(other.artifact)
    ]
    told = f"; repaired before: {'; '.join(repairs_of(attempt.artifact))}"
    if not plain:
        return told
    best = min(plain, key=lambda other: other.accuracy.drop.value)
    return (
        f"{told}. Without, {best.candidate.recipe} lost {points(best.accuracy.drop.value)}; with, "
        f"{points(attempt.accuracy.drop.value)}"
    )


def same(a: Artifact, b: Artifact) -> bool:
    """Whether two artifacts are the same file run the same way."""
    return (
        a.backend == b.backend
        and [file.sha256 for file in a.files] == [file.sha256 for file in b.files]
        and dict(a.options) == dict(b.options)
    )


class Scorer:
    """Scores of an artifact per validation sample, as the build's metric has them."""

    def __init__(self, evaluator: Evaluator, reference: Artifact, samples: SplitFiles) -> None:
        self._evaluator, self._samples = evaluator, samples
        self._reference = evaluator.outputs(reference, samples)
        self._scoring = find_scoring(evaluator.metric, samples.files.labels, self._reference)
        self.metric = self._scoring.name

    def scores(self, artifact: Artifact) -> NDArray[np.float64]:
        """float64 [samples]. Raises StageError when the artifact does not run."""
        return self._scoring.scores(self._evaluator.outputs(artifact, self._samples))

    def drop(self, scores: NDArray[np.float64], before: Artifact) -> Estimate:
        """What is lost from the artifact before to these scores, with the interval that a verdict would have."""
        skewed = self._scoring.by_part is not None
        return (estimate_skewed_drop if skewed else estimate_drop)(scores, self.scores(before))


def measured(
    scorer: Scorer, losses: FindLosses, last: WaterfallStep | None, before: Stage | None, stage: Stage
) -> WaterfallStep:
    """The step with its change from the last one: paired where both are artifacts."""
    if stage.artifact is None:
        accuracy = stage.accuracy or 0.0
        return WaterfallStep(
            stage.name, accuracy, accuracy - (last.accuracy if last else accuracy), note=stage.note
        )
    scores = scorer.scores(stage.artifact)
    accuracy = float(scores.mean())
    if last is None or before is None:
        return WaterfallStep(stage.name, accuracy, 0.0, note=stage.note)
    if before.artifact is None:
        return WaterfallStep(stage.name, accuracy, accuracy - last.accuracy, note=stage.note)
    drop = scorer.drop(scores, before.artifact)
    layers: tuple[LayerLoss, ...] = ()
    is_another = stage.name in STAGES.values()  # whose layers are not those of the network before
    # Repaired networks hold other values between their layers: nothing is lost where these differ.
    alike = not is_another and repairs_of(before.artifact) == repairs_of(stage.artifact)
    if alike and (stage.name == "quantized" or drop.value != 0.0):
        layers = losses(before.artifact, stage.artifact)
    return WaterfallStep(
        stage.name, accuracy, 0.0 - drop.value, 0.0 - drop.high, 0.0 - drop.low, layers, stage.note
    )
