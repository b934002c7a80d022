"""Where a machine and a target's description say different things: each with its key in the TOML file."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import asdict

from edgekit.board import identity as board_identity
from edgekit.hardware.machine import Machine
from edgekit.hardware.target import Target

__all__ = ["Contradiction", "contradictions"]

GIB = 2**30
RESERVED = 0.75
"""Of the memory that is sold with a board, the kernel tells of at least so much: firmware and GPU take theirs first."""


@dataclass(frozen=True)
class Contradiction:
    """`key`: of the target's file, as `identity.models`; `told`: a sentence."""

    key: str
    told: str


def contradictions(target: Target, machine: Machine) -> tuple[Contradiction, ...]:
    """All of them, in the file's order: why the machine is not that board, and a memory that it is not sold with.

    The machine is the target where none is of the identity or the architecture (`Target.misfits`).
    """
    identity = {"architecture": target.architecture, **asdict(target.identity)}
    differing = [
        Contradiction(key, told)
        for key, told in board_identity.contradictions(target.name, identity, machine.facts)
    ]
    sizes = target.memory.sizes_bytes
    has = machine.memory_bytes
    if sizes and has and not any(RESERVED * size <= has <= size for size in sizes):
        sold = " or ".join(f"{size / GIB:g}" for size in sizes)
        told = f"{target.name} has {sold} GiB, this machine {has / GIB:.1f} GiB"
        differing.append(Contradiction("memory.sizes_bytes", told))
    return tuple(differing)
