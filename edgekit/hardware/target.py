"""A board: facts with units and sources, and the questions that the rest of edgekit asks of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from edgekit.board import identity as board_identity
from edgekit.errors import UserError
from edgekit.hardware.machine import Machine
from edgekit.hardware.sections import (
    Accelerator,
    Bandwidth,
    Channels,
    Identity,
    Int8Rule,
    Lack,
    Memory,
    Peak,
    Runtime,
    Text,
)
from edgekit.types import BackendName, Precision

__all__ = ["Target"]


class Target(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One board, as `targets/NAME.toml` describes it. `rejected` holds what no runtime on it has."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Text
    family: Text
    architecture: Literal["x86_64", "aarch64"]
    sources: dict[str, Text]
    identity: Identity
    memory: Memory
    channels: Channels
    runtimes: Annotated[tuple[Runtime, ...], Meta(min_length=1)]
    bandwidth: Bandwidth | None = None
    accelerators: tuple[Accelerator, ...] = ()
    peaks: tuple[Peak, ...] = ()
    int8: tuple[Int8Rule, ...] = ()
    rejected: dict[Precision, Lack] = {}
    notes: tuple[Text, ...] = ()

    @property
    def memory_bytes(self) -> int | None:
        """The smallest size sold, in bytes; None where it depends on the machine."""
        return self.memory.sizes_bytes[0] if self.memory.sizes_bytes else None

    @property
    def model_bytes(self) -> int | None:
        """What one model may use of it, in bytes; None where it depends on the machine."""
        return None if self.memory_bytes is None else int(self.memory_bytes * self.memory.model_share)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Every precision that at least one runtime has, in the order of the file."""
        return tuple(
            dict.fromkeys(precision for runtime in self.runtimes for precision in runtime.precisions)
        )

    def lacks(self, precision: Precision) -> Lack | None:
        """Why the board lacks this precision; None where it has it, or where nothing is known of it."""
        return self.rejected.get(precision)

    def runtime(self, name: BackendName) -> Runtime | None:
        """The runtime of that name on this board."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)

    def channel_multiple(self, precision: Precision) -> int:
        """Channel counts that pay are multiples of this; float's where the precision has none, else 1."""
        multiples = self.channels.multiples
        return multiples.get(precision, multiples.get("fp32", 1))

    def int8_rule(self, features: Collection[str]) -> Int8Rule:
        """The first row for a CPU with these features. Raises UserError on a board without int8."""
        have = frozenset(features)
        for rule in self.int8:
            if rule.holds(have):
                return rule
        lack = self.lacks("int8")
        raise UserError(
            f"{self.name} has no int8" + (f": {lack.reason}" if lack else ""),
            allowed=", ".join(self.precisions),
            remedy=lack.instead if lack else "",
        )

    @property
    def assumed_features(self) -> frozenset[str]:
        """CPU features that every such board has: what is planned with while it is not here."""
        return frozenset((*self.identity.all_of, *self.identity.any_of[:1]))

    def peak(self, precision: Precision, device: str = "") -> Peak | None:
        """The peak rate of arithmetic in this precision; None where none is stated."""
        rows = (row for row in self.peaks if row.precision == precision and row.device == device)
        return next(rows, None)

    def has_dla(self) -> bool:
        """Whether there is a deep-learning accelerator beside the GPU."""
        return any(accelerator.kind == "dla" and accelerator.count > 0 for accelerator in self.accelerators)

    def has_sparse_gpu(self) -> bool:
        """Whether its GPU has sparse tensor cores, which leave out the zeros of weights that are 2:4."""
        return any(chip.kind == "gpu" and chip.count > 0 and chip.sparsity_2_4 for chip in self.accelerators)

    def misfits(self, machine: Machine) -> tuple[str, ...]:
        """Why this machine is not that board; empty when it is."""
        identity = {"architecture": self.architecture, **asdict(self.identity)}
        return tuple(board_identity.misfits(self.name, identity, machine.facts))

    def likeness(self, machine: Machine) -> str:
        """What to say of a machine that fits by its CPU's features alone, while its CPU's name is another maker's.

        Empty where it does not fit, where the target goes by names or is general, or where the name has the family.
        """
        identity = self.identity
        named = identity.models or identity.cpus or identity.accelerator or self.family == "generic"
        if named or self.family.lower() in machine.cpu.lower() or self.misfits(machine):
            return ""
        return (
            f"this machine ({machine.cpu or machine.name}) fits the description of {self.name} by its features; "
            "by its name it is not one"
        )
