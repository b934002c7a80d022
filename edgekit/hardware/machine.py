"""What a machine is, in the words of its own kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine:
    """One machine as the runner's `describe` saw it.

    `name` is the device tree's model where there is one (Jetson, Raspberry Pi), else what the computer calls itself.
    `features` are the names of /proc/cpuinfo (`avx512_vnni`, `asimddp`). `accelerators` are named as in
    `[identity]` of the targets. `governor` is "" where the kernel does not tell.
    """

    name: str
    arch: str
    cpu: str
    features: frozenset[str]
    cores: int
    memory_bytes: int
    os: str
    governor: str
    accelerators: frozenset[str] = frozenset()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Machine:
        """From the runner's `describe()`; keys that it does not give are empty or 0."""
        return cls(
            name=str(facts.get("machine", "")),
            arch=str(facts.get("arch", "")),
            cpu=str(facts.get("cpu", "")),
            features=frozenset(str(name) for name in facts.get("features", ())),
            cores=int(facts.get("cores", 0)),
            memory_bytes=int(facts.get("memory_bytes", 0)),
            os=str(facts.get("os", "")),
            governor=str(facts.get("governor", "")),
            accelerators=frozenset(str(name) for name in facts.get("accelerators", ())),
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a machine is recognised by, under the names that `describe` gives."""
        return {
            "machine": self.name,
            "arch": self.arch,
            "cpu": self.cpu,
            "features": self.features,
            "accelerators": self.accelerators,
        }
