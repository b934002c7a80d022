"""Sparse weights as plain data: which layers hold zeros, in which pattern, and how these are found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import get_args

from edgekit.errors import UserError
from edgekit.types import SaliencyName, Sparsity, SparsityPattern

__all__ = ["SparsePlan"]

MOST_NAMED = 6


@dataclass(frozen=True)
class SparsePlan:
    """All that says which weights become zero, but for the weights themselves.

    `layers`: modules whose weights hold zeros; `dense`: others with weights, each with the reason why they hold none.
    `saliency`: what a weight is worth; `rewind`: once the zeros are found, the other weights begin again where training
    began. `weights` and `all_weights`: of the layers, and of all layers that multiply.
    """

    sparsity: Sparsity
    layers: tuple[str, ...] = ()
    dense: tuple[tuple[str, str], ...] = ()
    saliency: SaliencyName = "magnitude"
    rewind: bool = False
    weights: int = 0
    all_weights: int = 0

    @property
    def fraction(self) -> float:
        """1: a product with zero is counted as any other, and only some runtimes leave it out."""
        return 1.0

    @property
    def share(self) -> float:
        """Of all weights of layers that multiply, those that are zero."""
        return self.sparsity.ratio * self.weights / self.all_weights if self.all_weights else 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """What is done, for people."""
        by = "magnitude" if self.saliency == "magnitude" else "a diagonal Hessian (OBD)"
        after = "; the other weights began again where training began (rewound)" if self.rewind else ""
        told = [
            f"{self.sparsity.words} by {by}: {self.share:.1%} of {self.all_weights:,} weights are zero, "
            f"in {len(self.layers)} layers{after}"
        ]
        if self.dense:
            named = "; ".join(f"{name} ({reason})" for name, reason in self.dense[:MOST_NAMED])
            more = f"; and {len(self.dense) - MOST_NAMED} more" if len(self.dense) > MOST_NAMED else ""
            told.append(f"left dense: {named}{more}")
        return tuple(told)

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> SparsePlan:
        """Read what `to_json` wrote. Raises UserError on anything else."""
        try:
            raw = json.loads(text)
            pattern, ratio = raw["sparsity"]["pattern"], float(raw["sparsity"]["ratio"])
            known = pattern in get_args(SparsityPattern) and raw["saliency"] in get_args(SaliencyName)
            if not known or not 0.0 < ratio < 1.0:
                raise ValueError(f"{pattern} of {ratio} by {raw['saliency']}")
            return SparsePlan(
                Sparsity(pattern, ratio),
                tuple(map(str, raw["layers"])),
                tuple((str(name), str(reason)) for name, reason in raw["dense"]),
                raw["saliency"],
                bool(raw["rewind"]),
                int(raw["weights"]),
                int(raw["all_weights"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a sparse plan: {type(error).__name__}: {error}") from error
