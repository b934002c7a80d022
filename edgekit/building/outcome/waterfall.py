"""Where accuracy goes on the way from the user's network to the artifact, step by step, on the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.backends import get_backend, simulated
from edgekit.building.outcome.layer_losses import LayerLossTask
from edgekit.errors import StageError
from edgekit.measure import agreement, cosine, estimate_drop, find_metric, holds_class_scores
from edgekit.plan import candidate_id
from edgekit.result import LayerLoss, WaterfallStage, WaterfallStep
from edgekit.types import Artifact, Candidate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.building.candidates.ladder import Attempt
    from edgekit.building.context import Samples, Workshop
    from edgekit.building.outcome.finish import Outcome
    from edgekit.types import Variant

__all__ = ["waterfall_of"]

TRAINED_METRICS = ("top1", "agreement")
"""Metrics that training validates with too: only then its figures belong into the same row."""

FLOATS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class Stage:
    """One step: its artifact, or, of a network in training, its accuracy alone."""

    name: WaterfallStage
    artifact: Artifact | None = None
    accuracy: float | None = None
    note: str = ""


def waterfall_of(shop: Workshop, outcome: Outcome) -> tuple[WaterfallStep, ...]:
    """The winner's way (or the nearest's), from the original on; steps that did not happen are left out.

    All of it is cached. A step that cannot be run ends the waterfall there.
    """
    handed = outcome.choice.winner or outcome.choice.nearest
    attempt = next((one for one in outcome.attempts if one.candidate.id == handed), None)
    if attempt is None:
        return ()
    scorer = Scorer(
        shop, outcome.reference, shop.samples(shop.setting.splits.validation, outcome.original.signature)
    )
    steps: list[WaterfallStep] = []
    before: Stage | None = None
    try:
        for stage in stages(shop, outcome, attempt, scorer.metric):
            steps.append(measured(shop, scorer, steps[-1] if steps else None, before, stage))
            before = stage
    except StageError:
        return tuple(steps)
    return tuple(steps)


def stages(shop: Workshop, outcome: Outcome, attempt: Attempt, metric: str) -> list[Stage]:
    """What happened to the network, in order."""
    network = outcome.networks[attempt.candidate.variant]
    runtime = hosted(outcome, attempt, outcome.reference).backend
    found = [Stage("original", outcome.reference, note=f"float, in {runtime}")]
    if network.id != outcome.original.id:
        found += trained(outcome, network.id) if metric in TRAINED_METRICS else []
        found.append(Stage("exported", float_artifact(shop, outcome, network), note="float ONNX"))
    return [*found, *built(outcome, attempt, found[-1].artifact)]


def trained(outcome: Outcome, variant: str) -> list[Stage]:
    """Pruning and fine-tuning, as far as the variant's story has them."""
    steps = next((one.steps for one in outcome.variants if one.id == variant), ())
    kept = [step for step in steps if step.accepted and step.kind == "step"]
    final = [step for step in steps if step.kind == "final"]
    found = []
    if kept:
        note = f"{kept[-1].fraction:.0%} of the MACs, {len(kept)} steps with a short training each, in torch"
        found.append(Stage("pruned", accuracy=kept[-1].accuracy, note=note))
    if final:
        found.append(
            Stage("fine-tuned", accuracy=final[-1].accuracy, note="distilled from the original, in torch")
        )
    return found


def float_artifact(shop: Workshop, outcome: Outcome, network: Variant) -> Artifact:
    """The variant in float, through the runtime that the original was measured in."""
    backend = outcome.reference.backend
    candidate = Candidate(candidate_id(network.id, backend, "fp32"), network.id, backend, "fp32")
    return shop.export(network, candidate)


def hosted(outcome: Outcome, attempt: Attempt, artifact: Artifact) -> Artifact:
    """What was run: the artifact itself on the board, else what stands for it on this machine."""
    on_board = outcome.measurements[attempt.candidate.id].origin == "device"
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
        )
        return [Stage("runtime", artifact, note=note)]
    recipe = f", recipe {candidate.recipe}" if candidate.recipe else ""
    rounded = f"{candidate.precision}{recipe}, the rounding simulated in float"
    if same(simulation, artifact):  # the board's runtime is not here: its graph is computed as it is written
        note = f"{rounded}; as {attempt.artifact.backend} itself runs it was not measured"
        return [Stage("quantized", artifact, note=note)]
    return [
        Stage("quantized", simulation, note=rounded),
        Stage("runtime", artifact, note=f"{runs}, in integers"),
    ]


def same(one: Artifact, other: Artifact) -> bool:
    """Whether two artifacts are the same file run the same way."""
    hashes = [[file.sha256 for file in each.files] for each in (one, other)]
    return (
        hashes[0] == hashes[1] and one.backend == other.backend and dict(one.options) == dict(other.options)
    )


class Scorer:
    """Scores of an artifact on the validation samples, one each, as the build's metric has them."""

    def __init__(self, shop: Workshop, reference: Artifact, samples: Samples) -> None:
        self.shop, self.samples = shop, samples
        self._reference = shop.outputs(reference, samples)
        self._labels = samples.files.labels
        classes = holds_class_scores(self._reference)
        self.metric = (
            shop.setting.request.metric if self._labels is not None else "agreement" if classes else "cosine"
        )

    def scores(self, artifact: Artifact) -> NDArray[np.float64]:
        """float64 [samples]. Raises StageError when the artifact does not run."""
        outputs = self.shop.outputs(artifact, self.samples)
        if self._labels is not None:
            return find_metric(self.metric)(outputs, self._labels)
        if self.metric == "agreement":
            return agreement(outputs, self._reference)
        each = [cosine(outputs[name], values) for name, values in self._reference.items()]
        return np.asarray(np.mean(each, axis=0), np.float64)


def layer_losses(
    shop: Workshop, before: Artifact, after: Artifact, samples: Samples
) -> tuple[LayerLoss, ...]:
    """The layers where `after` loses most against `before`; none where the two cannot be compared."""
    setting = shop.setting
    task = LayerLossTask(
        before=before,
        after=after,
        inputs=tuple(str(path) for path in samples.files.inputs.values()),
        inputs_digest=samples.digest,
        threads=setting.request.threads,
        cpu=setting.machine.cpu,
        features=tuple(sorted(setting.machine.features)),
        versions=setting.versions,
    )
    try:
        layers, _ = shop.cache().answer(
            shop.executor, task, lambda: shop.reporter.step("Looking for the layers to blame")
        )
    except StageError:
        return ()
    return layers


def measured(
    shop: Workshop, scorer: Scorer, last: WaterfallStep | None, before: Stage | None, stage: Stage
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
    drop = estimate_drop(scores, scorer.scores(before.artifact))
    layers: tuple[LayerLoss, ...] = ()
    if stage.name == "quantized" or drop.value != 0.0:
        layers = layer_losses(shop, before.artifact, stage.artifact, scorer.samples)
    return WaterfallStep(
        stage.name, accuracy, 0.0 - drop.value, 0.0 - drop.high, 0.0 - drop.low, layers, stage.note
    )
