"""A factorized structure as plain data: which layers become products of smaller ones, in which form, of which ranks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

from edgekit.errors import UserError

__all__ = ["FactorForm", "FactorStep", "LowRankPlan"]

FactorForm = Literal["svd", "spatial", "tucker"]
"""`svd`: two linear layers, or two 1x1 convolutions, the first into the rank; `spatial`: k x 1 into the rank and 1 x k
out of it (Jaderberg et al., BMVC 2014); `tucker`: 1x1 into the first rank, k x k into the second, 1x1 out of that
(Tucker-2; Kim et al., ICLR 2016)."""


@dataclass(frozen=True)
class FactorStep:
    """One layer, by its module's name, and its factors: one rank, or two of `tucker` (channels in, channels out)."""

    layer: str
    form: FactorForm
    ranks: tuple[int, ...]

    def text(self) -> str:
        """As the option takes it: `fc1=32`, `conv2=16x24`."""
        return f"{self.layer}={'x'.join(map(str, self.ranks))}"


@dataclass(frozen=True)
class LowRankPlan:
    """All that is needed to make the factorized structure again from the original, without pickles.

    `original_macs` and `macs` are multiply-accumulates of convolutions and linear layers for one sample, before and
    after. Weights are no part of it.
    """

    steps: tuple[FactorStep, ...] = ()
    original_macs: int = 0
    macs: int = 0

    @property
    def changes(self) -> bool:
        """Whether any layer is factorized."""
        return bool(self.steps)

    @property
    def fraction(self) -> float:
        """MACs after divided by MACs before (1.0 when nothing is counted)."""
        return self.macs / self.original_macs if self.original_macs else 1.0

    @property
    def lines(self) -> tuple[str, ...]:
        """What it does, for people."""
        return (f"low rank: {self.text()}",)

    def text(self) -> str:
        """The layers with their ranks, as the option takes them."""
        return ",".join(step.text() for step in self.steps)

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back."""
        fields = {
            "original_macs": self.original_macs,
            "macs": self.macs,
            "factors": [
                {"layer": step.layer, "form": step.form, "ranks": list(step.ranks)} for step in self.steps
            ],
        }
        return json.dumps(fields, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> LowRankPlan:
        """Read what `to_json` wrote. Raises UserError on anything else."""
        try:
            raw = json.loads(text)
            steps = []
            for step in raw["factors"]:
                form, ranks = step["form"], tuple(int(rank) for rank in step["ranks"])
                if form not in get_args(FactorForm) or len(ranks) != (2 if form == "tucker" else 1):
                    raise ValueError(f"{form} of {ranks}")
                steps.append(FactorStep(str(step["layer"]), form, ranks))
            return LowRankPlan(tuple(steps), int(raw["original_macs"]), int(raw["macs"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a low-rank plan: {type(error).__name__}: {error}") from error
