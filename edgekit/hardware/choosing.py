"""Which target this machine is: of those that it fits, the one that says most of it."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UnknownTargetError
from edgekit.hardware.machine import Machine
from edgekit.hardware.registry import all_targets
from edgekit.hardware.target import Target

__all__ = ["AUTO", "fitting_targets", "specificity"]

AUTO = "auto"
"""In the place of a target's name: what the machine is."""


def fitting_targets(machine: Machine, project: Path | None = None) -> tuple[Target, ...]:
    """The targets that the machine is, the most specific first. Raises UnknownTargetError when it is none.

    A board's model says more than a CPU's name, that more than an accelerator, and that more than CPU features.
    """
    fitting = [target for target in all_targets(project) if not target.misfits(machine)]
    if not fitting:
        raise UnknownTargetError(
            f"this machine ({machine.cpu or machine.arch}) is none of the targets",
            remedy="`edgekit targets probe` says why; `edgekit targets new NAME` begins a description of it",
        )
    return tuple(sorted(fitting, key=lambda target: (*(-part for part in specificity(target)), target.name)))


def specificity(target: Target) -> tuple[int, ...]:
    """How much its identity asks of a machine, the most telling first."""
    identity = target.identity
    features = len(identity.all_of) + bool(identity.any_of) + bool(identity.none_of)
    return bool(identity.models), bool(identity.cpus), bool(identity.accelerator), features
