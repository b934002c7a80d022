"""Whether a build of a network with zeros may be faster than one without."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

from edgekit.graph.chains import why_no_sparse_chain
from edgekit.hardware import Target
from edgekit.plan import why_not_faster_sparse
from edgekit.runtimes import RUNTIMES
from edgekit.types import Candidate, Sparsity

__all__ = ["why_no_gain"]


def why_no_gain(
    target: Target, features: AbstractSet[str], network: Path, candidate: Candidate, sparsity: Sparsity
) -> str:
    """Why it is not, by the rules of runtime and board and by the network's layers; "" where it may be.

    `network`: an ONNX file of these layers. `features`: of the board's CPU.
    """
    reason = why_not_faster_sparse(target, features, candidate, sparsity)
    row = RUNTIMES[candidate.backend]
    if reason or row.sparse is None or not row.sparse.chained:
        return reason
    broken = why_no_sparse_chain(network)
    return f"{row.title}'s sparse kernels want a chain of layers: {broken}" if broken else ""
