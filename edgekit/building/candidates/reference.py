"""The original in float: what every accuracy drop is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.building.given import GivenModel
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.errors import StageError, UserError
from edgekit.measure import default_metric, find_weakness
from edgekit.plan import candidate_id
from edgekit.progress import Reporter
from edgekit.reference import is_reference
from edgekit.types import Artifact, BackendName, Candidate, Signature, Variant

__all__ = ["default_told", "reference_artifact", "told_weakness"]


def reference_artifact(
    original: Variant,
    backends: Sequence[BackendName],
    export: Callable[[Variant, Candidate], Artifact],
    evaluator: Evaluator,
    samples_for: Callable[[Signature], SplitFiles],
    reporter: Reporter,
    target: str,
) -> Artifact:
    """In the first of `backends` that takes it and runs it over the samples. Raises UserError when none does."""
    problems = []
    for backend in backends:
        candidate = Candidate(candidate_id(original.id, backend, "fp32"), original.id, backend, "fp32")
        try:
            artifact = export(original, candidate)
            with reporter.step("Running the original on the validation split"):
                evaluator.outputs(artifact, samples_for(original.signature))
            return artifact
        except StageError as error:
            problems.append(f"{backend}: {error}" + (f" ({error.remedy})" if error.remedy else ""))
    raise UserError(f"the network runs in no runtime of {target}: {'; '.join(problems)}")


def told_weakness(
    evaluator: Evaluator, reference: Artifact, samples: SplitFiles, model: GivenModel, *, allowed: bool
) -> tuple[str, ...]:
    """The original's own score is judged: every drop from a network that only guesses is small.

    Nothing where it is fine, a warning where a weak one is `allowed`; UserError, with what is likely wrong, where not.
    """
    labels = samples.files.labels
    without_weights = model.ref.kind == "factory" and model.ref.weights is None
    fact = find_weakness(evaluator.outputs(reference, samples), labels, evaluator.metric)
    if not fact and labels is None and without_weights:
        return ("neither labels nor --weights are given: whether the network is trained cannot be seen",)
    if not fact:
        return ()
    weak = f"the original does not do its task on the {samples.split} split: {fact}"
    if allowed:
        return (weak,)
    weights = "the weights (no --weights is given)" if without_weights else "the weights"
    suspects = [weights, "scale, mean and std", "the layout"]
    if labels is not None:
        suspects.append("the order of the classes" if labels.ndim == 1 else "the labels' layout and scale")
    if evaluator.metric is not None and is_reference(evaluator.metric):
        truth = "the original's outputs" if labels is None else "labels"
        suspects.append(f"the metric's arguments (outputs, {truth})")
    raise UserError(
        weak,
        remedy=f"are these right: {', '.join(suspects)}? To build it regardless: --allow-weak-original "
        "(allow_weak_original=True)",
    )


def default_told(evaluator: Evaluator, reference: Artifact, samples: SplitFiles) -> str:
    """By which metric labels that are no class numbers are judged where the user named none; else ""."""
    labels = samples.files.labels
    if labels is None or evaluator.metric is not None:
        return ""
    metric = default_metric(labels, evaluator.outputs(reference, samples))
    explained = {
        "miou": "labels are maps of class numbers: judged by miou, the mean over classes of intersection / union",
        "r2": "labels are targets: judged by r2, the share of their variance that the outputs explain",
    }
    return f"{explained[metric]} (--metric judges otherwise)" if metric in explained else ""
