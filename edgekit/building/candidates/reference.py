"""The original in float: what every accuracy drop is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.errors import StageError, UserError
from edgekit.plan import candidate_id
from edgekit.progress import Reporter
from edgekit.types import Artifact, BackendName, Candidate, Signature, Variant

__all__ = ["reference_artifact"]


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
            problems.append(f"{backend}: {error}")
    raise UserError(f"the network runs in no runtime of {target}: {'; '.join(problems)}")
