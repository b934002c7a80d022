"""Which target a machine is, or which ones it is nearest to: each contradiction with its place in the TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.hardware import Contradiction, Machine, Registry, TargetEntry, contradictions, specificity

__all__ = ["NearTarget", "nearest_targets"]

SHOWN = 3


@dataclass(frozen=True)
class NearTarget:
    """One target. `fits`: the machine is it, whatever else differs. `named`: its owner says so in devices.toml.

    `file` is the description; `lacking`: runtime of the target → what of it is not there. `likeness`: what to say of a
    machine that fits by its CPU's features alone.
    """

    name: str
    file: str
    fits: bool
    named: bool
    contradictions: tuple[Contradiction, ...]
    lacking: Mapping[str, str]
    likeness: str


def nearest_targets(
    registry: Registry, facts: Mapping[str, Any], named: str | None
) -> tuple[NearTarget, ...]:
    """The target that the owner has named, then those that the machine is, the most specific first, then the nearest.

    At most SHOWN, but for the named one. `facts`: what the machine's `describe` says.
    """
    machine = Machine.from_facts(facts)
    ordered = sorted(registry.entries, key=lambda entry: _distance(entry, machine))
    chosen = [entry for entry in ordered if entry.target.name == named]
    chosen += [entry for entry in ordered if entry.target.name != named][:SHOWN]
    return tuple(_near(entry, machine, facts, named) for entry in chosen)


def _distance(entry: TargetEntry, machine: Machine) -> tuple[Any, ...]:
    """Least for what the machine is; of targets as far away, those come first that ask for most."""
    target = entry.target
    misfits = target.misfits(machine)
    said = tuple(-part for part in specificity(target))
    return target.architecture != machine.arch, len(misfits), said, target.name


def _near(entry: TargetEntry, machine: Machine, facts: Mapping[str, Any], named: str | None) -> NearTarget:
    from edgekit.cli.device_check import lacking_for

    target = entry.target
    lacking = lacking_for(target, facts)
    differing = list(contradictions(target, machine))
    for index, runtime in enumerate(target.runtimes):
        if runtime.name in lacking and runtime.name in facts["runtimes"]:  # there, in another version
            differing.append(Contradiction(f"runtimes[{index}].versions", lacking.pop(runtime.name)))
    return NearTarget(
        name=target.name,
        file=str(entry.path),
        fits=not target.misfits(machine),
        named=target.name == named,
        contradictions=tuple(differing),
        lacking=lacking,
        likeness=target.likeness(machine),
    )
