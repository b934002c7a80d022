"""Where zeros among weights make a network faster, or its file smaller, and where not. Pure, as the other rules."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from edgekit.hardware import Target
from edgekit.runtimes import RUNTIMES
from edgekit.types import Candidate, Sparsity

__all__ = ["is_stored_sparse", "why_not_faster_sparse"]


def why_not_faster_sparse(
    target: Target, features: AbstractSet[str], candidate: Candidate, sparsity: Sparsity
) -> str:
    """Why a build with these zeros is no faster than without; "" where it may be. `features`: of the board's CPU."""
    row = RUNTIMES[candidate.backend]
    kernels, runtime = row.sparse, target.runtime(candidate.backend)
    if kernels is None or runtime is None:
        return f"{row.title} has no kernels for sparse weights: it multiplies by the zeros too"
    if kernels.pattern is not None and sparsity.pattern != kernels.pattern:
        return f"{row.title} is faster by {kernels.pattern} alone; zeros elsewhere are multiplied too"
    if sparsity.ratio <= kernels.above:
        return (
            f"{row.title} turns to its sparse kernels where more than {kernels.above:.0%} of the weights are zero; "
            f"{sparsity.text} makes {sparsity.ratio:.0%}"
        )
    on_cpu = runtime.device == "CPU"
    lacks = (
        kernels.architecture not in ("", target.architecture)
        or bool(kernels.feature and not (on_cpu and kernels.feature in features))
        or (kernels.sparse_gpu and not target.has_sparse_gpu())
    )
    if lacks:
        return f"{row.title}'s sparse kernels are for {kernels.board}; {target.name} is none"
    if kernels.sparse_gpu and candidate.device:
        return f"{row.title}'s sparse kernels are the GPU's, and this build is for the {candidate.device.upper()}"
    if candidate.precision not in kernels.precisions:
        return f"{row.title} has sparse kernels for {' and '.join(kernels.precisions)} alone"
    return ""


def is_stored_sparse(candidate: Candidate) -> bool:
    """Whether the file of such a build leaves zeros out."""
    kernels = RUNTIMES[candidate.backend].sparse
    return kernels is not None and kernels.stored == candidate.precision
