"""Which weights of a network are zero: the pattern and how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SaliencyName", "Sparsity", "SparsityPattern"]

SparsityPattern = Literal["2:4", "unstructured"]
"""`2:4`: of each four weights that are neighbours along the input channels at least two are zero, as sparse tensor
cores read them; `unstructured`: anywhere."""

SaliencyName = Literal["magnitude", "obd"]
"""What a weight is worth: its magnitude, or what it would cost by a diagonal Hessian (Optimal Brain Damage)."""


@dataclass(frozen=True)
class Sparsity:
    """`ratio`: the share of a layer's weights that is zero, above 0 and below 1; of 2:4 a half."""

    pattern: SparsityPattern
    ratio: float

    @property
    def text(self) -> str:
        """As the option takes it: `2:4`, `0.8`."""
        return self.pattern if self.pattern == "2:4" else f"{self.ratio:g}"

    @property
    def words(self) -> str:
        """In a sentence: `2:4 sparsity`, `80% unstructured sparsity`."""
        share = "" if self.pattern == "2:4" else f"{100 * self.ratio:g}% unstructured"
        return f"{share or self.pattern} sparsity"
