"""What a build holds while it goes on, and what it ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edgekit.result import VariantResult
from edgekit.types import (
    Accuracy,
    Artifact,
    Candidate,
    Choice,
    Failure,
    Measurement,
    PlanningResult,
    Rejection,
    Variant,
)

__all__ = ["Attempt", "BuildState", "Outcome"]


@dataclass(frozen=True)
class Attempt:
    """A candidate that could be exported and run, with its accuracy on the validation split."""

    candidate: Candidate
    artifact: Artifact
    accuracy: Accuracy


@dataclass(frozen=True)
class BuildState:
    """What is known so far. `ruled_out`: by the target's rules, alike for every network; `rejections`: of this one."""

    networks: Mapping[str, Variant] = field(default_factory=dict)
    variants: tuple[VariantResult, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    failures: tuple[Failure, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    ruled_out: tuple[Rejection, ...] = ()
    planning: PlanningResult | None = None

    def with_network(self, variant: Variant, described: VariantResult) -> BuildState:
        """One network more."""
        networks = {**self.networks, variant.id: variant}
        return replace(self, networks=networks, variants=(*self.variants, described))

    def plus(
        self,
        *,
        attempts: Iterable[Attempt] = (),
        failures: Iterable[Failure] = (),
        rejections: Iterable[Rejection] = (),
        ruled_out: Iterable[Rejection] = (),
    ) -> BuildState:
        """These too; what is already known is not told twice."""
        return replace(
            self,
            attempts=(*self.attempts, *attempts),
            failures=(*self.failures, *(new for new in failures if new not in self.failures)),
            rejections=(*self.rejections, *rejections),
            ruled_out=(*self.ruled_out, *(new for new in ruled_out if new not in self.ruled_out)),
        )

    def all_rejections(self) -> tuple[Rejection, ...]:
        """What a reader looks for first, first."""
        return (*self.rejections, *self.ruled_out)


@dataclass(frozen=True)
class Outcome:
    """All that the stages gave. `reference`: the original in float, what every accuracy drop is compared with."""

    original: Variant
    networks: Mapping[str, Variant]
    reference: Artifact
    attempts: tuple[Attempt, ...]
    measurements: Mapping[str, Measurement]
    choice: Choice
    failures: tuple[Failure, ...]
    rejections: tuple[Rejection, ...]
    variants: tuple[VariantResult, ...]
    planning: PlanningResult | None = None

    def attempt(self, candidate: str | None) -> Attempt | None:
        """The attempt of that candidate, if there was one."""
        return next((attempt for attempt in self.attempts if attempt.candidate.id == candidate), None)
