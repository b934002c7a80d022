"""Candidates, what a runtime says of a network, and why something was not tried or broke."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BackendName", "Candidate", "Examination", "Failure", "Issue", "Precision", "Rejection"]

Precision = Literal["fp32", "bf16", "fp16", "int8", "w8", "w4", "int8-dynamic", "fp8", "fp4"]
"""`w8` and `w4` are weight-only: weights stored in 8 or 4 bits, whatever is multiplied. `int8-dynamic` stores weights
as int8 and quantizes activations while it runs, with ranges of the sample at hand: nothing is calibrated."""


BackendName = str
"""A key of `runtimes.RUNTIMES`."""


@dataclass(frozen=True)
class Candidate:
    """variant × backend × precision × calibration recipe. `recipe` is empty where nothing is calibrated.

    `device` is the accelerator it runs on where the board has one beside the runtime's usual device ("dla").
    """

    id: str
    variant: str
    backend: BackendName
    precision: Precision
    recipe: str = ""
    device: str = ""


@dataclass(frozen=True)
class Rejection:
    """What was not tried, why, and what is tried instead. Never an exception."""

    what: str
    reason: str
    instead: str = ""


@dataclass(frozen=True)
class Failure:
    """A candidate that broke: where, why, and what to do about it."""

    candidate: str
    stage: str
    cause: str
    remedy: str = ""


@dataclass(frozen=True)
class Issue:
    """One finding of a backend's lint: `error` forbids the candidate, `warning` is told."""

    severity: Literal["error", "warning"]
    node: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """What a backend's lint found in a network. `done`: which check was made, for people."""

    issues: tuple[Issue, ...]
    done: str
